"""Presets equal what they are named after: formulas as published, written out here, or torchaudio's."""

import numpy as np
import pytest
import soundfile
import torch

from shardkit.nn import LogMel, MelSpectrogram, preset

torchaudio = pytest.importorskip("torchaudio")


def noise(*shape, seed=0):
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def log_mel_spectrogram(audio, n_mels):
    """openai/whisper, whisper/audio.py: N_FFT 400, HOP_LENGTH 160, librosa.filters.mel(sr=16000, n_fft=400)."""
    filters = torchaudio.functional.melscale_fbanks(201, 0.0, 8_000.0, n_mels, 16_000, "slaney", "slaney").T
    stft = torch.stft(audio, 400, 160, window=torch.hann_window(400), return_complex=True)
    magnitudes = stft[..., :-1].abs() ** 2
    log_spec = torch.clamp(filters @ magnitudes, min=1e-10).log10()
    log_spec = torch.maximum(log_spec, log_spec.max() - 8.0)
    return (log_spec + 4.0) / 4.0


@pytest.fixture(scope="module")
def music(data_dir):
    """Five seconds, of which the end is silent: (1, 1, time), 16 kHz as it were."""
    path = min((data_dir / "music").glob("*.ogg"))
    samples = soundfile.read(path, start=480_000, frames=80_000, dtype="float32", always_2d=True)[0].T[:1]
    samples[:, 60_000:] = 0.0
    return torch.from_numpy(np.ascontiguousarray(samples)).unsqueeze(0)


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("time", [16_000, 16_001, 80_000])
def test_whisper_equals_the_published_formula(music, n_mels, time):
    audio = music[..., :time]
    expected = log_mel_spectrogram(audio[0, 0], n_mels)
    found = preset("whisper", n_mels=n_mels)(audio)[0, 0]
    # A quarter of a power of ten: 1e-4 is 0.004 dB, from torchaudio's filters with edges of float32.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert float(found.amin()) == pytest.approx(float(found.amax()) - 2.0)  # the silent end is at the limit


def test_whisper_takes_its_limit_from_each_clip():
    loud, quiet = noise(1, 1, 16_000), 1e-4 * noise(1, 1, 16_000, seed=1)
    module = preset("whisper")
    torch.testing.assert_close(module(torch.cat([loud, quiet])), torch.cat([module(loud), module(quiet)]))


def test_thirty_seconds_have_whispers_3000_frames():
    assert preset("whisper").num_frames(480_000) == 3_000


def test_spgdataset_is_whisper_with_mean_0_and_deviation_1(music):
    scaled = log_mel_spectrogram(music[0, 0], 80)
    expected = (scaled - scaled.mean()) / scaled.std()
    found = preset("spgdataset")(music)
    torch.testing.assert_close(found[0, 0], expected, rtol=0, atol=1e-3)
    assert float(found.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(found.std()) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("time", [1_600, 160, 16_000])
def test_normalized_silence_is_zero(time):
    for audio in (torch.zeros(2, 1, time), torch.full((2, 1, time), 1e-9)):
        assert float(preset("spgdataset")(audio).abs().max()) < 0.1


def test_one_value_has_no_deviation_and_no_nan():
    module = LogMel(sample_rate=16_000, n_mels=1, normalize=True)
    assert float(module(noise(1, 1, 10))) == 0.0


def test_torchaudio_is_torchaudios_default(music):
    with pytest.warns(UserWarning, match="mel"):  # both say that some of 128 bands have no bin of 400
        oracle = torchaudio.transforms.MelSpectrogram()
    with pytest.warns(UserWarning, match="mel bands"):
        module = preset("torchaudio")
    expected = oracle(music)
    assert isinstance(module, MelSpectrogram)
    torch.testing.assert_close(module(music), expected, rtol=0, atol=3e-6 * float(expected.max()))


def test_audax_is_the_natural_logarithm_of_64_htk_bands(music):
    oracle = torchaudio.transforms.MelSpectrogram(
        16_000, n_fft=1024, win_length=400, hop_length=160, n_mels=64, f_min=60.0, f_max=7_800.0
    )
    expected = oracle(music).clamp(1e-8, 1e8).log()[..., :500]
    torch.testing.assert_close(preset("audax")(music), expected, rtol=0, atol=3e-4)


@pytest.mark.parametrize("time", [400, 16_123])
def test_kaldi_like_equals_torchaudios_kaldi_with_an_offset_too(music, time):
    # What is constant is taken out of each frame. Without some noise, the highest bands of this recording lie 120 dB
    # below the lowest, where rounding in float32 moves ours and torchaudio's by 0.2 (from what float64 gives) alike.
    audio = music[..., :time] + 0.1 + 0.01 * noise(time)
    options = {"num_mel_bins": 80, "dither": 0.0}
    expected = torchaudio.compliance.kaldi.fbank(audio[0], **options).T
    torch.testing.assert_close(preset("kaldi-like")(audio)[0, 0], expected, rtol=0, atol=3e-3)
    scaled = torchaudio.compliance.kaldi.fbank(32_768 * audio[0], **options).T
    torch.testing.assert_close(preset("kaldi-like", scale=32_768)(audio)[0, 0], scaled, rtol=0, atol=3e-3)


def test_kaldi_like_of_integers_of_16_bits_has_no_row_at_the_floor(music):
    assert float(preset("kaldi-like", scale=32_768)(music[..., :50_000]).amin()) > -10
