"""Laws of keyed permutations: bijections, their inverses, and no visible bias at any size."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from shardkit.core.errors import InputError
from shardkit.core.permutation import MAX_SIZE, _sides, permute, permute_blocks, unpermute
from shardkit.core.random import hash64

KEYS = st.integers(min_value=0, max_value=2**64 - 1)


@given(st.integers(1, 3000), KEYS)
def test_every_size_and_key_is_a_bijection(size, key):
    images = permute(np.arange(size), size, key)
    assert sorted(images.tolist()) == list(range(size))


@given(st.integers(1, MAX_SIZE), KEYS, st.data())
def test_unpermute_inverts_permute(size, key, data):
    points = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20))
    images = permute(np.array(points), size, key)
    assert ((images >= 0) & (images < size)).all()
    assert unpermute(images, size, key).tolist() == points
    assert permute(unpermute(np.array(points), size, key), size, key).tolist() == points


@given(st.integers(2**31 - 1000, 2**31), st.integers(-2, 2), KEYS)
def test_sizes_next_to_the_largest_squares_work(root, off, key):
    size = min(root * root + off, MAX_SIZE)
    points = np.array([0, 1, size // 2, size - 1])
    assert unpermute(permute(points, size, key), size, key).tolist() == points.tolist()


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**6), KEYS), min_size=1, max_size=20))
def test_sizes_and_keys_are_per_point(cases):
    sizes = np.array([size for size, _, _ in cases])
    points = np.array([point % size for size, point, _ in cases])
    keys = np.array([key for _, _, key in cases], dtype=np.uint64)
    alone = [int(permute(point, int(size), int(key))[0]) for point, size, key in zip(points, sizes, keys, strict=True)]
    assert permute(points, sizes, keys).tolist() == alone
    assert unpermute(np.array(alone), sizes, keys).tolist() == points.tolist()


def test_arguments_broadcast_and_are_not_modified():
    points, sizes = np.arange(6), np.array([[6], [9]])
    images = permute(points, sizes, np.uint64(1))
    assert images.shape == (2, 6)
    assert images[1].tolist() == permute(points, 9, 1).tolist()
    assert (points.tolist(), sizes.tolist()) == ([0, 1, 2, 3, 4, 5], [[6], [9]])
    assert permute(points[:0], 5, 1).size == 0


@pytest.mark.parametrize(("point", "size"), [(-1, 5), (5, 5), (0, 0), (0, -1), (0, MAX_SIZE + 1)])
def test_points_and_sizes_out_of_range_are_refused(point, size):
    with pytest.raises(InputError):
        permute(point, size, 0)
    with pytest.raises(InputError):
        unpermute(point, size, 0)


@given(st.integers(1, MAX_SIZE))
def test_few_points_walk(size):
    domain = int(_sides(np.array([size]))[0]) ** 2
    assert domain >= size
    assert domain <= 2 * size or size < 18
    assert domain <= size + 6 * math.isqrt(size) + 9


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6])
def test_every_permutation_of_few_points_is_as_likely(size):
    keys = np.arange(60_000)[:, np.newaxis]
    code = permute(np.arange(size), size, keys) @ size ** np.arange(size)
    expected = [sum(p * size**i for i, p in enumerate(order)) for order in itertools.permutations(range(size))]
    found, counts = np.unique(code, return_counts=True)
    assert found.tolist() == sorted(expected)
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("size", [9, 10, 16, 17, 40])
def test_images_of_points_and_of_pairs_are_uniform_over_keys(size):
    images = permute(np.arange(size), size, np.arange(60_000)[:, np.newaxis])
    for point in range(size):
        assert stats.chisquare(np.bincount(images[:, point], minlength=size)).pvalue > 1e-4
    for first, second in [(0, 1), (1, 2), (0, size - 1), (0, size // 2)]:
        joint = np.bincount(images[:, first] * size + images[:, second], minlength=size * size)
        apart = joint.reshape(size, size)[~np.eye(size, dtype=bool)]
        assert stats.chisquare(apart).pvalue > 1e-4


@pytest.mark.parametrize("size", [1000, 65_536, 1_000_003])
def test_steps_between_neighbours_are_those_of_a_random_order(size):
    images = permute(np.arange(size), size, 5)
    steps = np.diff(images) % size
    assert stats.kstest(steps[::2] / size, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(images, np.arange(size))[0, 1]) < 4 / math.sqrt(size)


def blocks_by_lists(size, key, block_rows, window_blocks):
    """The definition of ``permute_blocks``, built as lists."""
    num_blocks = -(-size // block_rows)
    blocks = [range(b * block_rows, min((b + 1) * block_rows, size)) for b in range(num_blocks)]
    permuted = [blocks[int(permute(slot, num_blocks, key)[0])] for slot in range(num_blocks)]
    rows = []
    for window, first in enumerate(range(0, num_blocks, window_blocks)):
        near = list(itertools.chain(*permuted[first : first + window_blocks]))
        rows += [near[i] for i in permute(np.arange(len(near)), len(near), hash64(key, window))]
    return rows


@settings(max_examples=60)
@given(st.integers(1, 700), KEYS, st.integers(1, 70), st.integers(1, 20))
def test_block_permutation_is_blocks_then_windows(size, key, block_rows, window_blocks):
    images = in_blocks(np.arange(size), size, key, block_rows, window_blocks)
    assert images.tolist() == blocks_by_lists(size, key, block_rows, window_blocks)
    assert sorted(images.tolist()) == list(range(size))


@given(st.integers(2**40, MAX_SIZE // 4), KEYS, st.integers(1, 2**20), st.data())
def test_block_permutation_keeps_neighbours_near_at_any_size(size, key, block_rows, data):
    window = 4 * block_rows
    start = data.draw(st.integers(0, (size - window) // window)) * window
    points = start + data.draw(st.integers(0, window - 200 if window > 200 else 0)) + np.arange(min(window, 200))
    images = in_blocks(points, size, key, block_rows, 4)
    assert len(np.unique(images)) == len(points)
    # the short block shifts windows by less than a block, so points of one may lie in two windows
    assert len(np.unique(images // block_rows)) <= 8


def in_blocks(points, size, key, block_rows, window_blocks):
    key, size = np.array([key], dtype=np.uint64), np.array([size])
    return permute_blocks(points, size, key, block_rows=block_rows, window_blocks=window_blocks)
