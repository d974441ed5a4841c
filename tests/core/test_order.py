"""Laws of the order: L1 (pure), L2 (partition), L5 (mixture) and exactly once, at any position."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.core.errors import InputError
from shardkit.core.mixture import LANES, SLOTS
from shardkit.core.order import MAX_ROWS, MixedOrder, OnePassOrder, substitute_rows
from shardkit.core.shuffle import Shuffle
from shardkit.core.stages import MIN_SEGMENT, SourceRows

SHUFFLES = st.sampled_from(
    [
        Shuffle(),
        Shuffle(kind="none"),
        Shuffle(kind="block"),
        Shuffle(kind="block", block_rows=7, window_blocks=3),
        Shuffle(kind="block", block_rows=1, window_blocks=5),
    ]
)
SMALL = LANES * MIN_SEGMENT  # a source of fewer rows is not cut into segments
ROWS = st.integers(1, 500) | st.sampled_from([63, 64, 65, 128, SMALL - 1, SMALL, SMALL + 1, 6000])
SEEDS = st.integers(0, 2**63 - 1)
FAR = st.integers(0, 10**15) | st.integers(2**61, 2**62)
THREE = (
    SourceRows(name="speech", num_rows=100_003, weight=0.7),
    SourceRows(name="music", num_rows=2_001, weight=0.2),
    SourceRows(name="noise", num_rows=40, weight=0.1),
)


@st.composite
def sources(draw, rows=ROWS, max_size=4):
    count = draw(st.integers(1, max_size))
    return [
        SourceRows(name=f"s{i}", num_rows=draw(rows), weight=draw(st.sampled_from([0.3, 0.5, 1.0, 1.7])))
        for i in range(count)
    ]


def by_draw(draws):
    return list(zip(draws.sources.tolist(), draws.passes.tolist(), draws.rows.tolist(), strict=True))


def assert_same(first, second):
    for name in ("positions", "sources", "passes", "rows"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def draws_of(order, source, positions):
    """Return lane, pass and row of every draw of one source."""
    draws = order.draws(positions)
    mine = draws.sources == source
    return positions[mine] % LANES, draws.passes[mine], draws.rows[mine]


def segments(order, source):
    """Bounds of each lane's segment of a source's pass, by unbounded integers: the design's section 4, point 2."""
    in_lane = [(order.mixture.slot_source[lane::LANES] == source).sum().item() for lane in range(LANES)]
    num_rows, total = order.sources[source].num_rows, sum(in_lane)
    return in_lane, [num_rows * sum(in_lane[:lane]) // total for lane in range(LANES + 1)]


# Exactly once


def assert_each_row_once_in_complete_passes(passes, rows, num_rows, complete):
    visits = np.zeros((complete, num_rows), dtype=int)
    within = passes < complete
    np.add.at(visits, (passes[within], rows[within]), 1)
    assert (visits == 1).all()


@settings(max_examples=25, deadline=None)
@given(sources(max_size=3), SEEDS, SHUFFLES)
def test_each_pass_of_each_source_has_each_row_exactly_once(sources, seed, shuffle):
    order = MixedOrder(sources, seed=seed, shuffle=shuffle)
    shares = order.mixture.shares / SLOTS
    positions = np.arange(
        int(2.2 * max(source.num_rows / share for source, share in zip(sources, shares, strict=True)))
    )
    for index, source in enumerate(sources):
        lanes, passes, rows = draws_of(order, index, positions)
        if source.num_rows < SMALL:
            complete = len(rows) // source.num_rows
            assert (passes == np.arange(len(rows)) // source.num_rows).all()
        else:
            complete = min(int(passes[lanes == lane].max()) for lane in range(LANES))
        assert complete > 0
        assert_each_row_once_in_complete_passes(passes, rows, source.num_rows, complete)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.sampled_from([64, 200, SMALL, SMALL + 77]), SEEDS, SHUFFLES)
def test_a_source_with_slots_in_few_lanes_has_each_row_exactly_once(shares, num_rows, seed, shuffle):
    sources = [
        SourceRows(name="rare", num_rows=num_rows, weight=shares),
        SourceRows(name="rest", num_rows=10, weight=SLOTS - shares),
    ]
    order = MixedOrder(sources, seed=seed, shuffle=shuffle)
    assert order.mixture.shares.tolist() == [shares, SLOTS - shares]
    slots = np.flatnonzero(order.mixture.slot_source == 0)
    positions = (np.arange(num_rows + 1)[:, np.newaxis] * SLOTS + slots).ravel()
    _, passes, rows = draws_of(order, 0, positions)
    assert_each_row_once_in_complete_passes(passes, rows, num_rows, 1)


@pytest.mark.parametrize("num_rows", [3, 40, 64, 100, 1000, SMALL - 1, SMALL, 5000, 20_011])
def test_no_row_is_drawn_more_often_than_another_for_long(num_rows):
    order = MixedOrder([SourceRows(name="s", num_rows=num_rows)], seed=0)
    visits = np.bincount(order.draws(np.arange(20 * num_rows)).rows, minlength=num_rows)
    assert visits.min() >= 19
    assert visits.max() <= 21


@settings(deadline=None)
@given(sources(rows=st.integers(1, 400)), SEEDS, SHUFFLES)
def test_one_pass_has_each_row_of_each_source_exactly_once(sources, seed, shuffle):
    order = OnePassOrder(sources, seed=seed, shuffle=shuffle)
    assert order.num_rows == sum(source.num_rows for source in sources)
    draws = order.draws(np.arange(order.num_rows))
    expected = [(index, 0, row) for index, source in enumerate(sources) for row in range(source.num_rows)]
    assert sorted(by_draw(draws)) == expected


@given(st.integers(1, 1000), SEEDS)
def test_one_pass_in_packed_order_gives_each_lane_a_run_of_rows_the_longer_first(num_rows, seed):
    order = OnePassOrder([SourceRows(name="s", num_rows=num_rows)], seed=seed, shuffle=Shuffle(kind="none"))
    rows = order.draws(np.arange(num_rows)).rows
    runs = [rows[lane::LANES] for lane in range(min(LANES, num_rows))]
    assert np.concatenate(runs).tolist() == list(range(num_rows))
    assert all((np.diff(run) == 1).all() for run in runs)
    lengths = [len(run) for run in runs]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] - lengths[-1] <= 1


