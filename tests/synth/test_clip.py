"""Laws of one recording: samples against the sum of sines that they stand for, WAV against libsndfile."""

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.synth.clip import BLOCK, RAMP_S, Clip, Voice, block, wav_parts
from shardkit.synth.waves import WAVES

RATE = 16_000


def amplitudes(wave, count):
    """Return the Fourier sine coefficients of the waves, as any textbook has them."""
    orders = np.arange(1, count + 1)
    odd = orders % 2 == 1
    return {
        "sin": np.where(orders == 1, 1.0, 0.0),
        "square": np.where(odd, 4 / (np.pi * orders), 0.0),
        "saw": np.where(odd, 1.0, -1.0) * 2 / (np.pi * orders),
        "triangle": np.where(odd, (-1.0) ** ((orders - 1) // 2) * 8 / (np.pi * orders) ** 2, 0.0),
    }[wave]


def sines(clip, frames):
    """Return the clip by its definition: every harmonic below half the rate, none above."""
    time_s = np.arange(frames) / RATE
    total = np.zeros(frames)
    for voice in clip.voices:
        orders = np.arange(1, int(np.ceil(RATE / 2 / voice.frequency_hz)))
        angles = 2 * np.pi * np.outer(orders, voice.frequency_hz * time_s + voice.phase)
        total += amplitudes(clip.wave, orders.size) @ np.sin(angles)
    return clip.gain * total


voices = st.builds(Voice, frequency_hz=st.floats(80.0, 7900.0), phase=st.floats(0.0, 1.0, exclude_max=True))


@settings(max_examples=20, deadline=None)
@given(wave=st.sampled_from(WAVES), chord=st.lists(voices, min_size=1, max_size=4), data=st.data())
def test_any_block_is_that_part_of_the_sum_of_sines(wave, chord, data):
    clip = Clip(path="x.wav", wave=wave, voices=tuple(chord), gain=0.75 / len(chord))
    start = data.draw(st.integers(0, 900))
    stop = data.draw(st.integers(start, 1000))
    np.testing.assert_allclose(block(clip, start, stop, RATE), sines(clip, 1000)[start:stop], rtol=0.0, atol=2e-5)


def test_a_long_recording_is_as_true_at_its_end():
    hour = 3600 * RATE
    clip = Clip(path="x.wav", wave="sin", voices=(Voice(frequency_hz=440.0, phase=0.3),), gain=1.0)
    at = np.arange(hour - 1000, hour) % 4000  # 440 Hz at 16 kHz is the same again after 400 samples
    expected = np.sin(2 * np.pi * (440.0 * at / RATE + 0.3))
    np.testing.assert_allclose(block(clip, hour - 1000, hour, RATE), expected, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("bounds", [((0, 400),), ((100, 101), (150, 700)), ((500, 1000),)])
def test_a_voice_sounds_within_its_spans_and_nowhere_else(bounds):
    throughout = Clip(path="x.wav", wave="saw", voices=(Voice(frequency_hz=500.0, phase=0.1),), gain=0.5)
    gated = Clip(path="x.wav", wave="saw", voices=(Voice(frequency_hz=500.0, phase=0.1, spans=bounds),), gain=0.5)
    full, made = block(throughout, 0, 1000, RATE), block(gated, 0, 1000, RATE)
    ramp = int(RAMP_S * RATE)
    outside = np.ones(1000, bool)
    for start, stop in bounds:
        outside[start:stop] = False
        assert (made[start:stop] != 0.0).all()
        np.testing.assert_array_equal(made[start + ramp : stop - ramp], full[start + ramp : stop - ramp])
    assert (made[outside] == 0.0).all()
    assert (np.abs(made) <= np.abs(full)).all()
    parts = [block(gated, start, start + 125, RATE) for start in range(0, 1000, 125)]
    np.testing.assert_array_equal(np.concatenate(parts), made)


@pytest.mark.parametrize(
    ("bit_depth", "subtype", "bits"),
    [("8", "PCM_U8", 7), ("16", "PCM_16", 15), ("24", "PCM_24", 23), ("32", "PCM_32", 31), ("float", "FLOAT", 24)],
)
def test_a_wav_holds_the_nearest_values_of_its_depth(bit_depth, subtype, bits):
    clip = Clip(path="x.wav", wave="square", voices=(Voice(frequency_hz=97.0),), gain=0.75)
    frames = BLOCK + 12_345  # odd, and more than a block
    data = b"".join(wav_parts(clip, frames=frames, sample_rate=11_025, bit_depth=bit_depth))
    info = soundfile.info(io.BytesIO(data))
    assert (info.frames, info.samplerate, info.channels, info.subtype) == (frames, 11_025, 1, subtype)
    assert info.format in {"WAV", "WAVEX"}
    read, _ = soundfile.read(io.BytesIO(data))
    np.testing.assert_allclose(read, block(clip, 0, frames, 11_025), rtol=0.0, atol=0.5**bits / 2 + 1e-15)
    assert len(data) % 2 == 0
