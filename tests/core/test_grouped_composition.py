"""Laws of a composition of groups: exact by group in each batch, by weight inside a group, passes whole."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.core.errors import InputError
from shardkit.core.mixture import LANES, _even_step, _partial_quotients, repeats_of, spread
from shardkit.core.order import MixedOrder
from shardkit.core.shuffle import Shuffle
from shardkit.core.stages import MIN_SEGMENT, SourceRows, Stage
from shardkit.stream.groups import checked_groups

WEIGHTS = st.sampled_from([1, 1, 2, 3, 7.5, 0.4])


@st.composite
def grouped(draw):
    """Counts of some groups, the group of each source, and the slots of each source."""
    counts = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    members = {
        f"g{number}": {f"s{number}.{i}": draw(WEIGHTS) for i in range(draw(st.integers(1, 4)))}
        for number in range(len(counts))
    }
    sources = draw(st.permutations([source for found in members.values() for source in found]))
    groups = checked_groups(sources, members)
    in_order = groups.in_order(dict(zip(members, counts, strict=True)), what="count")
    return groups, [int(count) for count in in_order]


def order_of(groups, counts, *, sizes=None, later=(), seed=3, shuffle=None):
    rows = [SourceRows(name=name, num_rows=(sizes or {}).get(name, 50)) for name in groups.sources]
    stages = [Stage(start, groups.slots(found)) for start, found in ((0, counts), *later)]
    return MixedOrder(
        rows, seed=seed, stages=stages, batch=sum(counts), groups=groups.numbers, shuffle=shuffle or Shuffle()
    )


@settings(max_examples=50, deadline=None)
@given(grouped(), st.integers(0, 10**6))
def test_each_batch_has_its_count_of_each_group_wherever_it_is(grouped, first):
    groups, counts = grouped
    batch = sum(counts)
    drawn = order_of(groups, counts).draws(first * batch + np.arange(30 * batch)).sources
    found = np.array(groups.numbers)[drawn].reshape(30, batch)
    assert all(np.bincount(row, minlength=len(counts)).tolist() == counts for row in found)


@settings(max_examples=50, deadline=None)
@given(grouped(), st.integers(0, 10**6))
def test_a_source_keeps_to_its_weight_in_its_group_at_every_prefix(grouped, first):
    """Law L5 inside of a group, and so the weight's own count differs by a few draws, however long the run."""
    groups, counts = grouped
    batch = sum(counts)
    drawn = order_of(groups, counts).draws(first * batch + np.arange(40 * batch)).sources
    slots = np.array(groups.slots(counts))
    for members in groups.members:
        mine = drawn[np.isin(drawn, members)]
        share = slots[list(members)] / slots[list(members)].sum()
        for source, part in zip(members, share.tolist(), strict=True):
            strays = np.cumsum(mine == source) - np.arange(1, len(mine) + 1) * part
            assert np.abs(strays).max() < 6 < LANES


@settings(max_examples=50, deadline=None)
@given(grouped(), st.data())
def test_groups_are_spread_over_ranks_as_sources_are(grouped, data):
    groups, counts = grouped
    batch = sum(counts)
    ranks = data.draw(st.sampled_from([ranks for ranks in range(1, batch + 1) if batch % ranks == 0]))
    drawn = order_of(groups, counts).draws(np.arange(8 * batch)).sources
    of_groups = np.array(groups.numbers)[drawn].reshape(8, batch)
    for rank in range(ranks):
        mine = np.bincount(of_groups[0, rank::ranks], minlength=len(counts))
        for count, number in zip(counts, mine.tolist(), strict=True):
            assert abs(number - count / ranks) < 1


@pytest.mark.parametrize(("count", "ranks"), [(8, 2), (8, 4), (8, 8), (12, 3), (4, 1)])
def test_in_the_long_run_each_rank_has_the_weights_of_a_group(count, ranks):
    groups = checked_groups(["hard", "rare", "rest"], {"few": {"hard": 3, "rare": 1}})
    batch = count + 2 * count
    order = order_of(groups, [count, 2 * count])
    drawn = order.draws(np.arange(batch * repeats_of(batch))).sources
    for rank in range(ranks):
        found = np.bincount(drawn[rank::ranks], minlength=3)
        assert found[0] / found[1] == pytest.approx(3, rel=0.01)
        assert found[2] == 2 * (found[0] + found[1])


