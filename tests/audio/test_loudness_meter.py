"""The meter against pyloudnorm, and against itself under every partition."""

import numpy as np
import pyloudnorm
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import freqz_sos, sosfilt

from shardkit.audio.kweighting import CHUNK, KWeighting, k_weighting
from shardkit.audio.loudness import LoudnessMeter
from shardkit.core.errors import AudioError
from shardkit.core.loudness import dequantise, integrated_lufs


def measure(samples, sample_rate):
    meter = LoudnessMeter(sample_rate, samples.shape[1])
    meter.feed(samples)
    return meter.finish()


def by_pyloudnorm(samples, sample_rate):
    return pyloudnorm.Meter(sample_rate).integrated_loudness(samples.astype(np.float64))


def test_the_filters_at_48_khz_are_the_tables_of_bs_1770():
    table_1 = [1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585]
    table_2 = [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621]
    assert np.allclose(k_weighting(48_000), [table_1, table_2], rtol=0, atol=1e-10)


@pytest.mark.parametrize("sample_rate", [8000, 11_025, 16_000, 22_050, 44_100, 96_000, 192_000])
def test_the_response_is_that_at_48_khz(sample_rate):
    hz = np.geomspace(20, 0.4 * min(sample_rate, 48_000), 200)
    ours = np.abs(freqz_sos(k_weighting(sample_rate), hz, fs=sample_rate)[1])
    table = np.abs(freqz_sos(k_weighting(48_000), hz, fs=48_000)[1])
    # The bilinear transform bends frequencies near a low Nyquist frequency, which the shelf is not far from.
    bend_db = 0.6 if sample_rate < 16_000 else 0.25
    assert np.abs(20 * np.log10(ours / table)).max() < bend_db
    assert np.abs(20 * np.log10(ours / table))[hz < 500].max() < 0.05


@pytest.mark.parametrize("sample_rate", [8000, 16_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_integrated_loudness_is_pyloudnorm_s(tone, sample_rate, channels):
    for seconds in (1, 3):
        samples = tone(seconds * sample_rate, channels, sample_rate, seed=seconds)
        loudness = measure(samples, sample_rate)
        assert loudness.lufs == pytest.approx(by_pyloudnorm(samples, sample_rate), abs=0.1)
        assert integrated_lufs(dequantise(loudness.track())) == pytest.approx(loudness.lufs, abs=0.2)


def test_real_music_is_pyloudnorm_s_on_the_grid(music):
    for path in music[:3]:
        samples, rate = sf.read(path, frames=48_000 * 20, dtype="float32", always_2d=True)
        loudness = measure(samples, rate)
        assert loudness.lufs == pytest.approx(by_pyloudnorm(samples, rate), abs=0.1)
        for start_s in (4, 7.3, 11.9):
            hop = round(start_s * 10)
            crop = samples[round(start_s * rate) :][: 2 * rate]
            assert integrated_lufs(loudness.energies[hop : hop + 20]) == pytest.approx(
                by_pyloudnorm(crop, rate), abs=0.1
            )


def test_a_full_scale_sine_at_997_hz_is_minus_3_lufs():
    sine = np.sin(2 * np.pi * 997 * np.arange(48_000 * 5) / 48_000).astype(np.float32)[:, None]
    loudness = measure(sine, 48_000)
    assert loudness.lufs == pytest.approx(-3.01, abs=0.02)  # BS.1770-5, annex 1
    assert loudness.peak == pytest.approx(1.0, abs=1e-4)


def test_low_frequency_effects_do_not_count_and_surrounds_count_more(tone):
    mono = tone(16_000, 1, 16_000)

    def level_of(channel):
        six = np.zeros((16_000, 6), np.float32)
        six[:, channel] = mono[:, 0]
        return measure(six, 16_000).lufs

    assert level_of(3) is None
    assert level_of(0) == pytest.approx(measure(mono, 16_000).lufs)
    assert level_of(4) - level_of(0) == pytest.approx(10 * np.log10(1.41))


@given(st.lists(st.integers(0, 9000), max_size=12), st.sampled_from([8000, 11_025, 999]), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_the_partition_does_not_change_a_bit(cuts, sample_rate, channels):
    samples = np.random.default_rng(0).standard_normal((9000 * 3, channels)).astype(np.float32)
    meter = LoudnessMeter(sample_rate, channels)
    for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), len(samples)], strict=True):
        meter.feed(samples[start:stop])
    parts, whole = meter.finish(), measure(samples, sample_rate)
    assert parts.energies.tobytes() == whole.energies.tobytes()
    assert (parts.lufs, parts.peak, parts.frames, parts.track()) == (whole.lufs, whole.peak, 27_000, whole.track())


