"""sPCEN: the formula, frame by frame, is the oracle."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.core.errors import InputError
from shardkit.nn import SPCEN
from tests.nn.frontends import reference


def energies(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).pow(4) + 1e-5


def varied(num_bands: int) -> SPCEN:
    """Return a module in float64 whose bands all differ."""
    module = SPCEN(num_bands).double()
    with torch.no_grad():
        steps = torch.linspace(0.1, 0.9, num_bands, dtype=torch.float64)
        for parameter, scale in ((module.alpha, 1.0), (module.delta, 3.0), (module.smoothing, 0.5)):
            parameter.copy_(scale * steps)
        module.root.copy_(1.0 + 4.0 * steps)
    return module


@given(num_frames=st.integers(1, 200), num_bands=st.integers(1, 4), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_equals_the_formula_and_so_do_its_gradients(num_frames, num_bands, seed):
    module, audio = varied(num_bands), energies(num_bands, num_frames, seed=seed).requires_grad_()
    parameters = [module.alpha, module.delta, module.root, module.smoothing]
    weights = energies(num_bands, num_frames, seed=seed + 1)
    found, expected = module(audio), reference.spcen(audio, *parameters)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    leaves = [audio, *parameters]
    for one, other in zip(
        torch.autograd.grad((weights * found).sum(), leaves),
        torch.autograd.grad((weights * expected).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


def test_small_gains_keep_their_digits_in_float32():
    quiet = torch.full((1, 1, 50), 1e-5)
    double = SPCEN(1, alpha=0.0).double()(quiet.double())
    torch.testing.assert_close(SPCEN(1, alpha=0.0)(quiet).double(), double, rtol=1e-6, atol=0)


def test_the_level_of_a_recording_matters_little_and_with_alpha_one_nothing():
    found = SPCEN(3, alpha=1.0)
    x = energies(2, 3, 100).float()
    torch.testing.assert_close(found(1000.0 * x), found(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["alpha", "delta", "root", "smoothing"])
@pytest.mark.parametrize("value", [-1e6, -1.0, 0.0, 1.0, 1e6])
def test_is_finite_at_and_beyond_all_bounds(name, value):
    module = SPCEN(2)
    with torch.no_grad():
        getattr(module, name).fill_(value)
    found = module(energies(2, 100).float())
    found.sum().backward()
    assert torch.isfinite(found).all()
    for parameter in module.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


def test_without_frames_or_items_there_is_nothing():
    assert SPCEN(4)(torch.zeros(0, 4, 10)).shape == (0, 4, 10)
    assert SPCEN(4)(torch.zeros(2, 4, 0)).shape == (2, 4, 0)


@pytest.mark.parametrize("option", [{"alpha": 1.5}, {"delta": 0.0}, {"root": 0.5}, {"smoothing": -0.1}])
def test_values_out_of_bounds_are_refused(option):
    with pytest.raises(InputError, match=f"{next(iter(option))} is .*; it must be"):
        SPCEN(4, **option)


@pytest.mark.parametrize("x", [torch.zeros(2, 5, 3), torch.zeros(4), torch.zeros(4, 3, dtype=torch.int64)])
def test_what_is_not_band_frame_of_floats_is_refused(x):
    with pytest.raises(InputError, match="give floats"):
        SPCEN(4)(x)