def test_one_pass_ignores_weights():
    light = [SourceRows(name="a", num_rows=9, weight=0.0), SourceRows(name="b", num_rows=9, weight=5.0)]
    equal = [SourceRows(name="a", num_rows=9), SourceRows(name="b", num_rows=9)]
    assert_same(OnePassOrder(light, seed=1).draws(np.arange(18)), OnePassOrder(equal, seed=1).draws(np.arange(18)))


def test_one_pass_ends():
    order = OnePassOrder(THREE, seed=0)
    assert len(order.draws(np.array([order.num_rows - 1]))) == 1
    with pytest.raises(InputError, match="position 102044 is past the end of one pass over 102044 rows"):
        order.draws(np.array([order.num_rows]))


# Mixture


def counts_at_prefixes(order, positions):
    return np.cumsum(order.draws(positions).sources[:, np.newaxis] == np.arange(len(order.sources)), axis=0)


@settings(max_examples=30, deadline=None)
@given(sources(max_size=8), SEEDS)
def test_no_source_strays_from_its_share_at_any_prefix(sources, seed):
    order = MixedOrder(sources, seed=seed)
    prefixes = np.arange(1, 2 * SLOTS + 1)[:, np.newaxis]
    strays = counts_at_prefixes(order, prefixes[:, 0] - 1) - prefixes * order.mixture.shares / SLOTS
    assert np.abs(strays).max() < 5 < LANES


def test_three_sources_stay_within_three_draws_of_their_shares():
    order = MixedOrder(THREE, seed=0, shuffle=Shuffle(kind="none"))
    prefixes = np.arange(1, 160_001)[:, np.newaxis]
    strays = counts_at_prefixes(order, prefixes[:, 0] - 1) - prefixes * order.mixture.shares / SLOTS
    assert np.abs(strays).max() < 3


@settings(max_examples=50)
@given(sources(), SEEDS, FAR)
def test_any_batch_has_nearly_the_mix(sources, seed, start):
    order = MixedOrder(sources, seed=seed)
    counts = np.bincount(order.draws(start + np.arange(256)).sources, minlength=len(sources))
    assert np.abs(counts - 256 * order.mixture.shares / SLOTS).max() < 4


def test_a_weight_of_zero_is_never_drawn():
    order = MixedOrder([*THREE, SourceRows(name="off", num_rows=5, weight=0)], seed=0)
    assert np.unique(order.draws(np.arange(SLOTS)).sources).tolist() == [0, 1, 2]


# Purity