def test_memory_order_of_blocks_does_not_change_a_bit(tone):
    samples = tone(20_000, 2)
    assert measure(np.asfortranarray(samples), 8000).energies.tobytes() == measure(samples, 8000).energies.tobytes()


def test_the_last_hop_counts_as_padded_and_short_recordings_do_not(tone):
    samples = tone(2900, 1)  # 3.625 hops of 800
    loudness = measure(samples, 8000)
    padded = measure(np.concatenate([samples, np.zeros((300, 1), np.float32)]), 8000)
    assert len(loudness.energies) == 4
    assert loudness.energies[:3].tobytes() == padded.energies[:3].tobytes()
    assert loudness.energies[3] == pytest.approx(padded.energies[3], rel=0.05)  # but for the filters' ringing
    assert loudness.lufs == pytest.approx(integrated_lufs(loudness.energies) + 10 * np.log10(3200 / 2900), abs=1e-6)


def test_silence_has_no_loudness_and_does_not_slow_the_filters():
    samples = np.zeros((80_000, 1), np.float32)
    assert measure(samples, 8000).lufs is None
    weighting = KWeighting(8000, 1)
    samples[:100] = 1
    assert weighting.weigh(samples[:CHUNK].T).any()
    assert not weighting._state.any()  # no denormal numbers left to compute with


@given(st.integers(1, 3 * CHUNK), st.integers(400, 200_000), st.integers(1, 3), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_the_filter_is_that_of_scipy(frames, sample_rate, channels, seed):
    samples = np.random.default_rng(seed).integers(-(2**15), 2**15, (channels, frames)).astype(np.int16)
    weighting = KWeighting(sample_rate, channels)
    ours = [weighting.weigh(samples[:, start : start + CHUNK]).copy() for start in range(0, frames, CHUNK)]
    assert np.allclose(np.concatenate(ours, axis=1), sosfilt(k_weighting(sample_rate), samples), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("dtype", "unit"), [(np.int16, 2.0**-15), (np.int32, 2.0**-31)])
def test_integers_measure_as_the_floats_that_they_stand_for(dtype, unit):
    info = np.iinfo(dtype)
    samples = np.random.default_rng(1).integers(info.min, info.max, (70_000, 2), dtype, endpoint=True)
    samples[5, 0] = info.min
    integers, floats = measure(samples, 44_100), measure(samples * unit, 44_100)
    assert np.allclose(integers.energies, floats.energies, rtol=1e-12, atol=0)
    assert integers.peak == floats.peak == 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_sample_is_named(bad):
    meter = LoudnessMeter(8000, 2)
    meter.feed(np.zeros((5000, 2), np.float32))
    block = np.zeros((5000, 2), np.float32)
    block[123, 1] = bad
    with pytest.raises(AudioError, match=rf"sample 5123 of channel 1 is {bad}"):
        meter.feed(block)


def test_rates_too_low_to_weight_are_refused():
    with pytest.raises(AudioError, match="at 100 Hz"):
        LoudnessMeter(100, 1)
    assert measure(np.ones((2000, 1), np.float32), 1000).frames == 2000
