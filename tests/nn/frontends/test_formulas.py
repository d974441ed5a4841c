"""LEAF and SincNet against a plain reference: outputs and gradients, first values, audax's defaults."""

import math

import pytest
import torch
from torch import Tensor

from shardkit.nn import LEAF, SincNet
from tests.nn.frontends import reference

torchaudio = pytest.importorskip("torchaudio")

# Small enough for loops over samples; windows of 51 samples, strides of 20.
SMALL = {"sample_rate": 2_000, "n_filters": 4}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(features: Tensor, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad((features * noise(*features.shape, seed=9)).sum(), leaves)


def assert_gradients_equal(found: Tensor, expected: Tensor, leaves: list[Tensor], rtol: float = 1e-8) -> None:
    for one, other in zip(gradients(found, leaves), gradients(expected, leaves), strict=True):
        assert other.abs().max() > 0
        torch.testing.assert_close(one, other, rtol=rtol, atol=rtol * float(other.abs().max()))


@pytest.mark.parametrize("compression", ["spcen", "log", None])
@pytest.mark.parametrize("time", [200, 20])
def test_leaf_equals_the_reference_and_so_do_its_gradients(compression, time):
    module, audio = LEAF(**SMALL, f_max=900.0, compression=compression).double(), noise(1, 1, time).requires_grad_()
    expected = reference.leaf(
        audio[0, 0], module.centres, module.widths, module.pool_widths, window=module.window_length, stride=20
    )
    if module.spcen is not None:
        now = module.spcen
        expected = reference.spcen(expected, now.alpha, now.delta, now.root, now.smoothing)
    expected = expected.log() if compression == "log" else expected
    found = module(audio)[0, 0]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    leaves = [audio, module.centres, module.widths, module.pool_widths]
    if time > 20 and module.spcen is not None:  # of one frame the average is the frame, whatever the smoothing
        leaves += list(module.spcen.parameters())
    assert_gradients_equal(found, expected, leaves)


@pytest.mark.parametrize("compression", ["layer_norm", "log", None])
@pytest.mark.parametrize("time", [200, 20])
def test_sincnet_equals_the_reference_and_so_do_its_gradients(compression, time):
    module, audio = SincNet(**SMALL, compression=compression).double(), noise(1, 1, time).requires_grad_()
    leaves = [audio, module.low_hz, module.band_hz]
    with torch.no_grad():
        module.band_hz[-1] -= 20.0  # off the bound, where a clamp's gradient is a matter of rounding
        module.low_hz[1] *= -1.0  # of which the amount counts
    expected = reference.sincnet(
        audio[0, 0], module.low_hz, module.band_hz, window=module.window_length, stride=20, rate=2_000
    )
    if module.norm is not None:
        with torch.no_grad():
            module.norm.weight.copy_(torch.linspace(0.5, 1.5, 4))
            module.norm.bias.copy_(torch.linspace(-1.0, 1.0, 4))
        expected = reference.layer_norm(expected, module.norm.weight, module.norm.bias)
        leaves += list(module.norm.parameters())
    expected = expected.log() if compression == "log" else expected
    found = module(audio)[0, 0]
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)
    assert_gradients_equal(found, expected, leaves, rtol=1e-6)


def directly(samples: Tensor, kernels: Tensor) -> Tensor:
    """Return the responses of (filter, tap), by torch's own convolution."""
    return torch.nn.functional.conv1d(samples.reshape(1, 1, -1), kernels.unsqueeze(1), padding="same")[0]


def test_a_second_of_16_khz_through_the_defaults_is_audaxs():
    module, samples = LEAF(), noise(16_000, seed=3)
    eta, sigma, pool = (found.detach().double() for found in (module.centres, module.widths, module.pool_widths))
    taps = [torch.stack(reference.gabor(eta[band], sigma[band], 401)) for band in range(40)]
    power = torch.stack([directly(samples, each).square().sum(dim=0) for each in taps])
    power = torch.nn.functional.pad(power, reference.same_padding(16_000, 401, 160))
    t = (torch.arange(401) - 200) / 200
    weights = torch.exp(-0.5 * (t / pool[:, None]) ** 2).double()
    energies = torch.nn.functional.conv1d(power[None], weights[:, None], stride=160, groups=40)[0].clamp(min=1e-5)
    constants = (torch.full((40,), value, dtype=torch.float64) for value in (0.96, 2.0, 2.0, 0.04))
    expected = reference.spcen(energies, *constants)
    assert expected.shape == (40, 100)
    torch.testing.assert_close(module(samples.float()[None, None])[0, 0].double(), expected, rtol=1e-5, atol=1e-5)