@settings(max_examples=50)
@given(sources(), SEEDS, SHUFFLES, st.lists(FAR, max_size=30), st.lists(FAR, max_size=30))
def test_draws_of_a_concatenation_are_the_concatenated_draws(sources, seed, shuffle, first, second):
    order = MixedOrder(sources, seed=seed, shuffle=shuffle)
    parts = [by_draw(order.draws(np.array(part, dtype=np.int64))) for part in (first, second)]
    assert by_draw(order.draws(np.array(first + second, dtype=np.int64))) == parts[0] + parts[1]


@pytest.mark.parametrize("kind", ["full", "block", "none"])
def test_many_positions_at_once_are_drawn_as_few(kind):
    order = MixedOrder(THREE, seed=4, shuffle=Shuffle(kind=kind))
    positions = np.random.default_rng(0).permutation(40_000)
    together, alone = by_draw(order.draws(positions)), order.draws(positions[::613])
    assert together[::613] == by_draw(alone)


@given(st.integers(1, 40), st.integers(0, 10**15), SHUFFLES)
def test_interleaving_the_ranks_gives_the_same_sequence(world_size, start, shuffle):
    order = MixedOrder(THREE, seed=0, shuffle=shuffle)
    positions = start + np.arange(world_size * 8)
    whole = order.draws(positions)
    for rank in range(world_size):
        share = order.draws(positions[rank::world_size])
        assert by_draw(share) == by_draw(whole)[rank::world_size]


def test_an_equal_order_gives_equal_draws_and_keeps_its_arguments():
    positions = np.arange(100)
    assert_same(MixedOrder(THREE, seed=3).draws(positions), MixedOrder(list(THREE), seed=3).draws(positions))
    assert positions.tolist() == list(range(100))


def test_seed_name_and_pass_each_change_the_permutation():
    def first_rows(seed=0, name="a", number=0):
        order = MixedOrder([SourceRows(name=name, num_rows=640)], seed=seed)
        return tuple(order.draws(number * 640 + np.arange(640)).rows.tolist())

    variants = [first_rows(seed, name, number) for seed in range(4) for name in "ab" for number in range(4)]
    assert len(set(variants)) == len(variants)


# Neighbours


@settings(max_examples=40, deadline=None)
@given(sources(rows=st.integers(1, 20_000)), SEEDS, SHUFFLES, st.integers(0, 10**6))
def test_neighbours_are_of_one_window_and_agree_on_who_they_are(sources, seed, shuffle, position):
    order = MixedOrder(sources, seed=seed, shuffle=shuffle)
    found = order.neighbours(position)
    assert position in found
    assert (np.diff(found) > 0).all()
    draws = order.draws(found)
    assert len(set(draws.sources.tolist())) == len(set(draws.passes.tolist())) == 1
    span = shuffle.block_rows * shuffle.window_blocks
    assert len(found) <= (1 if shuffle.kind == "full" else span)
    if shuffle.kind == "none":
        assert (np.diff(draws.rows) == 1).all()
    for other in found[:: max(1, len(found) // 3)].tolist():
        assert order.neighbours(other).tolist() == found.tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 2000), SEEDS, SHUFFLES)
def test_neighbours_of_one_pass_divide_it(num_rows, seed, shuffle):
    order = OnePassOrder([SourceRows(name="s", num_rows=num_rows)], seed=seed, shuffle=shuffle)
    left = set(range(num_rows))
    while left:
        found = set(order.neighbours(min(left)).tolist())
        assert min(left) in found
        assert found <= left
        left -= found


