"""Targets, negatives, segments and thinning on AudioSet's own ids and ontology, counted again with the csv module.

The published strong tables are not at hand: their events are made up here for real clips, in real classes.
"""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.report.verify import verify
from shardkit.storage.location import locate
from tests.core.test_spans import pieces
from tests.pack.importers.test_audioset import STRONG, make_clips, published, rows_of  # noqa: F401  a fixture

RATE = 8000
TARGET = "/m/0bt9lr"  # Dog: kinds of it are barks and growls, and it is an animal
OUTSIDE = "/t/dd00143"  # Unknown sound: a strong label that the ontology does not have


@pytest.fixture(scope="module")
def clips(published, tmp_path_factory, request):  # noqa: F811
    """A folder of real tables, cut down to some clips, and a strong table of them; the clips' recordings beside it."""
    folder = tmp_path_factory.mktemp("audioset")
    for name in ("class_labels_indices.csv", "mid_to_display_name.tsv", "ontology.json"):
        shutil.copy(published / name, folder / name)
    rows = rows_of(published, "balanced_train_segments.csv")
    below = descendants(json.loads((published / "ontology.json").read_text()), TARGET)
    dogs = [row for row in rows if below & set(row[3].split(","))][:60]
    chosen = list({row[0]: row for row in [*rows[::150], *dogs]}.values())
    with (folder / "balanced_train_segments.csv").open("w") as file:
        for row in chosen:
            file.write(f'{row[0]}, {row[1]}, {row[2]}, "{row[3]}"\n')
    with (folder / "audioset_train_strong.tsv").open("w") as file:
        file.write(STRONG + "".join("\t".join(line) + "\n" for row in chosen[::2] for line in strong_lines(row)))
    make_clips(chosen, folder / "audio", sound)
    return folder


def sound(path: Path, frames: int) -> None:
    import soundfile  # noqa: PLC0415

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(frames, np.int16), RATE)


def strong_lines(row: list[str]) -> list[tuple[str, str, str, str]]:
    """Up to four events of a clip of 50 ms, of its own labels and one that stands outside."""
    rng = np.random.default_rng(list(row[0].encode()))
    mids = [*row[3].split(","), OUTSIDE]
    lines = []
    for _ in range(rng.integers(1, 5)):
        start, stop = sorted(rng.choice(51, size=2, replace=False).tolist())
        segment = f"{row[0]}_{round(float(row[1]) * 1000)}"
        lines.append((segment, f"{start / 1000:.3f}", f"{stop / 1000:.3f}", mids[rng.integers(len(mids))]))
    return lines


def descendants(ontology: list[dict], mid: str, key: str = "child_ids") -> set[str]:
    found, children = {mid}, {item["id"]: set(item[key]) for item in ontology}
    while more := set().union(*(children.get(each, set()) for each in found)) - found:
        found |= more
    return found


def read_tables(folder: Path):
    """Labels and events of each clip, and the relatives of the target, with the csv and json modules alone."""
    with (folder / "balanced_train_segments.csv").open() as file:
        weak = {
            f"{row[0]}_{round(float(row[1]) * 1000)}": set(row[3].split(","))
            for row in csv.reader(file, skipinitialspace=True)
        }
    strong: dict[str, list[tuple[int, int, str]]] = {key: [] for key in weak}
    with (folder / "audioset_train_strong.tsv").open() as file:
        for row in csv.DictReader(file, delimiter="\t"):
            bounds = [round(float(row[f"{end}_time_seconds"]) * RATE) for end in ("start", "end")]
            strong[row["segment_id"]].append((*bounds, row["label"]))
    ontology = json.loads((folder / "ontology.json").read_text())
    upwards = [{"id": a["id"], "up": [b["id"] for b in ontology if a["id"] in b["child_ids"]]} for a in ontology]
    return weak, strong, descendants(ontology, TARGET), descendants(upwards, TARGET, "up")


