"""Filters, phases and codecs: against formulas written here, torchaudio and scipy."""

import math

import numpy as np
import pytest
import torch

from shardkit.core.errors import InputError
from shardkit.nn import (
    Apply,
    BandPass,
    BitCrush,
    Clips,
    CorruptPhase,
    HighPass,
    LowPass,
    MuLaw,
    RandomResample,
    ShiftPhase,
)
from tests.nn.augment.steps import batch_of, noise

torchaudio = pytest.importorskip("torchaudio")
RATE = 16_000


def low_pass(samples: np.ndarray, cutoff: float, zeros: int = 8) -> np.ndarray:
    """julius's windowed sinc, in cycles a sample, by direct convolution."""
    half = int(zeros / cutoff / 2)
    times = np.arange(-half, half + 1)
    taps = 2 * cutoff * np.sinc(2 * cutoff * times) * np.hanning(2 * half + 1)
    return np.stack([np.convolve(channel, taps / taps.sum(), mode="full")[half:-half] for channel in samples])


@pytest.mark.parametrize("name", ["low", "high", "band"])
def test_filters_are_windowed_sincs_of_each_rows_cutoff(name):
    step = {
        "low": LowPass(min_hz=500.0, max_hz=7_000.0, p=1.0),
        "high": HighPass(min_hz=100.0, max_hz=3_000.0, p=1.0),
        "band": BandPass(p=1.0),
    }[name]
    batch = Clips(audio=noise(12, 2, 3_000), sample_rate=RATE)
    result, drawn = step.with_parameters(batch)
    for row in range(12):
        samples = batch.audio[row].double().numpy()
        if name == "band":
            high, low = (low_pass(samples, float(drawn[key][row]) / RATE) for key in ("high_hz", "low_hz"))
            expected = high - low
        else:
            expected = low_pass(samples, float(drawn["cutoff_hz"][row]) / RATE)
            expected = samples - expected if name == "high" else expected
        np.testing.assert_allclose(result.audio[row].numpy(), expected, atol=2e-6)


def test_cutoffs_are_equally_likely_by_octave():
    batch = Clips(audio=torch.zeros(4_000, 1, 1), sample_rate=RATE)
    drawn = LowPass(min_hz=500.0, max_hz=8_000.0).draw(batch)["cutoff_hz"]
    octaves = torch.histc(torch.log2(drawn / 500.0).float(), bins=4, min=0.0, max=4.0)
    assert (octaves - 1_000).abs().max() < 110


def test_a_lower_rate_keeps_what_lies_below_half_of_it_and_nothing_above():
    step = RandomResample(min_hz=6_000.0, max_hz=6_000.0, p=1.0)
    times = torch.arange(16_000) / RATE
    for frequency, least, most in (
        (100.0, 0.999, 1.001),
        (2_800.0, 0.99, 1.01),
        (3_010.0, 0.0, 0.01),
        (7_000.0, 0.0, 0.001),
    ):
        tone = torch.sin(2 * math.pi * frequency * times)[None, None]
        found = step(Clips(audio=tone, sample_rate=RATE)).audio[0, 0, 2_000:-2_000]
        assert least <= float(found.square().mean().mul(2).sqrt()) <= most, frequency


def test_cutoffs_that_the_rate_does_not_have_are_refused():
    batch = Clips(audio=noise(1, 1, 100), sample_rate=8_000)
    for step in (LowPass(max_hz=5_000.0), HighPass(max_hz=5_000.0), BandPass(), RandomResample(max_hz=9_000.0)):
        with pytest.raises(InputError, match="8000 Hz ends at 4000 Hz"):
            step(batch)
    with pytest.raises(InputError, match="min_high_hz is 400"):
        BandPass(min_high_hz=400.0)
    with pytest.raises(InputError, match="zeros is 0"):
        LowPass(zeros=0)


def test_shifting_all_phases_is_a_rotation_of_the_analytic_signal():
    times = torch.arange(20_000) / RATE
    audio = torch.stack([torch.sin(2 * math.pi * frequency * times) for frequency in (440.0, 1_000.0, 3_333.0)])[
        :, None
    ]
    result, drawn = ShiftPhase(p=1.0).with_parameters(Clips(audio=audio, sample_rate=RATE))
    for row, frequency in enumerate((440.0, 1_000.0, 3_333.0)):
        expected = torch.sin(2 * math.pi * frequency * times + drawn["angle"][row].float())
        torch.testing.assert_close(result.audio[row, 0, 3_000:-3_000], expected[3_000:-3_000], rtol=0, atol=5e-3)


