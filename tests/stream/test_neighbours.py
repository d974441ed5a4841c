"""Reads that draws share: fewer requests, no byte of another rank's, bounded memory, and never another sequence."""

from itertools import islice

import numpy as np
import pytest

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from tests.stream.conftest import noise, write_source
from tests.stream.test_stream import log

BLOCKS = sk.Shuffle(kind="block", block_rows=16, window_blocks=1)
NUM_ROWS = 600


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """600 clips of about 3 KB in ten shards."""
    folder = tmp_path_factory.mktemp("short")
    audio = {f"{i:03d}.wav": (noise(i, 1500 + i, 1), 8000) for i in range(NUM_ROWS)}
    manifest = write_source(folder, "short", [{"path": path} for path in audio], audio)
    options = PackOptions(shard_bytes=250_000, workers=1)
    pack(locate(manifest), locate(folder / "short"), inputs=InputOptions(), options=options)
    return folder / "short"


def stream_of(folder, **options):
    return sk.Stream(sk.open(folder), **({"batch_size": 8, "rank": 0, "world_size": 1} | options))


def epoch(folder, world_size, **options):
    """All ranks' batches of one pass, and what they asked the storage for."""
    batches, requests, num_bytes = [], 0, 0
    for rank in range(world_size):
        stream = stream_of(folder, rank=rank, world_size=world_size, **options)
        batches += list(stream)
        requests += stream.stats()["requests"]
        num_bytes += stream.stats()["bytes_read"]
    return batches, requests, num_bytes


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
@pytest.mark.parametrize("passes", [None, 1])
@pytest.mark.parametrize("shuffle", [BLOCKS, "none", "full"])
def test_all_ranks_together_read_the_dataset_once_in_a_pass(short, world_size, passes, shuffle):
    view = sk.open(short)
    size = sum(shard.bytes for shard in view.catalog.shards)
    options = {"shuffle": shuffle} | ({"passes": 1} if passes else {"epoch_samples": NUM_ROWS})
    batches, requests, num_bytes = epoch(short, world_size, **options)
    keys = {key for batch in batches for key in batch.keys} - {""}
    assert len(keys) == NUM_ROWS
    assert num_bytes <= 1.1 * size
    assert requests <= sum(len(batch) for batch in batches)


@pytest.mark.parametrize(("shuffle", "most"), [(BLOCKS, 0.65), ("none", 0.3)])
def test_what_lies_together_is_one_request(short, shuffle, most):
    _, requests, _ = epoch(short, 1, shuffle=shuffle, passes=1)
    _, alone, _ = epoch(short, 1, shuffle="full", passes=1)
    assert alone > NUM_ROWS * 0.9
    assert requests < NUM_ROWS * most


def test_a_small_source_is_read_together_as_packed_and_shuffled_fully_by_blocks(short):
    _, packed, _ = epoch(short, 1, shuffle="none", epoch_samples=NUM_ROWS)
    assert packed < NUM_ROWS / 8
    batches, _, _ = epoch(short, 1, shuffle=BLOCKS, epoch_samples=NUM_ROWS)
    fully, _, _ = epoch(short, 1, shuffle="full", epoch_samples=NUM_ROWS)
    assert log(batches) == log(fully)


def test_an_iteration_can_begin_in_the_middle_of_a_window_and_be_left(short):
    for options in ({"shuffle": "none"}, {"shuffle": BLOCKS, "passes": 1}):
        expected = list(islice(stream_of(short, **options), 40))
        stream = stream_of(short, **options)
        stream.load_state_dict(stream.state_at(8 * 13))
        first = list(islice(stream, 5))
        stream.load_state_dict(stream.state_dict())
        assert log(first + list(islice(stream, 22))) == log(expected[13:])


@pytest.mark.parametrize("step", [2, 3])
def test_processes_that_divide_batches_read_their_own_only(short, step):
    size = sum(shard.bytes for shard in sk.open(short).catalog.shards)
    num_bytes, found = 0, []
    for worker in range(step):
        stream = stream_of(short, shuffle=BLOCKS, passes=1)
        found += islice(stream.batches(8 * worker, step=step), 75 // step)
        num_bytes += stream.stats()["bytes_read"]
    assert log(found) == log(list(islice(stream_of(short, shuffle=BLOCKS, passes=1), 75 // step * step)))
    assert num_bytes <= 1.1 * size


def test_memory_that_is_full_reads_alone(short):
    stream = stream_of(short, shuffle="none", memory="10KB", epoch_samples=NUM_ROWS)
    generous = stream_of(short, shuffle="none", epoch_samples=NUM_ROWS)
    assert log(list(stream)) == log(list(generous))
    assert stream.stats()["requests"] > 2 * generous.stats()["requests"]


def test_crops_far_apart_are_not_joined(datasets):
    stream = sk.Stream(sk.open(datasets["tracks"]), crop=sk.RandomCrop(0.1), shuffle="none", batch_size=5)
    batches = list(stream.batches(0, end=20))
    stats = stream.stats()
    assert stats["bytes_read"] < 20 * 40_000  # a crop of 6.4 KB in whole FLAC frames, never the 380 KB of a track
    assert all(np.isfinite(batch.audio).all() for batch in batches)