@pytest.fixture(scope="module", params=["names", "mids"])
def dataset(clips, request, tmp_path_factory):
    output = tmp_path_factory.mktemp("packed") / request.param
    inputs = InputOptions(importer="audioset", importer_options={"labels": request.param}, root=locate(clips / "audio"))
    pack(locate(clips), locate(output), inputs=inputs, options=PackOptions(workers=1))
    return sk.open(output)


@pytest.mark.parametrize("segments_s", [None, 0.01])
@pytest.mark.parametrize("overlapping", ["any", "only", "never"])
def test_targets_are_those_of_an_independent_count(clips, dataset, overlapping, segments_s) -> None:
    """[B] Relatives in the ontology were negatives; ids with ``_`` were dropped; ids were met inside others."""
    weak, strong, below, above = read_tables(clips)

    def count(events):
        return sum(1 if segments_s is None else len(pieces(e[1] - e[0], round(segments_s * RATE))) for e in events)

    def alone(event, others):
        return not any(event[0] < other[1] and other[0] < event[1] for other in others if other is not event)

    positive = [
        event
        for events in strong.values()
        for event in events
        if event[2] in below and (overlapping == "any" or alone(event, events) == (overlapping == "never"))
    ]
    negative = {
        key for key in weak if not (below | above) & (weak[key] | {event[2] for event in strong[key]})
    }  # fmt: skip
    assert positive
    assert len(negative) < len({key for key in weak if not below & (weak[key] | {e[2] for e in strong[key]})})
    found = sk.targets(dataset, "Dog", overlapping=overlapping, segments_s=segments_s)  # by its name in both
    assert len(found["positive"]) == count(positive)
    assert len(found["strong"]) == count(event for key in negative for event in strong[key])
    assert set(found["weak"].keys()) == negative
    assert sum("_" in key.rpartition("_")[0] or key.startswith("-") for key in negative) > 10


def test_the_ontology_lies_in_the_dataset_and_survives_verification(clips, dataset) -> None:
    content = json.loads((clips / "ontology.json").read_text())
    ontology = dataset.catalog.ontology
    assert ontology.children == {item["id"]: tuple(item["child_ids"]) for item in content}
    with (clips / "class_labels_indices.csv").open() as file:
        names = {row["mid"]: row["display_name"] for row in csv.DictReader(file)}
    assert {each: ontology.names[each] for each in names} == names
    assert not verify(dataset.catalog.location).problems
    manifest = json.loads((dataset.catalog.location.local_path / "shardkit.json").read_text())
    assert len(manifest["ontology"]) == 632
    outside = "Unknown sound" if "Speech" in dataset.labels else OUTSIDE
    assert len(dataset.events(outside, descendants=True)) == len(dataset.events(outside)) > 0


def test_an_ontology_that_was_tampered_with_is_refused(dataset, tmp_path) -> None:
    place = dataset.catalog.location.local_path
    shutil.copytree(place, tmp_path / "copy")
    manifest = json.loads((place / "shardkit.json").read_text())
    manifest["ontology"] = [*manifest["ontology"], {"id": "/m/x", "name": "x", "child_ids": ["/m/y"]}]
    (tmp_path / "copy" / "shardkit.json").write_text(json.dumps(manifest))
    with pytest.raises(sk.FormatError, match=r"at ontology: .*has the child '/m/y', which is not there"):
        sk.open(tmp_path / "copy")


def test_heads_are_trimmed_by_their_labels_alone(clips, dataset) -> None:
    weak, _, _, _ = read_tables(clips)
    head = {"/m/09x0r", "/m/04rlf"}  # Speech and Music
    heads = {key for key, mids in weak.items() if head & mids}
    names = ["Speech", "Music"] if "Speech" in dataset.labels else sorted(head)
    kept = set(dataset.thin(names, 0.2, seed=42).keys())
    assert set(weak) - heads <= kept
    assert 0 < len(kept & heads) < 0.45 * len(heads)
    assert set(dataset.thin(names, 0.0).keys()) == set(weak) - heads
