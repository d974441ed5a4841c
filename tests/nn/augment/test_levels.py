"""Gain, polarity, channels, peak, loudness: what they do to samples, and to what is known of their loudness."""

import dataclasses

import numpy as np
import pyloudnorm
import pytest
import soundfile
import torch
from scipy import stats

from shardkit.core.errors import InputError
from shardkit.nn import ChannelSwap, Clips, Gain, LimitPeak, LoudnessNormalize, PolarityInversion
from tests.nn.augment.steps import batch_of, noise


def test_gain_is_what_was_drawn_and_loudness_follows():
    batch = batch_of(200, time=20)
    result, drawn = Gain(min_db=-12.0, max_db=6.0).with_parameters(batch)
    gain_db = drawn["gain_db"].numpy()
    expected = batch.audio.numpy() * 10 ** (gain_db / 20)[:, None, None]
    np.testing.assert_allclose(result.audio.numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(result.loudness.numpy(), batch.loudness.numpy() + gain_db, rtol=1e-6)
    assert stats.kstest(gain_db, stats.uniform(-12, 18).cdf).pvalue > 0.01


def test_no_gain_is_no_change():
    batch = batch_of(8)
    assert torch.equal(Gain(min_db=0.0, max_db=0.0)(batch).audio, batch.audio)


def test_polarity_is_inverted_for_a_share_of_the_rows():
    batch = batch_of(1_000, time=8)
    result, drawn = PolarityInversion(p=0.3).with_parameters(batch)
    signs = torch.where(drawn["chosen"], -1.0, 1.0)[:, None, None]
    assert torch.equal(result.audio, batch.audio * signs)
    assert torch.equal(result.loudness.nan_to_num(), batch.loudness.nan_to_num())
    assert 250 < int(drawn["chosen"].sum()) < 350


def test_channels_swap_as_drawn_or_as_told():
    audio = noise(600, 3, 5)
    batch = Clips(audio=audio, sample_rate=8_000, loudness=torch.zeros(600))
    result, drawn = ChannelSwap(p=1.0).with_parameters(batch)
    for row in range(600):
        assert torch.equal(result.audio[row], audio[row, drawn["order"][row]])
    assert len({tuple(order) for order in drawn["order"].tolist()}) == 6
    assert result.loudness.isnan().all()  # of three channels one may count otherwise than the others
    swapped = ChannelSwap(order=(2, 0, 1), p=1.0)(batch)
    assert torch.equal(swapped.audio, audio[:, [2, 0, 1]])
    with pytest.raises(InputError, match="2 channels, the audio has 3"):
        ChannelSwap(order=(1, 0))(batch)
    with pytest.raises(InputError, match="each channel once"):
        ChannelSwap(order=(1, 1))


def test_the_peak_is_limited_where_it_is_exceeded_and_only_there():
    audio = noise(50, 2, 100) * torch.linspace(0.1, 30.0, 50)[:, None, None]
    result = LimitPeak(peak=0.7)(Clips(audio=audio, sample_rate=8_000)).audio
    peaks = audio.abs().amax(dim=(1, 2))
    above = peaks > 0.7
    assert 5 < int(above.sum()) < 48
    assert torch.equal(result[~above], audio[~above])
    assert (result.abs() <= 0.7).all()
    torch.testing.assert_close(result[above], audio[above] * (0.7 / peaks[above])[:, None, None], rtol=1e-5, atol=0)


def test_loudness_becomes_the_target_as_pyloudnorm_measures_it(data_dir):
    path = min((data_dir / "music").glob("*.ogg"))
    rate = soundfile.info(path).samplerate
    samples, _ = soundfile.read(path, frames=6 * rate, start=20 * rate, dtype="float32", always_2d=True)
    clips = np.stack([samples[start : start + 2 * rate].T for start in range(0, 6 * rate, 2 * rate)])
    meter = pyloudnorm.Meter(rate)
    measured = torch.tensor([meter.integrated_loudness(clip.T) for clip in clips], dtype=torch.float32)
    batch = Clips(audio=torch.from_numpy(clips), sample_rate=rate, loudness=measured)
    result, drawn = LoudnessNormalize(min_lufs=-30.0, max_lufs=-16.0).with_parameters(batch)
    for row, clip in enumerate(result.audio.numpy()):
        assert abs(meter.integrated_loudness(clip.T) - drawn["target_lufs"][row]) < 0.01
    torch.testing.assert_close(result.loudness, drawn["target_lufs"].float())


def test_what_has_no_loudness_is_left_alone():
    batch = dataclasses.replace(batch_of(4), loudness=torch.tensor([float("nan"), -70.0, float("-inf"), -40.0]))
    result, drawn = LoudnessNormalize(min_lufs=-20.0, max_lufs=-20.0).with_parameters(batch)
    assert torch.equal(result.audio[:3], batch.audio[:3])
    torch.testing.assert_close(result.audio[3], batch.audio[3] * 10.0, rtol=1e-5, atol=0)
    assert drawn["gain_db"].tolist()[:3] == [0.0, 0.0, 0.0]
    with pytest.raises(InputError, match=r"batch.loudness is None"):
        LoudnessNormalize()(dataclasses.replace(batch, loudness=None))


def test_a_peak_bounds_the_gain():
    batch = dataclasses.replace(batch_of(4), loudness=torch.tensor([-60.0, -30.0, -10.0, float("nan")]))
    result = LoudnessNormalize(min_lufs=-20.0, max_lufs=-20.0, peak=0.5)(batch)
    assert (result.audio[:3].abs() <= 0.5).all()
    assert result.audio[0].abs().max() > 0.499
    assert torch.equal(result.audio[3], batch.audio[3])
    assert (result.loudness[:3] <= -20.0 + 1e-4).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gain(min_db=1.0, max_db=0.0), "min_db is 1.0 and max_db 0.0"),
        (lambda: Gain(min_db=float("nan")), "min_db is nan"),
        (lambda: LoudnessNormalize(min_lufs=-80.0), "above -70"),
        (lambda: LoudnessNormalize(peak=0.0), "peak is 0.0"),
        (lambda: LimitPeak(peak=float("inf")), "peak is inf"),
    ],
)
def test_options_that_can_not_be_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
