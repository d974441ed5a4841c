"""Laws of the band-limited waves, against sines added up and against the waves' own definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.synth.waves import MAX_PEAK, WAVES, fourier_terms, num_harmonics, period, tone

RATE = 16_000


@settings(max_examples=25, deadline=None)
@given(wave=st.sampled_from(WAVES), frequency_hz=st.floats(60.0, 7900.0))
def test_tone_equals_the_sum_of_its_harmonics_below_nyquist(wave, frequency_hz):
    orders = np.arange(1, num_harmonics(frequency_hz, RATE) + 1)
    time_s = np.arange(500) / RATE
    expected = fourier_terms(wave, orders.size) @ np.sin(2.0 * np.pi * frequency_hz * np.outer(orders, time_s))
    made = tone(wave, frequency_hz, frames=500, sample_rate=RATE)
    interpolation = np.pi * (orders.size + 1) ** 2 / (2.0 * (period(wave, orders.size).size - 1) ** 2)
    np.testing.assert_allclose(made, expected, rtol=0.0, atol=interpolation + 1e-9)
    assert np.abs(made).max() <= MAX_PEAK


@pytest.mark.parametrize(
    ("wave", "ideal"),
    [
        ("sin", lambda x: np.sin(2.0 * np.pi * x)),
        ("square", lambda x: np.where(x < 0.5, 1.0, -1.0)),
        ("saw", lambda x: 2.0 * np.where(x < 0.5, x, x - 1.0)),
        ("triangle", lambda x: 1.0 - 4.0 * np.abs((x + 0.25) % 1.0 - 0.5)),
    ],
)
def test_a_slow_tone_has_the_shape_it_is_named_for(wave, ideal):
    phase = np.arange(384_000) * 50.0 / 384_000 % 1.0
    away_from_jumps = (np.abs(phase - 0.5) > 0.05) & (phase > 0.05) & (phase < 0.95)
    made = tone(wave, 50.0, frames=phase.size, sample_rate=384_000)
    np.testing.assert_allclose(made[away_from_jumps], ideal(phase)[away_from_jumps], rtol=0.0, atol=0.01)


@pytest.mark.parametrize("wave", WAVES)
def test_nothing_lies_between_the_harmonics(wave):
    frequency_hz = 1234.0  # one second: every harmonic falls on a bin of the spectrum, and so would every alias
    level_db = 20.0 * np.log10(np.abs(np.fft.rfft(tone(wave, frequency_hz, frames=RATE, sample_rate=RATE))) + 1e-12)
    harmonics = np.arange(1, num_harmonics(frequency_hz, RATE) + 1) * int(frequency_hz)
    between = np.delete(level_db, harmonics)
    assert between.max() < level_db.max() - 100.0


def test_harmonics_reach_to_nyquist_but_not_onto_it():
    assert num_harmonics(1000.0, RATE) == 7
    assert num_harmonics(999.0, RATE) == 8
    assert num_harmonics(7999.0, RATE) == 1