@pytest.mark.parametrize("sizes", [{}, {"a": 10_000, "b": 7000}])
@pytest.mark.parametrize("shuffle", [Shuffle(), Shuffle(kind="block", block_rows=8, window_blocks=2)])
def test_groups_of_one_source_each_draw_as_sources_do(sizes, shuffle):
    """Naming the sources of a composition as groups of one changes nothing."""
    groups = checked_groups(["a", "b", "c"], {"one": ["a"], "two": ["b"]})
    plain = checked_groups(["a", "b", "c"], None)
    later = [(24 * 1000, [2, 2, 20])]
    positions = np.arange(48_000)
    one = order_of(groups, [6, 6, 12], sizes=sizes, later=later, shuffle=shuffle).draws(positions)
    other = order_of(plain, [6, 6, 12], sizes=sizes, later=later, shuffle=shuffle).draws(positions)
    assert np.array_equal(one.sources, other.sources)
    assert np.array_equal(one.rows, other.rows)
    assert np.array_equal(one.passes, other.passes)


@settings(max_examples=20, deadline=None)
@given(grouped(), st.sampled_from([Shuffle(), Shuffle(kind="none"), Shuffle(kind="block", block_rows=8)]), st.data())
def test_each_pass_of_each_source_has_each_row_once(grouped, shuffle, data):
    groups, counts = grouped
    batch = sum(counts)
    segmented = batch * MIN_SEGMENT + 5
    sizes = {name: data.draw(st.sampled_from([1, 7, 100, segmented])) for name in groups.sources}
    later = [(batch * 40, list(data.draw(st.permutations(counts))))] if data.draw(st.booleans()) else []
    order = order_of(groups, counts, sizes=sizes, later=later, shuffle=shuffle)
    drawn = order.draws(np.arange(batch * 400))
    for index, name in enumerate(groups.sources):
        mine = drawn.sources == index
        passes, rows = drawn.passes[mine], drawn.rows[mine]
        visits = np.zeros((int(passes.max(initial=0)) + 1, sizes[name]), dtype=int)
        np.add.at(visits, (passes, rows), 1)
        assert visits.max() <= 1
        if sizes[name] < segmented:  # walked by all lanes together
            assert visits[:-2].all()
    position = data.draw(st.integers(0, batch * 400 - 1))
    near = order.draws(order.neighbours(position))
    assert set(near.sources.tolist()) == {int(drawn.sources[position])}


def test_the_order_of_groups_is_frozen():
    groups = checked_groups(["a", "b", "c", "d"], {"x": {"a": 3, "c": 1}, "y": ["b", "d"]})
    sizes = {"a": 40, "b": 30, "c": 5000, "d": 3}
    order = order_of(groups, [5, 3], sizes=sizes, later=[(80, [3, 5])])
    drawn = order.draws(np.array([0, 1, 2, 3, 4, 5, 6, 7, 79, 80, 81, 82, 10**12]))
    assert np.stack([drawn.sources, drawn.passes, drawn.rows], axis=1).tolist() == FROZEN


FROZEN = [
    [0, 0, 4], [1, 0, 9], [0, 0, 13], [3, 0, 1], [0, 0, 27], [2, 0, 523], [1, 0, 19], [0, 0, 21], [2, 0, 2685],
    [0, 0, 12], [3, 5, 1], [0, 0, 30], [0, 7031250000, 15],
]  # fmt: skip


@settings(deadline=None)
@given(st.integers(1, 6000) | st.integers(1, 1024).map(lambda number: 64 * number))
def test_the_multiples_of_a_groups_step_are_evenly_spread(period):
    """No partial quotient is large, so no run of a group's draws strays far, whatever counts and weights it has."""
    step = _even_step(period)
    assert math.gcd(step, period) == 1
    if period >= 64:
        assert max(_partial_quotients(step, period)) <= 6


def test_slots_that_batches_can_not_share_are_refused():
    with pytest.raises(InputError, match="can't be shared out among 64 batches"):
        spread(np.array([100, 128 - 100 + 64 * 6]), num_lanes=8, groups=[0, 1])
    groups = checked_groups(["a", "b"], {"g": {"a": 1, "b": 1e-9}})
    with pytest.raises(InputError, match="'b' is too small for one of 16384 slots"):
        groups.slots([8])
