"""Stretching, shifting, speeding: torchaudio, and tones whose result is known, are the oracles."""

import dataclasses
import math

import numpy as np
import pytest
import soundfile
import torch

from shardkit.core.errors import InputError
from shardkit.nn import Clips, PitchShift, SpeedChange, TimeStretch
from shardkit.nn.augment.frames import Frames
from shardkit.nn.augment.resampling import at_speed
from shardkit.nn.augment.vocoder import stretched
from tests.nn.augment.steps import batch_of, noise

torchaudio = pytest.importorskip("torchaudio")
RATE = 16_000


def speech(data_dir, num_samples: int = 24_000) -> torch.Tensor:
    """Spoken digits of two rows, (2, 1, num_samples)."""
    files = sorted(path for path in (data_dir / "digits").rglob("*") if path.suffix in {".wav", ".flac"})
    samples = np.concatenate([soundfile.read(path, dtype="float32")[0] for path in files[:40]])
    return torch.from_numpy(samples[: 2 * num_samples].reshape(2, 1, num_samples))


def tone(frequency: float, num_samples: int, *, speed: float = 1.0) -> torch.Tensor:
    times = torch.arange(num_samples, dtype=torch.float64) * speed / RATE
    return torch.sin(2 * math.pi * frequency * times).float()[None, None]


def below(frequency: float, audio: torch.Tensor) -> torch.Tensor:
    """Audio without what lies above a frequency."""
    spectrum = torch.fft.rfft(audio)
    kept = torch.arange(spectrum.shape[-1]) * RATE / audio.shape[-1] < frequency
    return torch.fft.irfft(spectrum * kept, audio.shape[-1])


