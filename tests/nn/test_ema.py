"""Exponential moving averages: the recurrence, written as a loop in float64, is the oracle."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from shardkit.core.errors import InputError
from shardkit.nn.ema import ema


def recurrence(x, s, initial=None):
    """Return what the definition says, a frame at a time."""
    previous = x[..., 0] if initial is None else initial
    averages = []
    for frame in x.unbind(-1):
        previous = (1 - s) * previous + s * frame
        averages.append(previous)
    return torch.stack(averages, dim=-1)


def energies(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 4


@given(num_frames=st.integers(1, 300), s=st.one_of(st.floats(0.0, 1.0), st.none()), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_equals_the_recurrence(num_frames, s, seed):
    x = energies(2, 3, num_frames, seed=seed)
    weights = torch.tensor([0.0, 0.04, 1.0], dtype=torch.float64) if s is None else s
    expected = recurrence(x, weights)
    torch.testing.assert_close(ema(x, weights), expected, rtol=1e-12, atol=1e-15)
    single = weights.float() if isinstance(weights, torch.Tensor) else weights
    torch.testing.assert_close(ema(x.float(), single).double(), expected, rtol=2e-6, atol=1e-12)


@pytest.mark.parametrize("s", [1e-4, 0.025, 0.6])
def test_stays_exact_in_float32_over_many_chunks(s):
    x = energies(1, 2, 10_000).float()  # chunks of chunks of chunks
    expected = torch.from_numpy(lfilter([s], [1, s - 1], x.double(), zi=(1 - s) * x[..., :1].double())[0])
    torch.testing.assert_close(ema(x, s).double(), expected, rtol=3e-6, atol=0)


def test_begins_with_the_first_frame_or_with_what_is_given():
    x, before = energies(2, 1, 4, 130), energies(2, 1, 4)
    torch.testing.assert_close(ema(x, 0.3)[..., 0], x[..., 0])
    torch.testing.assert_close(ema(x, 0.3, initial=before), recurrence(x, 0.3, before))


def test_what_comes_after_goes_on_where_what_came_before_ended():
    x = energies(3, 4, 200)
    first = ema(x[..., :77], 0.1)
    torch.testing.assert_close(torch.cat([first, ema(x[..., 77:], 0.1, initial=first[..., -1])], -1), ema(x, 0.1))


def test_gradients_are_those_of_the_recurrence():
    x = energies(2, 2, 70).requires_grad_()
    s = torch.tensor([0.04, 0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ema, (x, s), fast_mode=True)  # in one direction; in all of them below
    weights = energies(2, 2, 70, seed=1)
    found = torch.autograd.grad((ema(x, s) * weights).sum(), (x, s))
    expected = torch.autograd.grad((recurrence(x, s) * weights).sum(), (x, s))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("s", [0.0, 1.0])
def test_gradients_at_the_bounds_of_s_are_finite(s):
    s = torch.tensor([s], requires_grad=True)
    ema(energies(1, 3, 100), s).sum().backward()
    assert torch.isfinite(s.grad).all()


def test_a_nan_stays_in_its_band():
    x = energies(2, 3, 150)
    clean = ema(x, 0.1)
    x[0, 1, 100] = float("nan")
    found = ema(x, 0.1)
    assert found[0, 1, 100:].isnan().all()
    found[0, 1] = clean[0, 1]
    assert torch.equal(found, clean)


@pytest.mark.parametrize("shape", [(0, 3, 5), (2, 3, 0), (3, 1)])
def test_odd_shapes(shape):
    assert ema(energies(*shape), 0.1).shape == shape


def test_half_precision_is_computed_in_float32_under_autocast_too():
    x = energies(1, 2, 100).half()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ema(x, 0.1)
    assert found.dtype == torch.float32
    assert torch.equal(found, ema(x.float(), 0.1))


@pytest.mark.parametrize("s", [-0.1, 1.1, float("nan"), "x", torch.zeros(2)])
def test_weights_that_can_not_be_are_refused(s):
    with pytest.raises(InputError, match="s is|s has shape"):
        ema(energies(1, 3, 5), s)