def test_a_second_of_16_khz_through_sincnets_defaults_is_audaxs():
    module, samples = SincNet(), noise(16_000, seed=4)
    low = 50.0 + module.low_hz.detach().double()
    high = (low + 50.0 + module.band_hz.detach().double()).clamp(max=8_000.0)
    kernels = torch.stack([reference.band_pass(*edges, 401, 16_000) for edges in zip(low, high, strict=True)])
    padding = reference.same_padding(16_000, 401, 160)
    responses = torch.nn.functional.pad(directly(samples, kernels), padding, value=-math.inf)
    pooled = torch.nn.functional.max_pool1d(responses, 401, 160).clamp(min=1e-5)
    expected = reference.layer_norm(pooled, *torch.tensor([[1.0], [0.0]], dtype=torch.float64).expand(2, 40))
    assert expected.shape == (40, 100)
    torch.testing.assert_close(module(samples.float()[None, None])[0, 0].double(), expected, rtol=1e-4, atol=1e-4)


def test_leafs_first_filters_are_those_of_the_mel_bands():
    filters = torchaudio.functional.melscale_fbanks(257, 60.0, 7_800.0, 40, 16_000).T.sqrt()
    num_bins = (filters >= filters.amax(dim=1, keepdim=True) / 2).sum(dim=1)
    module = LEAF()
    torch.testing.assert_close(module.centres.detach(), filters.argmax(dim=1) * (2 * math.pi / 512))
    torch.testing.assert_close(module.widths.detach(), math.sqrt(2 * math.log(2)) * 512 / (math.pi * num_bins))
    assert module.pool_widths.tolist() == [pytest.approx(0.4)] * 40


def test_sincnets_first_edges_are_equally_far_apart_in_mel_up_to_half_the_rate():
    module = SincNet()
    edges = torch.cat([module.low_hz, (module.low_hz + module.band_hz)[-1:]]).detach().double()
    mel = 2595 * torch.log10(1 + edges / 700)
    torch.testing.assert_close(mel.diff(), mel.diff().mean().expand(40), rtol=1e-3, atol=0)
    torch.testing.assert_close(edges[[0, -1]], torch.tensor([50.0, 7_900.0], dtype=torch.float64), rtol=1e-5, atol=0)
    assert float(module.effective()["high_hz"].detach().max()) == pytest.approx(8_000.0)


@pytest.mark.parametrize("sample_rate", [8_000, 22_050, 44_100])
def test_sincnets_bands_lie_where_they_say_at_every_rate(sample_rate):
    module = SincNet(sample_rate=sample_rate, n_filters=20, compression=None)
    edges = {name: found.detach() for name, found in module.effective().items()}
    tone_hz = float(edges["low_hz"][10] + edges["high_hz"][10]) / 2
    tone = torch.sin(2 * math.pi * tone_hz * torch.arange(sample_rate) / sample_rate).reshape(1, 1, -1)
    # Filters are 1 at their middle tap, so that wider ones are louder: what counts is the response for its width.
    response = module(tone)[0, 0].mean(dim=1).detach() * (edges["high_hz"] - edges["low_hz"])
    assert response.argmax() == 10


@pytest.mark.parametrize("sample_rate", [8_000, 22_050, 44_100])
def test_a_tone_is_loudest_in_the_filter_at_its_frequency(sample_rate):
    module = LEAF(sample_rate=sample_rate, compression=None)
    tone = torch.sin(float(module.centres[25].detach()) * torch.arange(sample_rate)).reshape(1, 1, -1)
    assert module(tone)[0, 0].mean(dim=1).argmax() == 25
