"""Laws of the mixture: exact shares, and a lattice that spreads them evenly."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.core.errors import InputError
from shardkit.core.mixture import LANES, SLOTS, STEP, apportion, spread, weights_in_order

WEIGHTS = st.lists(st.floats(0.2, 100.0) | st.just(0.0), min_size=1, max_size=8).filter(any)


def named(weights):
    return [f"s{i}" for i in range(len(weights))]


@given(WEIGHTS)
def test_shares_are_the_quotas_rounded_and_sum_to_the_period(weights):
    shares = apportion(named(weights), weights)
    total = sum(map(Fraction, weights))
    assert shares.sum() == SLOTS
    for share, weight in zip(shares.tolist(), weights, strict=True):
        assert abs(share - SLOTS * Fraction(weight) / total) < 1
        assert (share == 0) == (weight == 0)


@given(WEIGHTS, st.sampled_from([0.5, 3.0, 2.0**-40, 1e6]))
def test_only_ratios_of_weights_matter(weights, factor):
    exact = [Fraction(weight) * Fraction(factor) for weight in weights]
    scaled = [float(weight) for weight in exact]
    if all(Fraction(value) == weight for value, weight in zip(scaled, exact, strict=True)):
        assert apportion(named(weights), scaled).tolist() == apportion(named(weights), weights).tolist()


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ([1, 1, 1], [1366, 1365, 1365]),
        ([0.7, 0.2, 0.1], [2867, 819, 410]),
        ([1, 0, 1], [2048, 0, 2048]),
        ([1e308, 1e308], [2048, 2048]),
        ([1e-308, 3e-308], [1024, 3072]),
        ([5], [4096]),
        ([1] * SLOTS, [1] * SLOTS),
    ],
)
def test_known_shares(weights, shares):
    assert apportion(named(weights), weights).tolist() == shares


@pytest.mark.parametrize("bad", [-0.1, float("nan"), float("inf"), "1/2", None, 10**400])
def test_a_weight_that_is_not_a_finite_number_is_named(bad):
    with pytest.raises(InputError, match=r"of 's1' is not"):
        apportion(["s0", "s1"], [1.0, bad])


def test_weights_that_apportion_nothing_are_refused():
    with pytest.raises(InputError, match=r"all weights are zero \('s0', 's1'\)"):
        apportion(["s0", "s1"], [0, 0.0])
    with pytest.raises(InputError, match="more than 4096 sources"):
        apportion(named([1] * 4097), [1] * 4097)


@given(WEIGHTS, st.floats(1e-300, 1e-7))
def test_too_small_a_weight_names_the_smallest_that_works(weights, small):
    names = [*named(weights), "tiny"]
    with pytest.raises(InputError, match=r"of 'tiny' is too small .* the smallest that works is ([0-9.e+-]+)") as error:
        apportion(names, [*weights, small])
    works = float(str(error.value).split("works is ")[1].split(" ")[0])
    try:
        assert apportion(names, [*weights, works])[-1] == 1
    except InputError as other:  # the new weight can leave another source that was at its own limit without a slot
        assert "'tiny'" not in str(other)  # noqa: PT017
    with pytest.raises(InputError, match="'tiny'"):
        apportion(names, [*weights, works * 0.985])


def test_weights_by_name_follow_the_sources():
    assert weights_in_order(["a", "b"], {"b": 1, "a": 2}) == (2, 1)
    assert weights_in_order(["a", "b"], (2, 1)) == (2, 1)


def test_weights_that_fit_no_source_say_what_is_meant():
    with pytest.raises(InputError, match=r"'speach' names no source; did you mean 'speech'\? .* 'music', 'speech'"):
        weights_in_order(["music", "speech"], {"music": 1, "speach": 1})
    with pytest.raises(InputError, match=r"'xyz' names no source; The sources are 'music'"):
        weights_in_order(["music"], {"xyz": 1})
    with pytest.raises(InputError, match=r"no weight for 'b', 'c'"):
        weights_in_order(["a", "b", "c"], {"a": 1})
    with pytest.raises(InputError, match="1 weights for 2 sources"):
        weights_in_order(["a", "b"], [1])


@pytest.fixture(scope="module")
def lattice():
    return np.arange(SLOTS) * STEP % SLOTS


def worst_interval(entries):
    """Most that the count of entries in any interval of the sorted slots differs from its expected count.

    A source is an interval of the sorted slots, so this bounds every source of every mixture at once.
    """
    hits = np.zeros(SLOTS)
    hits[entries] = 1
    excess = np.concatenate([[0], np.cumsum(hits)]) - np.arange(SLOTS + 1) * len(entries) / SLOTS
    return excess.max() - excess.min()


def test_no_source_of_any_mixture_ever_strays_by_five_draws(lattice):
    # whole periods are exact, so all prefixes of one period cover all prefixes
    assert max(worst_interval(lattice[:num]) for num in range(1, SLOTS)) < 4.5


@pytest.mark.parametrize("size", [32, 256, 1000])
def test_any_batch_of_any_mixture_has_the_mix_within_four(lattice, size):
    twice = np.concatenate([lattice, lattice])
    assert max(worst_interval(twice[start : start + size]) for start in range(SLOTS)) < 4


@pytest.mark.parametrize("ranks", [2, 8, 64])
def test_any_rank_of_a_power_of_two_has_the_mix_within_eight(lattice, ranks):
    prefixes = [lattice[rank::ranks][:num] for rank in range(ranks) for num in range(1, SLOTS // ranks, 7)]
    assert max(worst_interval(entries) for entries in prefixes) < 8


@settings(max_examples=20)
@given(WEIGHTS)
def test_tables_agree_with_counting(weights):
    names = named(weights)
    mixture = spread(apportion(names, weights), num_lanes=LANES)
    assert np.bincount(mixture.slot_source, minlength=len(names)).tolist() == mixture.shares.tolist()
    counted = np.zeros((LANES, len(names)), dtype=int)
    for slot, source in enumerate(mixture.slot_source):
        assert mixture.slot_prior[slot] == counted[slot % LANES, source]
        counted[slot % LANES, source] += 1
    assert counted.tolist() == mixture.lane_slots.tolist()
    assert np.ptp(mixture.lane_slots, axis=0).max() <= 1


def test_tables_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        spread(apportion(["a"], [1]), num_lanes=LANES).slot_source[0] = 0
