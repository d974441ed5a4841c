"""Law L10: what a stream holds ahead of a consumer that is slow stays within its bound."""

import time
import tracemalloc
from itertools import islice

import numpy as np
import pytest

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from tests.stream.conftest import noise, write_source

RATE = 16_000


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    audio = {f"{i}.wav": (noise(i, 20 * RATE, 2), RATE) for i in range(16)}
    manifest = write_source(folder, "long", [{"path": path} for path in audio], audio)
    pack(locate(manifest), locate(folder / "long"), inputs=InputOptions(), options=PackOptions(workers=1))
    return sk.open(folder / "long")


def peak_of(stream, num_batches):
    """Return the most bytes that were allocated at once, beside the batch in hand."""
    tracemalloc.start()
    for batch in islice(stream, num_batches):
        time.sleep(0.15)  # all that may be read ahead, is
        assert np.isfinite(batch.audio[0, 0, 0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("shuffle", ["full", "none"])
@pytest.mark.parametrize("memory", [8_000_000, 64_000_000])
def test_what_is_held_ahead_stays_within_the_memory(long, shuffle, memory):
    """A batch of 4 crops of 5 s is 2.6 MB."""
    crop, batch_bytes = sk.RandomCrop(5.0), 4 * 2 * 5 * RATE * 4
    stream = sk.Stream(long, crop=crop, batch_size=4, shuffle=shuffle, threads=16, memory=memory)
    in_hand = 2 * batch_bytes  # the consumer's, and the one before it, until the loop's name is bound anew
    assert peak_of(stream, 12) < memory + in_hand + 2_000_000


def test_whole_samples_of_many_lengths_do_not_pile_up(tmp_path):
    """Each batch has another shape, and the memory of those that are gone is given back."""
    audio = {f"{i:02d}.wav": (noise(i, RATE // 2 + 1_000 * i, 1), RATE) for i in range(60)}
    manifest = write_source(tmp_path, "clips", [{"path": path} for path in audio], audio)
    pack(locate(manifest), locate(tmp_path / "clips"), inputs=InputOptions(), options=PackOptions(workers=1))
    stream = sk.Stream(sk.open(tmp_path / "clips"), batch_size=2, threads=1, shuffle="none", passes=1)
    assert peak_of(stream, 30) < 10 * 2 * (RATE // 2 + 60_000) * 4


def test_more_memory_is_used_where_it_helps(long):
    """Many threads need many samples to read, and small batches are then held in greater number."""
    options = {"crop": sk.RandomCrop(5.0), "batch_size": 1, "threads": 8}
    little = peak_of(sk.Stream(long, memory=4_000_000, **options), 6)
    much = peak_of(sk.Stream(long, memory="1GB", **options), 6)
    assert much > 2 * little
