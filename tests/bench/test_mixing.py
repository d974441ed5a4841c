"""The measures of mixing, at orders for which their values are known."""

import numpy as np
import pytest

import shardkit as sk
from tools.bench.shuffle import mixing, rows_of_pass

ROWS, SHARDS, BATCH = 102_400, 128, 256


def test_random_numbers_are_at_chance() -> None:
    found = mixing(np.random.default_rng(0).permutation(ROWS), num_shards=SHARDS, batch=BATCH)
    assert found.displacement == pytest.approx(1 / 3, abs=0.005)
    assert found.neighbours == pytest.approx(2 * BATCH / ROWS, rel=0.2)
    assert found.clumping == pytest.approx(1.0, abs=0.05)
    assert found.clumping_long == pytest.approx(1.0, abs=0.15)
    assert found.repetition == pytest.approx(0.0, abs=0.05)


def test_the_order_as_packed_is_as_clumped_as_can_be() -> None:
    found = mixing(np.arange(ROWS), num_shards=SHARDS, batch=BATCH)
    assert (found.displacement, found.neighbours) == (0.0, 1.0)
    assert found.shard_bits == pytest.approx(0.0, abs=0.5)
    assert found.clumping == pytest.approx(BATCH, rel=0.05)


def test_one_row_of_each_shard_is_all_the_bits_there_are() -> None:
    striped = np.arange(ROWS).reshape(SHARDS, -1).T.ravel()
    assert mixing(striped, num_shards=SHARDS, batch=SHARDS).shard_bits == pytest.approx(np.log2(SHARDS))


def test_a_pass_has_nearly_each_row_once() -> None:
    assert len(np.unique(rows_of_pass(ROWS, sk.Shuffle(kind="block", block_rows=32, window_blocks=1)))) == ROWS


def test_larger_windows_of_the_same_blocks_mix_better() -> None:
    found = [
        mixing(
            rows_of_pass(ROWS, sk.Shuffle(kind="block", block_rows=32, window_blocks=blocks)),
            num_shards=SHARDS,
            batch=BATCH,
        )
        for blocks in (1, 4, 16)
    ]
    assert found[0].clumping > found[1].clumping > found[2].clumping > 0.9
    assert found[0].neighbours > found[1].neighbours > found[2].neighbours
