"""Resampling equals torchaudio's, keeps its times, and each row to itself."""

import math

import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.core.errors import InputError
from shardkit.nn.resample import Resample

PAIRS = [
    (44_100, 16_000),
    (16_000, 44_100),
    (48_000, 44_100),
    (48_000, 16_000),
    (8_000, 16_000),
    (44_100, 22_050),
    (11_025, 16_000),
    (16_000, 16_000),
]


def by_definition(audio, from_rate, to_rate):
    """Each sample out as the sum it is, in float64: of a windowed sinc of six zero crossings a side."""
    out, time = math.ceil(audio.shape[-1] * to_rate / from_rate), audio.shape[-1]
    cutoff = 0.99 * min(from_rate, to_rate)
    apart = torch.arange(time).double() / from_rate - torch.arange(out).double()[:, None] / to_rate
    crossings = (apart * cutoff).clamp(-6, 6)
    weights = torch.sinc(crossings) * torch.cos(math.pi / 12 * crossings) ** 2 * cutoff / from_rate
    return (audio.double() @ weights.T).float()


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS[:-1])
@given(time=st.integers(1, 900), seed=st.integers(0, 1000))
@settings(max_examples=12, deadline=None)
def test_it_is_torchaudios_and_the_formula(from_rate, to_rate, time, seed):
    audio = torch.rand((2, 2, time), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    found = Resample(from_rate, to_rate)(audio)
    assert found.shape == (2, 2, math.ceil(time * to_rate / from_rate))
    torch.testing.assert_close(found, by_definition(audio, from_rate, to_rate), rtol=0, atol=1e-6)
    theirs = torchaudio.transforms.Resample(from_rate, to_rate)(audio)
    torch.testing.assert_close(found, theirs, rtol=0, atol=1e-4)  # their phases are of float32


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
def test_a_tone_stays_that_tone_at_the_same_times(from_rate, to_rate):
    def tone(rate):
        return torch.sin(2 * math.pi * 1_000 * torch.arange(rate // 4, dtype=torch.float64) / rate).float()

    found = Resample(from_rate, to_rate)(tone(from_rate).expand(1, 1, -1))[0, 0]
    expected = tone(to_rate)[: len(found)]
    torch.testing.assert_close(found[200:-200], expected[200 : len(found) - 200], rtol=0, atol=2e-3)


@pytest.mark.parametrize(("from_rate", "to_rate"), PAIRS)
@pytest.mark.parametrize("shape", [(0, 1, 100), (2, 0, 100), (2, 1, 0), (1, 1, 1)])
def test_odd_shapes_have_as_odd_results(from_rate, to_rate, shape):
    found = Resample(from_rate, to_rate)(torch.ones(shape))
    assert found.shape == (*shape[:2], -(-shape[2] * to_rate // from_rate))


def test_what_is_wrong_with_a_row_stays_in_it():
    resample = Resample(44_100, 16_000)
    audio = torch.randn(3, 2, 4_000)
    broken = audio.clone()
    broken[1, 0, 2_000] = torch.nan
    found, expected = resample(broken), resample(audio)
    assert found[1, 0].isnan().any()
    found[1, 0] = expected[1, 0]
    assert torch.equal(found, expected)


def test_how_audio_lies_in_memory_does_not_matter():
    resample = Resample(44_100, 16_000)
    audio = torch.randn(2, 4_000, 3).transpose(1, 2)
    torch.testing.assert_close(resample(audio), resample(audio.contiguous()))


def test_it_computes_in_the_modules_type():
    audio = torch.randn(1, 1, 4_000)
    resample = Resample(44_100, 16_000)
    assert resample(audio.half()).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(resample(audio), Resample(44_100, 16_000)(audio))
    assert Resample(44_100, 16_000).double()(audio).dtype == torch.float64
    assert not resample.state_dict()


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: Resample(16_000, 8_000)(torch.zeros(2, 100)), r"torch.float32 of shape \(2, 100\); give floats"),
        (lambda: Resample(16_000, 8_000)(torch.zeros(2, 1, 100, dtype=torch.int16)), "torch.int16 .*; give floats"),
        (lambda: Resample(16_000, 8_000).half()(torch.zeros(2, 1, 100)), "keep this module in float32"),
        (lambda: Resample(44_099, 16_000), "whose common divisor is 1, would take a filter of 16000 phases"),
        (lambda: Resample(0, 16_000), "from_rate is 0; it must be at least 1"),
        (lambda: Resample(16_000, 1.5), "to_rate is 1.5; it must be a whole number"),
    ],
)
def test_what_can_not_be_is_refused_in_one_line(use, message):
    with pytest.raises(InputError, match=message) as caught:
        use()
    assert "\n" not in str(caught.value)