@pytest.mark.parametrize("num_rows", [64 * 32 * 10, 1000, 4099, 33_333])
def test_a_blocks_rows_are_neighbours(num_rows):
    shuffle = Shuffle(kind="block", block_rows=32, window_blocks=1)
    order = MixedOrder([SourceRows(name="s", num_rows=num_rows)], seed=0, shuffle=shuffle)
    whole = 0
    for position in range(0, num_rows, 97):
        rows = order.draws(order.neighbours(position)).rows
        assert len(set((rows // 32).tolist())) == 1  # of one block, though the short one has shifted the others
        whole += len(rows) == min(32, num_rows - rows.min() // 32 * 32)
    assert whole > 0.7 * num_rows / 97 or num_rows < 64 * 64 * 2


# Substitutes


def test_a_substitute_is_a_function_of_position_and_attempt_and_any_row_can_be_one():
    positions, sizes = np.arange(20_000), np.full(20_000, 10)
    first = substitute_rows(0, positions, sizes, attempt=1)
    assert first[::-1].tolist() == substitute_rows(0, positions[::-1], sizes, attempt=1).tolist()
    assert (np.abs(np.bincount(first, minlength=10) - 2000) < 250).all()
    second = substitute_rows(0, positions, sizes, attempt=2)
    assert 0.05 < (first == second).mean() < 0.15


# Any position


def reference(order, position):
    """Source, pass and offset in the pass by unbounded integers and counting."""
    period, slot = divmod(position, SLOTS)
    source, lane = int(order.mixture.slot_source[slot]), position % LANES
    num_rows, of_slots = order.sources[source].num_rows, order.mixture.slot_source == source
    if num_rows < SMALL:
        count = period * of_slots.sum().item() + of_slots[:slot].sum().item()
        return source, count // num_rows, count % num_rows
    in_lane, bounds = segments(order, source)
    count = period * in_lane[lane] + of_slots[lane:slot:LANES].sum().item()
    start, stop = bounds[lane], bounds[lane + 1]
    return source, count // (stop - start), start + count % (stop - start)


@settings(max_examples=50)
@given(sources(rows=st.integers(1, 10**6) | st.integers(MAX_ROWS // 2, MAX_ROWS)), FAR)
def test_the_closed_form_is_exact_at_any_position(sources, position):
    order = MixedOrder(sources, seed=0, shuffle=Shuffle(kind="none"))
    assert by_draw(order.draws(np.array([position]))) == [reference(order, position)]


@given(st.integers(1, 50), st.integers(0, 2**50), SEEDS, SHUFFLES)
def test_passes_of_one_source_follow_one_another_at_any_position(rows_a_lane, number, seed, shuffle):
    order = MixedOrder([SourceRows(name="s", num_rows=rows_a_lane * LANES)], seed=seed, shuffle=shuffle)
    size = rows_a_lane * LANES
    draws = order.draws(number * size + np.arange(size))
    assert (draws.passes == number).all()
    assert sorted(draws.rows.tolist()) == list(range(size))


@pytest.mark.parametrize("kind", ["full", "block"])
def test_a_far_position_costs_no_more_memory_than_a_near_one(kind):
    order = MixedOrder(THREE, seed=0, shuffle=Shuffle(kind=kind))

    def peak(start):
        positions = start + np.arange(50_000)
        tracemalloc.start()
        order.draws(positions)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(0)
    assert peak(10**15) < 1.2 * peak(0)


# Blocks


def test_a_lane_reads_its_blocks_window_by_window():
    shuffle = Shuffle(kind="block", block_rows=64, window_blocks=4)
    order = MixedOrder([SourceRows(name="s", num_rows=1_000_003)], seed=0, shuffle=shuffle)
    rows = order.draws(np.arange(0, 1_000_000, LANES)).rows  # all of lane 0
    assert len(rows) == 15_625
    for start in range(0, len(rows) - 256, 256):
        blocks = np.unique(rows[start : start + 256] // 64)
        assert len(blocks) <= 8  # at most two windows of four, where the short block has shifted them
    assert len(np.unique(rows // 64)) <= 15_625 // 64 + 8


# Errors


@pytest.mark.parametrize("make", [MixedOrder, OnePassOrder])
def test_sources_that_can_not_be_ordered_are_named(make):
    with pytest.raises(InputError, match="'void' has no rows"):
        make([*THREE, SourceRows(name="void", num_rows=0)], seed=0)
    with pytest.raises(InputError, match="2 sources are named 'music'"):
        make([*THREE, THREE[1]], seed=0)
    with pytest.raises(InputError, match=r"more than 2\^50"):
        make([SourceRows(name="huge", num_rows=MAX_ROWS + 1)], seed=0)
    with pytest.raises(InputError, match="at least one source"):
        make([], seed=0)
    with pytest.raises(InputError, match="seed"):
        make(THREE, seed=-1)


def test_weights_are_checked_by_the_mixed_order():
    with pytest.raises(InputError, match="too small"):
        MixedOrder([THREE[0], SourceRows(name="tiny", num_rows=3, weight=1e-6)], seed=0)


@pytest.mark.parametrize("positions", [[-1], [0.5], [[1]], 3])
def test_positions_are_integers_from_zero(positions):
    with pytest.raises(InputError, match="position"):
        MixedOrder(THREE, seed=0).draws(np.array(positions))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "random"}, "choose full, block or none"),
        ({"block_rows": 0}, "block_rows 0"),
        ({"window_blocks": 1.5}, "window_blocks 1.5"),
    ],
)
def test_shuffle_options_are_checked_when_made(options, message):
    with pytest.raises(InputError, match=message):
        Shuffle(**options)
