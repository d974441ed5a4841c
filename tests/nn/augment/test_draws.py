"""Draws on the device: the bits of ``core.random``, and the distributions they are said to have."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from shardkit.core import random as core
from shardkit.core.errors import InputError
from shardkit.nn import draws
from shardkit.nn.draws import Draws

WORDS = st.integers(-(2**63), 2**63 - 1)


@given(words=st.lists(WORDS, min_size=1, max_size=4), more=st.lists(WORDS, max_size=3))
@settings(max_examples=100)
def test_hashes_are_those_of_numpy_bit_for_bit(words, more):
    array = np.array(words, dtype=np.int64)
    expected = core.hash64(*more, array, *more, array[::-1])
    found = draws.hash64(*more, torch.from_numpy(array), *more, torch.from_numpy(array[::-1].copy()))
    assert np.array_equal(found.numpy().view(np.uint64), expected)


@given(seed=st.integers(0, 2**63 - 1), positions=st.lists(WORDS, max_size=5), index=st.integers(0, 2**40))
@settings(max_examples=100)
def test_uniform_numbers_are_those_of_numpy_bit_for_bit(seed, positions, index):
    array = np.array(positions, dtype=np.int64)
    expected = core.uniform(seed, array, "gain", index)
    found = draws.uniform(seed, torch.from_numpy(array), "gain", index)
    assert np.array_equal(found.numpy(), expected)
    single = draws.uniform(seed, torch.from_numpy(array), "gain", index, dtype=torch.float32).numpy()
    assert np.array_equal(single, (np.floor(expected * 2.0**24) * 2.0**-24).astype(np.float32))


def test_rows_draw_by_index_and_view():
    positions = torch.tensor([7, 7, 8, 8])
    found = Draws(seed=3, purpose="x", positions=positions, views=2).uniform(3, first=5)
    for index in range(3):
        for view in range(2):
            expected = core.uniform(3, np.array([7, 8]), "x", 5 + index + view * 2**32)
            assert np.array_equal(found[index, view::2].numpy(), expected)
    assert Draws(seed=3, purpose="x", positions=positions, views=2).uniform(0).shape == (0, 4)
    assert Draws(seed=3, purpose="x", positions=positions[:0]).uniform(2).shape == (2, 0)


def test_normal_numbers_are_normal_independent_and_keyed_by_place():
    keys = Draws(seed=0, purpose="noise", positions=torch.arange(20)).keys()[0]
    field = draws.normal(keys, 2, 5_001)
    assert stats.kstest(field.flatten().double().numpy(), "norm").pvalue > 0.01
    rows = field.double().flatten(0, 1)
    correlations = torch.corrcoef(torch.cat((rows[:, :-1], rows[:, 1:])))
    assert (correlations - torch.eye(80)).abs().max() < 5.0 / 5_000**0.5
    assert torch.equal(draws.normal(keys[4:9], 1, 777), field[4:9, :1, :777])


@pytest.mark.parametrize("alpha", [0.01, 0.2, 0.8, 1.0, 5.0, 100.0])
def test_shares_have_the_beta_distribution(alpha):
    uniforms = draws.uniform(1, torch.arange(50_000), "share")
    shares = draws.at_quantile(draws.beta_quantiles(alpha), uniforms).numpy()
    for mirrored in (shares, 1.0 - shares):  # near 0, where floats lie close, and near 1
        points = np.concatenate([np.geomspace(1e-12, 0.1, 50), np.linspace(0.1, 0.5, 50)])
        below = np.searchsorted(np.sort(mirrored), points, side="right") / len(shares)
        # Kolmogorov and Smirnov's bound for 0.1 %, and 1/4096 for the table's linear pieces.
        assert np.abs(below - stats.beta(alpha, alpha).cdf(points)).max() < 1.95 / 50_000**0.5 + 1 / 4096
    assert shares.min() >= 0.0
    assert shares.max() <= 1.0


def test_integers_and_permutations_are_equally_likely():
    uniforms = Draws(seed=5, purpose="x", positions=torch.arange(24_000)).uniform(4)
    assert stats.chisquare(torch.bincount(draws.integers(uniforms[0], 7)).numpy()).pvalue > 0.01
    orders = draws.permutations(uniforms)
    assert torch.equal(orders.sort(dim=1).values, torch.arange(4).expand(24_000, 4))
    codes = (orders * torch.tensor([64, 16, 4, 1])).sum(dim=1)
    counts = torch.bincount(codes)
    assert (counts > 0).sum() == 24
    assert stats.chisquare(counts[counts > 0].numpy()).pvalue > 0.01
    most = torch.tensor([1 - 2.0**-53], dtype=torch.float64)
    assert draws.integers(most, torch.tensor([2**40])) == 2**40 - 1
    assert draws.integers(most, 1) == 0


def test_what_is_no_key_is_refused():
    with pytest.raises(InputError, match="needs a tensor"):
        draws.hash64(1, 2)
    with pytest.raises(InputError, match="int64"):
        draws.hash64(torch.tensor([1.0]))
    with pytest.raises(InputError, match="seed -1"):
        draws.uniform(-1, torch.tensor([1]), "x")
