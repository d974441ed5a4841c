"""What the ranks of a run read together: each byte of the dataset about once, and counted where the bytes are."""

import pytest

import shardkit as sk
from tests.bench.conftest import ROWS, TIMES
from tools.bench.counting import CountedS3
from tools.bench.rank_bytes import one_pass

SMALL_WINDOWS = sk.Shuffle(kind="block", block_rows=32, window_blocks=1)


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_all_ranks_together_read_the_dataset_about_once_in_few_requests(counted: CountedS3, world_size: int) -> None:
    passed = one_pass(counted, "s3://data/many", SMALL_WINDOWS, world_size=world_size)
    assert passed.samples == passed.rows == ROWS * TIMES
    assert 0.5 < passed.ratio <= 1.1
    assert (
        passed.tars.requests < passed.samples / 8
    )  # segments of 72 rows end within a window; in large sources nearly none do


def test_so_do_they_where_each_row_comes_exactly_once(counted: CountedS3) -> None:
    passed = one_pass(counted, "s3://data/many", SMALL_WINDOWS, world_size=2, mode="passes=1")
    assert passed.samples == passed.rows
    assert 0.5 < passed.ratio <= 1.1


def test_a_source_too_small_for_segments_is_read_about_once_too(counted: CountedS3) -> None:
    assert one_pass(counted, "s3://data/few", SMALL_WINDOWS, world_size=8).ratio <= 1.1  # by a request for each sample


def test_windows_longer_than_segments_cost_requests_but_no_bytes(counted: CountedS3) -> None:
    long_windows = sk.Shuffle(kind="block", block_rows=64, window_blocks=16)
    assert one_pass(counted, "s3://data/few", long_windows, world_size=2).ratio <= 1.1


def test_the_index_is_counted_apart_for_each_rank(counted: CountedS3) -> None:
    alone, two = (one_pass(counted, "s3://data/few", SMALL_WINDOWS, world_size=number) for number in (1, 2))
    assert two.index.requests == 2 * alone.index.requests > 2
    assert two.index.bytes == 2 * alone.index.bytes > 0
