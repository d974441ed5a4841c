"""Laws of coalescing: everything asked for is covered, within the limits, and merging again changes nothing."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.core.errors import InputError
from shardkit.core.ranges import Limits, coalesce

RANGES = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 40)), max_size=25).map(
    lambda pairs: [(start, start + size) for start, size in pairs]
)
LIMITS = {"max_gap": st.integers(0, 30), "max_size": st.integers(1, 120)}


def merge(ranges, *, max_gap, max_size):
    bounds = np.array(ranges, dtype=np.int64).reshape(-1, 2)
    return coalesce(bounds[:, 0], bounds[:, 1], Limits(free_gap=max_gap, max_size=max_size))


def bounds_of(merged):
    return list(zip(merged.starts.tolist(), merged.stops.tolist(), strict=True))


@given(RANGES, LIMITS["max_gap"], LIMITS["max_size"])
def test_every_range_lies_inside_its_merged_range(ranges, max_gap, max_size):
    merged = merge(ranges, max_gap=max_gap, max_size=max_size)
    assert len(merged.group_of) == len(ranges)
    for (start, stop), group in zip(ranges, merged.group_of, strict=True):
        assert merged.starts[group] <= start <= stop <= merged.stops[group]


@given(RANGES, LIMITS["max_gap"], LIMITS["max_size"])
def test_merged_ranges_are_tight_and_hold_no_gap_above_the_limit(ranges, max_gap, max_size):
    merged = merge(ranges, max_gap=max_gap, max_size=max_size)
    assert set(merged.group_of.tolist()) == set(range(len(merged.starts)))
    for group, (start, stop) in enumerate(bounds_of(merged)):
        members = sorted(r for r, g in zip(ranges, merged.group_of, strict=True) if g == group)
        assert (start, stop) == (members[0][0], max(stop for _, stop in members))
        reached = start
        for first, last in members:
            assert first - reached <= max_gap
            reached = max(reached, last)


@given(RANGES, LIMITS["max_gap"], LIMITS["max_size"])
def test_only_a_range_that_is_too_large_by_itself_exceeds_the_size(ranges, max_gap, max_size):
    for start, stop in bounds_of(merge(ranges, max_gap=max_gap, max_size=max_size)):
        assert stop - start <= max_size or (start, stop) in ranges


@given(RANGES, LIMITS["max_gap"], LIMITS["max_size"])
def test_neighbours_are_merged_wherever_the_limits_allow(ranges, max_gap, max_size):
    merged = bounds_of(merge(ranges, max_gap=max_gap, max_size=max_size))
    assert [start for start, _ in merged] == sorted(start for start, _ in merged)
    for (start, stop), (next_start, next_stop) in itertools.pairwise(merged):
        assert next_start - stop > max_gap or max(stop, next_stop) - start > max_size


@given(RANGES, LIMITS["max_gap"], LIMITS["max_size"])
def test_merging_again_changes_nothing(ranges, max_gap, max_size):
    merged = bounds_of(merge(ranges, max_gap=max_gap, max_size=max_size))
    again = merge(merged, max_gap=max_gap, max_size=max_size)
    assert bounds_of(again) == merged
    assert again.group_of.tolist() == list(range(len(merged)))


@given(RANGES, LIMITS["max_gap"], LIMITS["max_size"], st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(ranges, max_gap, max_size, random):
    shuffled = random.sample(ranges, len(ranges))
    limits = {"max_gap": max_gap, "max_size": max_size}
    assert bounds_of(merge(shuffled, **limits)) == bounds_of(merge(ranges, **limits))


def test_an_example():
    merged = merge([(100, 110), (0, 10), (14, 20), (2, 5)], max_gap=4, max_size=64)
    assert bounds_of(merged) == [(0, 20), (100, 110)]
    assert merged.group_of.tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("ranges", "limits", "message"),
    [
        ([(5, 4)], {"max_gap": 0, "max_size": 1}, r"byte range 0 is \[5, 4\)"),
        ([(0, 1), (-1, 4)], {"max_gap": 0, "max_size": 1}, r"byte range 1 is \[-1, 4\)"),
        ([], {"max_gap": -1, "max_size": 1}, "free_gap=-1"),
        ([], {"max_gap": 0, "max_size": 0}, "max_size=0"),
    ],
)
def test_bad_ranges_and_limits_are_refused(ranges, limits, message):
    with pytest.raises(InputError, match=message):
        merge(ranges, **limits)


def test_lists_of_two_lengths_are_refused():
    with pytest.raises(InputError, match="not two lists of one length"):
        coalesce(np.arange(2), np.arange(3), Limits(free_gap=0, max_size=1))


@given(RANGES, st.integers(0, 10), st.integers(0, 60), st.floats(0, 0.5))
def test_what_is_fetched_in_vain_stays_within_its_share(ranges, free_gap, max_gap, max_waste):
    ranges = [(start, stop) for start, stop in ranges if stop > start]
    bounds = np.array(ranges, dtype=np.int64).reshape(-1, 2)
    limits = Limits(free_gap=free_gap, max_gap=max_gap, max_waste=max_waste, max_size=10_000)
    merged = coalesce(bounds[:, 0], bounds[:, 1], limits)
    for group, (start, stop) in enumerate(bounds_of(merged)):
        wanted = np.zeros(stop - start, bool)
        for (first, last), joined in zip(ranges, merged.group_of, strict=True):
            if joined == group:
                wanted[first - start : last - start] = True
        edges = np.flatnonzero(np.diff(np.concatenate([[True], wanted, [True]]).astype(int)))
        gaps = [int(last - first) for first, last in zip(edges[::2], edges[1::2], strict=True)]
        assert all(gap <= max(free_gap, max_gap) for gap in gaps)
        assert sum(gap for gap in gaps if gap > free_gap) <= max_waste * wanted.sum()


def test_a_gap_in_proportion_joins_crops_that_leave_little_out():
    """Four seconds each of clips of five: one request for all of them, with a quarter in vain."""
    starts = np.arange(10, dtype=np.int64) * 100_000
    stops = starts + 80_000
    alone = coalesce(starts, stops, Limits(free_gap=4_096, max_gap=4_096, max_waste=0.25, max_size=2**23))
    together = coalesce(starts, stops, Limits(free_gap=4_096, max_gap=1_000_000, max_waste=0.25, max_size=2**23))
    assert (len(alone.starts), len(together.starts)) == (10, 1)
