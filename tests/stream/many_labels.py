"""A dataset with a long tail of labels, several of them on many rows, as AudioSet has."""

from pathlib import Path

import numpy as np
import pyarrow as pa

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from tests.stream.conftest import noise, write_source

NUM_ROWS, NUM_LABELS = 240, 30


def labels_of(row: int) -> list[str]:
    """Return the labels of a row: up to four, by a Zipf law; each label is on one row at least."""
    rng = np.random.default_rng(row)
    odds = 1 / np.arange(1, NUM_LABELS + 1)
    several = rng.choice(NUM_LABELS, size=rng.integers(0, 5), replace=False, p=odds / odds.sum()).tolist()
    return sorted({f"l{label:02d}" for label in [*several, *([row] if row < NUM_LABELS else [])]})


def pack_many_labels(folder: Path) -> sk.View:
    """Pack it and open it."""
    audio = {f"{i}.wav": (noise(i, 400, 1), 8000) for i in range(NUM_ROWS)}
    rows = [{"path": f"{i}.wav", "n": i, "label": labels_of(i), "target": i % 5 == 0} for i in range(NUM_ROWS)]
    manifest = write_source(folder, "many", rows, audio)
    pack(
        locate(manifest),
        locate(folder / "many"),
        inputs=InputOptions(label="label"),
        options=PackOptions(shard_bytes=400_000, workers=1),
    )
    return sk.open(folder / "many")


def row_labels(view: sk.View) -> dict[str, list[str]]:
    """Return the labels of each key, from the index."""
    table: pa.Table = view.table()
    return dict(zip(table.column("key").to_pylist(), table.column("labels").to_pylist(), strict=True))
