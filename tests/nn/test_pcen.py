"""Per-channel energy normalisation: Wang et al.'s equations, a frame at a time in float64, are the oracle."""

import pytest
import torch

from shardkit.nn import PCEN, MelSpectrogram, pcen

PUBLISHED = {"s": 0.025, "alpha": 0.98, "delta": 2.0, "r": 0.5, "eps": 1e-6}


def equations(energies, *, s, alpha, delta, r, eps):
    """Wang et al. (2017), equations 1 and 2."""
    energies = energies.double()
    average, normalized = energies[..., 0], []
    for energy in energies.unbind(-1):
        average = (1 - s) * average + s * energy
        normalized.append((energy / (eps + average) ** alpha + delta) ** r - delta**r)
    return torch.stack(normalized, dim=-1)


def noise(*shape, seed=0):
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "changes", [{}, {"s": 1.0}, {"alpha": 0.0}, {"alpha": 1.0, "r": 1.0}, {"r": 0.1, "eps": 1e-3, "delta": 10.0}]
)
def test_equals_the_equations(changes):
    options = PUBLISHED | changes
    energies = noise(2, 1, 5, 700).square() * torch.logspace(-8, 4, 5).unsqueeze(-1)
    expected = equations(energies, **options)
    torch.testing.assert_close(pcen(energies, **options).double(), expected, rtol=2e-5, atol=1e-7)
    torch.testing.assert_close(pcen(energies.double(), **options), expected, rtol=1e-9, atol=1e-12)


def test_the_module_is_the_function_of_mel_energies():
    options = {"sample_rate": 16_000, "n_fft": 512, "power": 1}
    audio = noise(2, 2, 16_000)
    energies = MelSpectrogram(**options)(audio)
    torch.testing.assert_close(PCEN(scale=2.0**15, **options)(audio), pcen(2.0**15 * energies))


def test_a_steady_level_is_taken_out_and_an_onset_stands_out():
    """With alpha 1, whatever is steady ends at (1 + delta)^r - delta^r, however loud it is."""
    quiet = torch.full((1, 1, 400), 1e-2)
    quiet[..., 300:] *= 100.0
    both = torch.cat([quiet, 1e6 * quiet], dim=1)
    found = pcen(both, alpha=1.0, eps=1e-12)
    torch.testing.assert_close(found[:, :1], found[:, 1:], rtol=1e-4, atol=0)
    torch.testing.assert_close(found[..., 299], torch.full((1, 2), 3**0.5 - 2**0.5), rtol=1e-4, atol=0)
    assert (found[..., 300] > 5 * found[..., 299]).all()
