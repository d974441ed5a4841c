"""Laws of a fixed composition: exact in each batch and on each rank, passes whole, a function of the position."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.core.errors import InputError
from shardkit.core.mixture import LANES, SLOTS, STEP, spread
from shardkit.core.order import MixedOrder
from shardkit.core.shuffle import Shuffle
from shardkit.core.stages import MIN_SEGMENT, SourceRows, Stage

COUNTS = st.lists(st.integers(0, 40), min_size=1, max_size=5).filter(any)
SHUFFLES = st.sampled_from([Shuffle(), Shuffle(kind="none"), Shuffle(kind="block", block_rows=8, window_blocks=2)])
SEEDS = st.integers(0, 2**63 - 1)


def pattern(counts):
    return spread(np.array(counts), num_lanes=sum(counts)).slot_source


def order_of(counts, sizes, *, seed=0, shuffle=None, later=()):
    sources = [SourceRows(name=f"s{i}", num_rows=size) for i, size in enumerate(sizes)]
    stages = [Stage(0, tuple(counts)), *later]
    return MixedOrder(sources, seed=seed, shuffle=shuffle or Shuffle(), stages=stages, batch=sum(counts))


@st.composite
def composed(draw, max_batches=60):
    counts = draw(st.lists(st.integers(0, 9), min_size=1, max_size=4).filter(any))
    batch = sum(counts)
    segmented = batch * MIN_SEGMENT + 5
    sizes = [draw(st.sampled_from([1, 7, 100, segmented, 3 * segmented])) for _ in counts]
    start = batch * draw(st.integers(1, max_batches))
    later = [Stage(start, tuple(draw(st.permutations(counts))))] if draw(st.booleans()) else []
    return counts, sizes, later


@given(COUNTS)
def test_the_counts_are_exact_in_every_batch(counts):
    assert np.bincount(pattern(counts), minlength=len(counts)).tolist() == counts
    order = order_of(counts, [11] * len(counts))
    drawn = order.draws(np.arange(5 * sum(counts)) + sum(counts) * 10**12).sources.reshape(5, -1)
    assert all(np.bincount(batch, minlength=len(counts)).tolist() == counts for batch in drawn)


@given(COUNTS, st.integers(1, 64), st.integers(1, 4))
def test_every_rank_has_its_share_exactly_where_it_is_whole_and_else_within_one(counts, ranks, times):
    """For any number of ranks that divide the global batch, which is one period or several."""
    batch = sum(counts)
    size = math.lcm(batch * times, ranks)
    found = np.tile(pattern(counts), size // batch)
    repeats = size // math.lcm(batch, ranks)  # of what a rank sees
    for rank in range(ranks):
        mine = np.bincount(found[rank::ranks], minlength=len(counts))
        for count, number in zip(counts, mine.tolist(), strict=True):
            share = count * size / batch / ranks
            if math.gcd(batch, ranks) == 1 or count % math.gcd(batch, ranks) == 0:
                assert number == share
            assert abs(number - share) < repeats


@pytest.mark.parametrize("counts", [(8, 8, 16), (8, 4, 4, 16), (24, 8), (1, 31), (5, 7, 20), (512, 512, 1024, 2048)])
def test_no_prefix_strays_far_from_the_composition(counts):
    """Law L5, inside of batches."""
    found = np.tile(pattern(counts), 2)
    for source, count in enumerate(counts):
        strays = np.cumsum(found == source) - np.arange(1, len(found) + 1) * count / sum(counts)
        assert np.abs(strays).max() < 4 < LANES


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 10_000), st.data())
def test_no_prefix_of_any_batch_strays_as_far_as_the_law_allows(batch, data):
    bounds = sorted(data.draw(st.lists(st.integers(0, batch), max_size=4)))
    counts = np.diff([0, *bounds, batch])
    found = spread(counts, num_lanes=batch).slot_source
    for source, count in enumerate(counts.tolist()):
        strays = np.cumsum(found == source) - np.arange(1, batch + 1) * count / batch
        assert np.abs(strays).max() < LANES / 2


def test_a_batch_of_all_slots_has_the_lattice_of_weights():
    shares = np.array([2867, 819, 410])
    lattice = np.arange(SLOTS) * STEP % SLOTS
    assert pattern(shares.tolist()).tolist() == np.repeat([0, 1, 2], shares)[lattice].tolist()


@settings(max_examples=40, deadline=None)
@given(composed(), SEEDS, SHUFFLES)
def test_each_pass_of_each_source_has_each_row_once(composed, seed, shuffle):
    counts, sizes, later = composed
    order = order_of(counts, sizes, seed=seed, shuffle=shuffle, later=later)
    batch = sum(counts)
    shares = np.array([stage.shares for stage in order.stages])
    longest = (np.array(sizes) / np.where(shares, shares, np.inf)).max()
    drawn = order.draws(np.arange(order.stages[-1].start + batch * math.ceil(2.2 * longest + 2)))
    for index, size in enumerate(sizes):
        mine = drawn.sources == index
        if not mine.any():
            continue
        passes, rows = drawn.passes[mine], drawn.rows[mine]
        visits = np.zeros((int(passes.max()) + 1, size), dtype=int)
        np.add.at(visits, (passes, rows), 1)
        assert visits.max() == 1
        assert visits[: max(0, len(visits) - 3)].all()  # lanes are at most a few passes apart


@settings(max_examples=40, deadline=None)
@given(composed(), SEEDS, SHUFFLES, st.data())
def test_any_positions_in_any_order_are_drawn_alike(composed, seed, shuffle, data):
    counts, sizes, later = composed
    order = order_of(counts, sizes, seed=seed, shuffle=shuffle, later=later)
    positions = np.array(data.draw(st.lists(st.integers(0, 10_000) | st.integers(10**15, 10**15 + 9), min_size=1)))
    together = order.draws(positions)
    for number, position in enumerate(positions.tolist()):
        alone = order.draws(np.array([position]))
        assert (alone.sources[0], alone.rows[0]) == (together.sources[number], together.rows[number])
        found = order.neighbours(position)
        assert position in found
        near = order.draws(found)
        assert set(near.sources.tolist()) == {alone.sources[0]}
        assert set(near.passes.tolist()) == {alone.passes[0]}


def test_a_large_source_is_walked_by_slots_so_that_one_rank_reads_its_blocks():
    order = order_of((6, 2), (6 * 64 * 32, 10), shuffle=Shuffle(kind="block", block_rows=32))
    rows = order.draws(np.arange(0, 8 * 64 * 32, 8)).rows  # of one slot
    assert len(np.unique(rows // 32)) <= len(rows) // 32 + 2
    assert Counter(np.diff(order.neighbours(8 * 5)).tolist()) == {8: 31}


@pytest.mark.parametrize("start", [1, 31, 33])
def test_a_composition_changes_between_batches(start):
    with pytest.raises(InputError, match=f"from sample {start}, inside a batch of 32; choose"):
        order_of((8, 24), (5, 5), later=[Stage(start, (24, 8))])


@pytest.mark.parametrize("shares", [(8, 8), (40, -8), (32,)])
def test_counts_add_up_to_the_batch(shares):
    with pytest.raises(InputError, match="whole slots whose sum is 32"):
        order_of((8, 24), (5, 5), later=[Stage(32, shares)])