def test_no_amount_changes_nothing_and_a_half_turn_inverts():
    batch = Clips(audio=noise(2, 2, 5_000), sample_rate=RATE)
    for step in (ShiftPhase(amount=0.0, p=1.0), CorruptPhase(amount=0.0, p=1.0)):
        torch.testing.assert_close(step(batch).audio, batch.audio, rtol=0, atol=1e-6)
    angles = ShiftPhase(amount=2.0).draw(Clips(audio=torch.zeros(2_000, 1, 1), sample_rate=RATE))["angle"]
    assert -2 * math.pi <= angles.min() < -6.0
    assert 6.0 < angles.max() < 2 * math.pi


def test_corrupted_phases_are_drawn_by_row_channel_and_bin_and_applied_to_all_frames():
    batch = Clips(audio=noise(2, 2, 6_000), sample_rate=RATE)
    result, drawn = CorruptPhase(n_fft=512, p=1.0).with_parameters(batch)
    assert drawn["angle"].shape == (2, 2, 257)
    assert len(drawn["angle"].unique()) > 1_000
    window = torch.hann_window(512)
    options = {"n_fft": 512, "hop_length": 256, "window": window}
    spectra = torch.stft(batch.audio.flatten(0, 1), **options, pad_mode="constant", return_complex=True)
    spectra = spectra * torch.polar(torch.ones(4, 257), drawn["angle"].flatten(0, 1).float())[:, :, None]
    expected = torch.istft(spectra, **options, length=6_000).reshape(2, 2, -1)
    torch.testing.assert_close(result.audio[..., :5_500], expected[..., :5_500], rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="amount is -1"):
        CorruptPhase(amount=-1)


@pytest.mark.parametrize("bits", [4, 8, 12])
def test_mu_law_is_torchaudios(bits):
    batch = Clips(audio=noise(3, 1, 2_000).mul(8.0), sample_rate=RATE)
    found = MuLaw(min_bits=bits, max_bits=bits, p=1.0)(batch).audio
    codes = torchaudio.functional.mu_law_encoding(batch.audio.clamp(-1.0, 1.0), 2**bits)
    expected = torchaudio.functional.mu_law_decoding(codes, 2**bits)
    differ = (found - expected).abs() > 1e-5
    assert differ.float().mean() < 1e-3  # where two codes are equally near


@pytest.mark.parametrize("bits", [2, 6, 16])
def test_fewer_bits_are_multiples_of_their_step(bits):
    audio = noise(3, 1, 2_000).mul(6.0)
    found = BitCrush(min_bits=bits, max_bits=bits, p=1.0)(Clips(audio=audio, sample_rate=RATE)).audio
    step = 2.0 ** (1 - bits)
    assert torch.equal(found / step, (found / step).round())
    assert found.min() >= -1.0
    assert found.max() == 1.0 - step
    inside = (audio > -1.0) & (audio < 1.0 - step)
    assert ((found - audio).abs()[inside] <= step / 2 * 1.0001).all()


def test_bits_are_drawn_for_each_row():
    drawn = BitCrush(min_bits=6, max_bits=12).draw(Clips(audio=torch.zeros(700, 1, 1), sample_rate=RATE))
    assert set(drawn["bits"].tolist()) == set(range(6, 13))
    with pytest.raises(InputError, match="min_bits is 13"):
        BitCrush(min_bits=13)


def test_any_function_can_be_applied_to_some_rows():
    batch = batch_of(40)
    result, drawn = Apply(lambda audio: audio + 1.0, p=0.4).with_parameters(batch)
    inside = torch.arange(batch.audio.shape[2]) < batch.lengths[:, None, None]
    changed = drawn["chosen"][:, None, None] & inside
    assert torch.equal(result.audio, torch.where(changed, batch.audio + 1.0, batch.audio))
    with pytest.raises(InputError, match="must keep the shape"):
        Apply(lambda audio: audio[..., :-1])(batch)
    with pytest.raises(InputError, match="function is a int"):
        Apply(3)
