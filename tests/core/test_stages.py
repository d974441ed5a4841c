"""Laws of a mixture that changes on the way: passes stay whole, deviations do not add up, positions decide alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.core.errors import InputError
from shardkit.core.mixture import LANES, SLOTS, apportion
from shardkit.core.order import MixedOrder
from shardkit.core.shuffle import Shuffle
from shardkit.core.stages import SourceRows, Stage

SHUFFLES = st.sampled_from([Shuffle(), Shuffle(kind="none"), Shuffle(kind="block", block_rows=8, window_blocks=2)])
SEEDS = st.integers(0, 2**63 - 1)


@st.composite
def scheduled(draw, max_stages=5, max_length=30_000):
    sizes = draw(st.lists(st.sampled_from([1, 40, 100, 4096, 5003, 12_345]), min_size=1, max_size=4))
    sources = [SourceRows(name=f"s{i}", num_rows=size) for i, size in enumerate(sizes)]
    stages, start = [], 0
    for _ in range(draw(st.integers(1, max_stages))):
        weights = draw(st.lists(st.sampled_from([0, 0.1, 1, 3]), min_size=len(sizes), max_size=len(sizes)))
        weights = weights if any(weights) else [1] * len(sizes)
        stages.append(Stage(start, tuple(apportion([source.name for source in sources], weights).tolist())))
        start += draw(st.integers(1, max_length))
    return sources, stages


def order_of(sources, stages, seed=0, shuffle=None):
    return MixedOrder(sources, seed=seed, shuffle=shuffle or Shuffle(), stages=stages)


@settings(max_examples=40, deadline=None)
@given(scheduled(), SEEDS, SHUFFLES)
def test_every_pass_has_each_row_at_most_once_and_the_passes_before_it_each_row_once(scheduled, seed, shuffle):
    sources, stages = scheduled
    order = order_of(sources, stages, seed, shuffle)
    drawn = order.draws(np.arange(stages[-1].start + 60_000))
    for index, source in enumerate(sources):
        mine = drawn.sources == index
        passes, rows = drawn.passes[mine], drawn.rows[mine]
        if not len(rows):
            continue
        visits = np.zeros((int(passes.max()) + 1, source.num_rows), dtype=int)
        np.add.at(visits, (passes, rows), 1)
        assert visits.max() == 1
        whole = (visits == 1).all(axis=1)
        assert whole[: max(0, int(passes.max()) - 3)].all()  # lanes are at most a few passes apart


@settings(max_examples=40, deadline=None)
@given(scheduled(), SEEDS)
def test_no_source_strays_from_what_its_shares_add_up_to(scheduled, seed):
    sources, stages = scheduled
    positions = np.arange(stages[-1].start + 10_000)
    drawn = order_of(sources, stages, seed).draws(positions).sources
    stage = np.searchsorted([stage.start for stage in stages], positions, side="right") - 1
    expected = np.cumsum(np.array([stage.shares for stage in stages])[stage], axis=0) / SLOTS
    counts = np.cumsum(drawn[:, np.newaxis] == np.arange(len(sources)), axis=0)
    assert np.abs(counts - expected).max() < 12 < LANES


def test_deviations_of_a_thousand_stages_do_not_add_up():
    rng = np.random.default_rng(0)
    for num_sources in (2, 5, 30):
        sources = [SourceRows(name=f"s{i}", num_rows=500) for i in range(num_sources)]
        starts = np.concatenate([[0], np.cumsum(rng.integers(1, 400, 999))])
        names = [source.name for source in sources]
        shares = [apportion(names, rng.uniform(0.1, 1, num_sources).tolist()) for _ in starts]
        stages = [Stage(int(at), tuple(share.tolist())) for at, share in zip(starts, shares, strict=True)]
        positions = np.arange(starts[-1] + 1000)
        drawn = order_of(sources, stages).draws(positions).sources
        stage = np.searchsorted(starts, positions, side="right") - 1
        expected = np.cumsum(np.array(shares)[stage], axis=0) / SLOTS
        counts = np.cumsum(drawn[:, np.newaxis] == np.arange(num_sources), axis=0)
        assert np.abs(counts - expected).max() < LANES / 2


@settings(max_examples=30, deadline=None)
@given(scheduled(), SEEDS, SHUFFLES)
def test_later_stages_change_nothing_before_them(scheduled, seed, shuffle):
    sources, stages = scheduled
    positions = np.arange(stages[-1].start)
    whole, head = order_of(sources, stages, seed, shuffle), order_of(sources, stages[:-1] or stages, seed, shuffle)
    for name in ("sources", "passes", "rows"):
        np.testing.assert_array_equal(getattr(whole.draws(positions), name), getattr(head.draws(positions), name))


@settings(max_examples=30, deadline=None)
@given(scheduled(max_stages=1), SEEDS, st.integers(1, 50_000))
def test_stages_of_the_same_shares_change_nothing_for_small_sources_and_no_source_counts(scheduled, seed, start):
    sources, (stage,) = scheduled
    positions = np.arange(start + 5000)
    one = order_of(sources, [stage], seed).draws(positions)
    two = order_of(sources, [stage, Stage(start, stage.shares)], seed).draws(positions)
    np.testing.assert_array_equal(one.sources, two.sources)
    small = np.array([source.num_rows < LANES * 64 for source in sources])[one.sources]
    np.testing.assert_array_equal(one.rows[small], two.rows[small])


@settings(max_examples=30, deadline=None)
@given(scheduled(), SEEDS, SHUFFLES, st.data())
def test_any_positions_in_any_order_are_drawn_alike(scheduled, seed, shuffle, data):
    sources, stages = scheduled
    order = order_of(sources, stages, seed, shuffle)
    positions = np.array(data.draw(st.lists(st.integers(0, stages[-1].start + 10_000) | st.just(10**15), max_size=30)))
    together = order.draws(positions.astype(np.int64))
    alone = [order.draws(np.array([position])) for position in positions.tolist()]
    assert together.rows.tolist() == [draw.rows[0] for draw in alone]
    assert together.passes.tolist() == [draw.passes[0] for draw in alone]


@settings(max_examples=30, deadline=None)
@given(scheduled(), SHUFFLES, st.data())
def test_neighbours_stay_within_their_stage(scheduled, shuffle, data):
    sources, stages = scheduled
    order = order_of(sources, stages, shuffle=shuffle)
    position = data.draw(st.integers(0, stages[-1].start + 10_000))
    found = order.neighbours(position)
    assert position in found
    starts = [stage.start for stage in stages]
    assert len(set(np.searchsorted(starts, found, side="right").tolist())) == 1
    drawn = order.draws(found)
    assert len(set(zip(drawn.sources.tolist(), drawn.passes.tolist(), strict=True))) == 1


@pytest.mark.parametrize("starts", [[], [5], [0, 0], [0, 9, 3]])
def test_stages_begin_at_zero_and_ascend(starts):
    with pytest.raises(InputError, match="the first starts at 0"):
        order_of([SourceRows(name="s", num_rows=5)], [Stage(start, (SLOTS,)) for start in starts])


def test_shares_are_whole_slots():
    with pytest.raises(InputError, match="whole slots"):
        order_of([SourceRows(name="s", num_rows=5)], [Stage(0, (7,))])


def test_many_stages_are_drawn_alike_forwards_and_backwards():
    """What is kept of each stage is found again from the one before, wherever one comes from."""
    rng = np.random.default_rng(1)
    sources = [SourceRows(name=name, num_rows=rows) for name, rows in (("a", 5003), ("b", 20_000), ("c", 7))]
    shares = [apportion("abc", rng.uniform(0.1, 1, 3).tolist()) for _ in range(150)]
    stages = [Stage(700 * i, tuple(share.tolist())) for i, share in enumerate(shares)]
    forwards, backwards = order_of(sources, stages), order_of(sources, stages)
    starts = range(0, 150 * 700, 350)
    expected = {start: forwards.draws(np.arange(start, start + 50)) for start in starts}
    for start in reversed(starts):
        found = backwards.draws(np.arange(start, start + 50))
        np.testing.assert_array_equal(found.rows, expected[start].rows)
        np.testing.assert_array_equal(found.passes, expected[start].passes)