def error_db(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(10 * torch.log10((found - expected).square().mean() / expected.square().mean()))


@pytest.mark.parametrize("rate", [0.5, 0.8, 1.0, 1.3, 2.0])
def test_stretching_is_torchaudios_phase_vocoder(data_dir, rate):
    audio, n_fft, hop = speech(data_dir), 1024, 256
    window = torch.hann_window(n_fft)
    options = {"n_fft": n_fft, "hop_length": hop, "window": window, "pad_mode": "constant"}
    spectra = torch.stft(audio[:, 0], **options, return_complex=True)
    advance = torch.linspace(0, math.pi * hop, n_fft // 2 + 1)[:, None]
    spectra = torchaudio.functional.phase_vocoder(spectra.to(torch.complex128), rate, advance.double())
    expected = torch.istft(spectra, n_fft, hop, window=window.double())
    found = stretched(audio.double(), torch.tensor([rate, rate], dtype=torch.float64), Frames(n_fft, 4), 40_000)[:, 0]
    time = min(expected.shape[1], 40_000) - n_fft  # frames after the end, where torchaudio's stop
    torch.testing.assert_close(found[:, :time], expected[:, :time], rtol=0, atol=2e-5)
    single = stretched(audio, torch.tensor([rate, rate], dtype=torch.float64), Frames(n_fft, 4), 40_000)[:, 0]
    torch.testing.assert_close(single[:, :time].double(), expected[:, :time], rtol=0, atol=2e-5)


def test_rows_are_stretched_each_by_its_own_rate():
    batch = batch_of(16)
    result, drawn = TimeStretch(min_rate=0.5, max_rate=2.0, n_fft=256, p=1.0).with_parameters(batch)
    assert drawn["rate"].min() < 0.8
    assert drawn["rate"].max() > 1.25
    for row in range(16):
        step = TimeStretch(min_rate=float(drawn["rate"][row]), max_rate=float(drawn["rate"][row]), n_fft=256, p=1.0)
        torch.testing.assert_close(step(batch).audio[row], result.audio[row], rtol=0, atol=1e-5)
    expected = (batch.lengths / drawn["rate"]).ceil().clamp(max=1_201)
    assert torch.equal(result.lengths, expected.long())


def test_a_rate_of_one_changes_nothing(data_dir):
    audio = speech(data_dir)
    batch = Clips(audio=audio, sample_rate=RATE)
    for step in (TimeStretch(min_rate=1.0, max_rate=1.0, p=1.0), SpeedChange(min_speed=1.0, max_speed=1.0, p=1.0)):
        torch.testing.assert_close(step(batch).audio, audio, rtol=0, atol=1e-5)
    still = PitchShift(min_semitones=0.0, max_semitones=0.0, p=1.0)(batch)
    torch.testing.assert_close(still.audio, audio, rtol=0, atol=1e-5)


@pytest.mark.parametrize("speed", [0.5, 0.9, 1.0, 1.1, 1.7, 2.0])
def test_a_tone_at_another_speed_is_the_tone_read_there(speed):
    audio = tone(1_000.0, 16_000)
    found = at_speed(audio, torch.tensor([speed], dtype=torch.float64), 7_900)
    expected = tone(1_000.0, 7_900, speed=speed)
    inner = slice(400, min(7_900, int(16_000 / speed)) - 400)  # the ends are steps, which ring
    torch.testing.assert_close(found[..., inner], expected[..., inner], rtol=0, atol=2e-3)


def test_what_lies_above_half_the_new_rate_is_left_out():
    found = at_speed(tone(6_000.0, 16_000), torch.tensor([2.0], dtype=torch.float64), 8_000)
    assert found[..., 400:-400].abs().max() < 2e-3  # would alias to 4 kHz
    kept = at_speed(tone(3_500.0, 16_000), torch.tensor([2.0], dtype=torch.float64), 8_000)
    assert kept[..., 400:-400].abs().max() > 0.99


@pytest.mark.parametrize(("speed", "source", "target"), [(1.25, 5, 4), (0.8, 4, 5)])
def test_another_speed_is_torchaudios_resampling(data_dir, speed, source, target):
    audio = below(5_500.0, speech(data_dir))  # the two fade out differently towards half the new rate
    options = {"lowpass_filter_width": 128, "rolloff": 0.99}
    expected = torchaudio.functional.resample(audio.double(), source, target, **options)
    found = at_speed(audio, torch.tensor([speed] * 2, dtype=torch.float64), expected.shape[-1])
    assert error_db(found[..., 500:-500], expected[..., 500:-500]) < -60


def test_float32_loses_little_over_long_rows():
    audio, speeds = noise(2, 1, 480_000), torch.tensor([0.91, 1.09], dtype=torch.float64)
    exact = at_speed(audio.double(), speeds, 480_000)
    torch.testing.assert_close(at_speed(audio, speeds, 480_000).double(), exact, rtol=0, atol=2e-6)


@pytest.mark.parametrize("semitones", [-12, -5, 4, 12])
def test_shifting_a_tone_shifts_its_frequency_and_keeps_its_length(semitones):
    batch = Clips(audio=tone(800.0, 32_000), sample_rate=RATE)
    result = PitchShift(min_semitones=semitones, max_semitones=semitones, p=1.0)(batch)
    assert torch.equal(result.lengths, batch.lengths)
    inner = result.audio[0, 0, 4_000:28_000]
    spectrum = torch.fft.rfft(inner * torch.hann_window(24_000)).abs()
    assert abs(float(spectrum.argmax()) * RATE / 24_000 - 800.0 * 2 ** (semitones / 12)) < 1.0
    # Neighbouring bins do not stay in phase in a vocoder; torchaudio's loses as much.
    assert abs(10 * math.log10(float(inner.square().mean()) / 0.5)) < 1.5


@pytest.mark.parametrize(("semitones", "source", "target"), [(-12, 1, 2), (12, 2, 1)])
def test_shifting_is_torchaudios_vocoder_and_resampling(data_dir, semitones, source, target):
    """As ``torchaudio.functional.pitch_shift``, but for silence where that mirrors the audio beyond its ends."""
    audio, n_fft, hop, rate = below(3_500.0, speech(data_dir)), 1024, 256, 2.0 ** (-semitones / 12)
    window = torch.hann_window(n_fft)
    spectra = torch.stft(audio[:, 0], n_fft, hop, window=window, pad_mode="constant", return_complex=True)
    advance = torch.linspace(0, math.pi * hop, n_fft // 2 + 1, dtype=torch.float64)[:, None]
    spectra = torchaudio.functional.phase_vocoder(spectra.to(torch.complex128), rate, advance)
    long = torch.istft(spectra, n_fft, hop, window=window.double())
    expected = torchaudio.functional.resample(long, source, target, lowpass_filter_width=128, rolloff=0.99)
    step = PitchShift(min_semitones=semitones, max_semitones=semitones, n_fft=n_fft, p=1.0)
    found = step(Clips(audio=audio, sample_rate=RATE)).audio[:, 0]
    inner = slice(1_000, 22_000)
    assert error_db(found[:, inner], expected[:, inner]) < -45


@pytest.mark.parametrize("num_samples", [1, 100, 1_000, 4_097])
@pytest.mark.parametrize(("n_fft", "overlap"), [(256, 4), (256, 2), (64, 8)])
def test_frames_make_the_audio_again_that_they_were_cut_from(num_samples, n_fft, overlap):
    audio, frames = noise(2, 2, num_samples), Frames(n_fft, overlap)
    torch.testing.assert_close(frames.audio(frames.spectra(audio), num_samples), audio, rtol=0, atol=1e-6)


def test_masks_and_impossible_options_are_refused():
    with pytest.raises(InputError, match="min_rate is 0.0"):
        TimeStretch(min_rate=0.0)
    with pytest.raises(InputError, match="at most 16"):
        SpeedChange(max_speed=17.0)
    with pytest.raises(InputError, match="min_semitones is 3"):
        PitchShift(min_semitones=3, max_semitones=1)
    with pytest.raises(InputError, match="multiple of 8"):
        TimeStretch(n_fft=1_001)
    fields = [(name, object) for name in Clips.__dataclass_fields__] + [("masks", dict)]
    masked = dataclasses.make_dataclass("Masked", fields, frozen=True)
    values = {name: getattr(batch_of(2), name) for name in Clips.__dataclass_fields__}
    for step in (TimeStretch(p=1.0), SpeedChange(p=1.0)):
        with pytest.raises(InputError, match=r"move audio away from under batch.masks"):
            step(masked(**values, masks={"speech": torch.zeros(2, 3)}))
