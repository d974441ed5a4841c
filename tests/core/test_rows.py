"""Laws of a view's rows: every part as often as its factor says, in every pass, by arithmetic alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.core.errors import InputError
from shardkit.core.rows import UNIT, RowSpace

KEYS = st.integers(0, 2**64 - 1)
PARTS = st.lists(st.integers(1, 6), min_size=1, max_size=40)
FACTORS = st.sampled_from([0.25, 0.5, 1.0, 1.3, 2.0, 2.75, 7.01])


def whole_pass(space, number=0, key=0):
    rows = np.arange(space.num_rows)
    return space.locate(rows, passes=np.full(space.num_rows, number), key=key)


def counts(space, num_parts, number, key):
    recordings, parts = whole_pass(space, number, key)
    found = np.zeros((len(num_parts), max(num_parts)), dtype=int)
    np.add.at(found, (recordings, parts), 1)
    return found


def test_plain_recordings_are_their_own_rows():
    space = RowSpace(5)
    assert space.num_rows == 5
    assert [array.tolist() for array in whole_pass(space)] == [[0, 1, 2, 3, 4], [0] * 5]


@given(PARTS)
def test_the_parts_follow_one_another_in_the_order_of_the_recordings(num_parts):
    space = RowSpace(len(num_parts), np.array(num_parts))
    expected = [(i, part) for i, count in enumerate(num_parts) for part in range(count)]
    assert list(zip(*(array.tolist() for array in whole_pass(space)), strict=True)) == expected


@given(PARTS, st.integers(1, 5), KEYS, st.integers(0, 10**12))
def test_a_whole_factor_repeats_every_part_exactly_so_often(num_parts, factor, key, number):
    space = RowSpace(len(num_parts), np.array(num_parts), np.full(len(num_parts), factor * UNIT))
    assert space.num_rows == factor * sum(num_parts)
    for found, count in zip(counts(space, num_parts, number, key), num_parts, strict=True):
        assert found[:count].tolist() == [factor] * count


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 6), FACTORS), min_size=1, max_size=40), KEYS, st.integers(0, 10**12))
def test_a_part_comes_no_less_often_than_its_factors_whole_part(recordings, key, number):
    num_parts = [count for count, _ in recordings]
    factors = np.array([round(factor * UNIT) for _, factor in recordings])
    space = RowSpace(len(num_parts), np.array(num_parts), factors)
    assert space.num_rows == -(-int(factors @ np.array(num_parts)) // UNIT)
    for found, count, factor in zip(counts(space, num_parts, number, key), num_parts, factors / UNIT, strict=True):
        assert (found[:count] >= int(factor)).all()
        assert (found[:count] <= np.ceil(factor) + 1).all()
        assert not found[count:].any()


def test_each_pass_repeats_other_parts_and_any_two_may_come_together():
    space = RowSpace(60, None, np.full(60, UNIT * 3 // 2))
    twice = [frozenset(np.flatnonzero(counts(space, [1] * 60, number, 9)[:, 0] == 2).tolist()) for number in range(300)]
    assert all(len(chosen) == 30 for chosen in twice)
    assert len(set(twice)) == 300
    both = np.array([[{i, j} <= chosen for i, j in ((0, 1), (0, 2), (7, 9))] for chosen in twice]).mean(axis=0)
    assert (np.abs(both - 0.25) < 0.1).all()


def test_over_many_passes_each_part_comes_as_often_as_its_factor():
    factors = np.array([0.1, 0.5, 1.0, 1.25, 3.7, 2.0, 0.9])
    space = RowSpace(7, None, np.round(factors * UNIT).astype(np.int64))
    recordings = np.concatenate([whole_pass(space, number, key=5)[0] for number in range(4000)])
    shares = np.bincount(recordings, minlength=7) / 4000
    missing = (space.num_rows - factors.sum()) / 7  # ten rows for 9.45: each comes that much more often
    np.testing.assert_allclose(shares, factors + missing, atol=0.03)


def test_a_row_is_what_it_is_whoever_asks_with_it():
    space = RowSpace(3, np.array([2, 9, 4]), np.array([UNIT, UNIT * 3 // 2, UNIT // 3]))
    rows = np.random.default_rng(0).integers(0, space.num_rows, 200)
    passes = np.random.default_rng(1).integers(0, 10**12, 200)
    together = space.locate(rows, passes=passes, key=1)
    for i in range(200):
        alone = space.locate(rows[i : i + 1], passes=passes[i : i + 1], key=1)
        assert (together[0][i], together[1][i]) == (alone[0][0], alone[1][0])


def test_sizes_near_the_limits_are_exact():
    huge = RowSpace(3, np.array([2**40, 2**49, 1]))
    recordings, parts = huge.locate(np.array([2**40 - 1, 2**40, huge.num_rows - 1]), passes=np.zeros(3, int), key=0)
    assert (recordings.tolist(), parts.tolist()) == ([0, 1, 2], [2**40 - 1, 0, 0])
    uneven = RowSpace(2, np.array([2**41, 1]), np.array([UNIT * 3 // 2, 3]))
    rows = np.array([0, 2**41 - 1, 2**41, uneven.num_rows - 2, uneven.num_rows - 1])
    recordings, parts = uneven.locate(rows, passes=np.full(5, 7), key=3)
    assert ((recordings == 0) | (parts == 0)).all()
    assert parts.max() < 2**41
    with pytest.raises(InputError, match="more than 2\\^50 rows"):
        RowSpace(2, np.array([2**50, 2**50]))
    with pytest.raises(InputError, match="more than 2\\^50 rows"):
        RowSpace(2, np.array([2**45, 2**45]), np.array([UNIT * 2**10] * 2))


def test_no_recordings_have_no_rows():
    assert RowSpace(0).num_rows == RowSpace(0, np.empty(0, int), np.empty(0, int)).num_rows == 0
