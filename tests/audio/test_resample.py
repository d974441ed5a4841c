"""Rates and channels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.audio.resample import BlockResampler, mix_channels, num_resampled, resample
from shardkit.core.errors import AudioError

RATES = st.sampled_from([8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])


@given(st.integers(1, 3000), RATES, RATES, st.integers(1, 3))
@settings(deadline=None)
def test_the_length_is_the_ratio_rounded(frames, from_rate, to_rate, channels):
    resampled = resample(np.ones((channels, frames), np.float32), from_rate, to_rate)
    assert resampled.shape == (channels, num_resampled(frames, from_rate, to_rate))
    assert resampled.dtype == np.float32
    assert resampled.flags.c_contiguous
    assert abs(resampled.shape[1] - frames * to_rate / from_rate) <= 0.5


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=6), RATES, RATES)
@settings(max_examples=40, deadline=None)
def test_blocks_resample_as_the_whole(sizes, from_rate, to_rate):
    samples = np.random.default_rng(0).standard_normal((sum(sizes), 2))

    def run(cuts):
        resampler = BlockResampler(from_rate, to_rate, 2)
        return np.concatenate([*(resampler.feed(block) for block in np.split(samples, cuts)), resampler.finish()])

    whole = run([])
    assert len(whole) == num_resampled(len(samples), from_rate, to_rate)
    assert np.array_equal(run(np.cumsum(sizes)[:-1]), whole)


@pytest.mark.parametrize(("from_rate", "to_rate"), [(48_000, 16_000), (8000, 44_100), (44_100, 48_000)])
def test_a_tone_stays_where_it_is(from_rate, to_rate):
    seconds, hz = 1.0, 1000.0

    def sine(rate):
        return np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)

    resampled = resample(sine(from_rate).astype(np.float32)[None], from_rate, to_rate)[0]
    middle = slice(to_rate // 10, -to_rate // 10)
    assert np.abs(resampled - sine(to_rate))[middle].max() < 1e-4


def test_equal_rates_and_channels_are_not_touched():
    samples = np.ones((2, 9), np.float32)
    assert resample(samples, 8000, 8000) is samples
    assert mix_channels(samples, 2) is samples


def test_channels_are_averaged_or_copied():
    samples = np.array([[1.0, 2.0], [3.0, -2.0], [5.0, 3.0]], np.float32)
    assert mix_channels(samples, 1).tolist() == [[3.0, 1.0]]
    assert mix_channels(samples[:1], 3).tolist() == [[1.0, 2.0]] * 3
    for wanted in (2, 4):
        with pytest.raises(AudioError, match=f"3 channels can't become {wanted}: keep 3, or mix to 1"):
            mix_channels(samples, wanted)
