"""Short recordings where a test wants them, and packing them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import shardkit as sk
from shardkit.pack.commit import PackSummary
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate

RATE = 8000


@pytest.fixture
def sound() -> Callable[..., np.ndarray]:
    """Write noise that differs from file to file; return its samples."""

    def write(path: Path, frames: int = RATE // 4, rate: int = RATE) -> np.ndarray:
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = np.random.default_rng(list(path.name.encode())).integers(-9000, 9000, frames, dtype=np.int16)
        soundfile.write(path, samples, rate)
        return samples

    return write


@pytest.fixture
def packed(tmp_path: Path) -> Callable[..., tuple[sk.Dataset, PackSummary]]:
    """Pack with an importer; return the opened dataset and the summary."""

    def run(source: Path, kind: str, **options: object) -> tuple[sk.Dataset, PackSummary]:
        output = tmp_path / str(options.pop("output", "packed"))
        hops_s = options.pop("hops_s", None)
        root = options.pop("root", None)
        names = ("importer_options", "label", "label_separator", "key_column", "split_column", "members")
        given = {name: options.pop(name) for name in names if name in options}
        inputs = InputOptions(importer=kind, root=None if root is None else locate(root), **given)
        settings = PackOptions(**({"workers": 1} | options))
        summary = pack(locate(source), locate(output), inputs=inputs, options=settings, hops_s=hops_s)
        return sk.open(output, split="all"), summary

    return run


def spans(sample: sk.Sample) -> list[tuple[str, int, int]]:
    """A sample's intervals as plain values."""
    return [(interval.name, interval.start, interval.stop) for interval in sample.intervals]
