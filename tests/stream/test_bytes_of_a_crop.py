"""A crop costs one request of about its own frames: counted by the stream, and at an S3 server."""

from pathlib import Path

import numpy as np
import pytest

import shardkit as sk
from shardkit.audio.flac import FlacLayout, scan
from shardkit.format.index import PRIMARY
from shardkit.stream.fetch import read_member
from tools.bench.counting import Reads, bypass_proxies, counted_s3
from tools.bench.datasets import make_dataset

RATE, CROP_S = 48_000, 2.0
MOST_BYTES = 1.3  # relative to the frames that hold a sample of the crop


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many recordings of about 8 s as a batch has samples, as FLAC."""
    made = tmp_path_factory.mktemp("crops") / "data"
    return make_dataset(made, num_rows=32, duration_s=8.0, sample_rate_hz=RATE, shard_bytes=2_000_000)


def overlapping_bytes(view: sk.Dataset, batches: list[sk.Batch]) -> int:
    """Return the bytes of the frames that hold a sample of the crops, from the members' bytes and not the index."""
    keys = view.keys()
    layouts = {key: scan(read_member(view.catalog, PRIMARY, row)) for row, key in enumerate(keys)}
    return sum(
        _overlapping(layouts[key], int(start), int(start + length))
        for batch in batches
        for key, start, length in zip(batch.keys, batch.starts, batch.lengths, strict=True)
    )


def _overlapping(layout: FlacLayout, start: int, stop: int) -> int:
    offsets = [*layout.frame_bytes.tolist(), layout.end]
    first = int(np.searchsorted(layout.frame_samples, start, side="right")) - 1
    return offsets[int(np.searchsorted(layout.frame_samples, stop, side="left"))] - offsets[first]


def test_a_crop_alone_is_one_read(folder: Path) -> None:
    view = sk.open(folder)
    stream = sk.Stream(view, crop=sk.RandomCrop(CROP_S), batch_size=1, epoch_samples=40)
    batches, stats = list(stream), stream.stats()
    assert stats["requests"] == len(batches) == 40
    assert 1.0 <= stats["bytes_read"] / overlapping_bytes(view, batches) <= MOST_BYTES


def test_over_s3_it_is_one_request(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "")  # so that it is as it was afterwards
    bypass_proxies()
    with counted_s3(folder.parent) as s3:
        view = sk.open(f"s3://{folder.name}", storage_options=s3.options)
        stream = sk.Stream(view, crop=sk.RandomCrop(CROP_S), epoch_samples=96)
        s3.counts.take()
        batches = list(stream)
        reads = s3.counts.take().get(".tar", Reads())
    num_crops = sum(len(batch) for batch in batches)
    assert 0.5 < reads.requests / num_crops <= 1.0  # crops of a batch that touch are read together
    assert 0.5 < reads.bytes / overlapping_bytes(sk.open(folder), batches) <= MOST_BYTES
