"""Recordings with labels and events, some of them nested in an ontology, under keys as AudioSet has them."""

from pathlib import Path

import numpy as np

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from tests.stream.conftest import noise, write_source

NUM_ROWS, RATE = 90, 8000
# Animal ─┬─ Dog ─┬─ Bark      Growl is a kind of dog and of cat; Siren stands alone, and Hum is in no ontology.
#         │       └─ Growl
#         └─ Cat ─── Growl
ONTOLOGY = sk.Ontology(
    {f"/m/{name[0].lower()}": name for name in ("Animal", "Dog", "Cat", "Bark", "Growl", "Siren", "Thing")},
    {"/m/a": ("/m/d", "/m/c"), "/m/d": ("/m/b", "/m/g"), "/m/c": ("/m/g",)} | {f"/m/{leaf}": () for leaf in "bgst"},
)
DOGS, RELATED = {"Dog", "Bark", "Growl"}, {"Dog", "Bark", "Growl", "Animal"}
NAMES = ["Dog", "Bark", "Growl", "Cat", "Animal", "Siren", "Hum"]
ODDS = np.array([2, 4, 2, 4, 1, 8, 6]) / 27


def key_of(row: int) -> str:
    return f"{'-' if row % 3 else ''}_a-b_{row}__{row * 1000}"


def frames_of(row: int) -> int:
    return 2000 + 37 * row


def labels_of(row: int) -> list[str]:
    """Labels of the whole recording; one in five has none."""
    rng = np.random.default_rng([1, row])
    return [] if row % 5 == 0 else sorted(rng.choice(NAMES, size=rng.integers(1, 3), replace=False, p=ODDS).tolist())


def events_of(row: int) -> list[tuple[str, int, int]]:
    """Up to five events, in samples; every third recording has none."""
    rng = np.random.default_rng([2, row])
    found = []
    for _ in range(0 if row % 3 == 0 else rng.integers(1, 6)):
        start = int(rng.integers(0, frames_of(row) - 8)) // 8 * 8
        stop = min(frames_of(row), start + 8 * int(rng.integers(1, 120)))
        found.append((str(rng.choice(NAMES, p=ODDS)), start, stop))
    return found


def pack_events(folder: Path) -> Path:
    """Pack it; return its folder."""
    audio = {f"{i}.wav": (noise(i, frames_of(i), 1), RATE) for i in range(NUM_ROWS)}
    rows = [
        {
            "path": f"{i}.wav",
            "key": key_of(i),
            "label": labels_of(i),
            "intervals": [[name, start / RATE, stop / RATE] for name, start, stop in events_of(i)],
            "n": i,
        }
        for i in range(NUM_ROWS)
    ]
    pack(
        locate(write_source(folder, "events", rows, audio)),
        locate(folder / "events"),
        inputs=InputOptions(label="label", key_column="key", intervals_column="intervals"),
        options=PackOptions(shard_bytes=200_000, workers=1),
    )
    return folder / "events"


def all_events() -> list[tuple[int, str, int, int]]:
    """Every event with its recording."""
    return [(row, *event) for row in range(NUM_ROWS) for event in events_of(row)]


def overlaps(event: tuple[int, str, int, int]) -> bool:
    row, _, start, stop = event
    others = [other for other in events_of(row) if other != event[1:]]
    same = sum(other == event[1:] for other in events_of(row)) > 1
    return same or any(start < other[2] and other[1] < stop for other in others)
