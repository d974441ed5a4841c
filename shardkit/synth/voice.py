"""A speech-like sound: a source (pulses of the glottis, or breath) through the formants of two vowels.

A source-filter model (Fant 1960): good enough to have pitch, formants, noise and syllables, not to be understood.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, sosfilt

from shardkit.synth.waves import Samples

# First three formants of ten American vowels, men's averages, in Hz. Peterson and Barney (1952), table II.
VOWELS_HZ = (
    (270, 2290, 3010),
    (390, 1990, 2550),
    (530, 1840, 2480),
    (660, 1720, 2410),
    (730, 1090, 2440),
    (570, 840, 2410),
    (440, 1020, 2240),
    (300, 870, 2240),
    (640, 1190, 2390),
    (490, 1350, 1690),
)
BANDWIDTHS_HZ = (60, 90, 150)  # of the order that Klatt (1980) uses for vowels
MODULATION_HZ = (3.0, 6.0)  # around the peak of the envelope spectrum of running speech: Houtgast, Steeneken (1985)
EDGE_S = 0.01  # fade of a burst at both ends: no click, and the marked bounds stay those of its energy
PEAK = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """What tells one voice from another.

    Attributes:
        name: As in the manifest.
        pitch_hz: Middle of its glides.
        formant_scale: Its formants over those of ``VOWELS_HZ``; a shorter vocal tract is above 1.
        breath: Amplitude of the breath that is mixed with voiced pulses.
    """

    name: str
    pitch_hz: float
    formant_scale: float
    breath: float


def burst(rng: np.random.Generator, speaker: Speaker, *, whispered: bool, frames: int, sample_rate: int) -> Samples:
    """Return one burst of speech-like sound, silent outside its edges and never beyond ±``PEAK``.

    Args:
        rng: Of this burst; it is advanced.
        speaker: Whose voice.
        whispered: Breath alone, softer, instead of glottal pulses.
        frames: How many samples.
        sample_rate: Of the result, in Hz; at least 8,000, to hold three formants.

    Returns:
        Samples, (time).
    """
    source = rng.standard_normal(frames)
    if not whispered:
        source = _glottal_pulses(rng, speaker, frames=frames, sample_rate=sample_rate) + speaker.breath * source
    vowels = rng.choice(len(VOWELS_HZ), size=2, replace=False)
    first, last = (_through_vowel(source, int(vowel), speaker, sample_rate) for vowel in vowels)
    glide = np.linspace(0.0, 1.0, frames)
    spoken = _to_level(first * (1.0 - glide) + last * glide, 1.0) * _syllables(rng, frames, sample_rate)
    spoken[: frames // 4] += 0.5 * _fricative(rng, frames // 4, sample_rate)
    level_db = rng.uniform(-34.0, -28.0) if whispered else rng.uniform(-26.0, -20.0)
    faded = _to_level(spoken * _fade(frames, sample_rate), 10.0 ** (level_db / 20.0))
    return np.asarray(faded * min(1.0, PEAK / np.abs(faded).max()))


def _glottal_pulses(rng: np.random.Generator, speaker: Speaker, *, frames: int, sample_rate: int) -> Samples:
    """Return the derivative of glottal flow under a gliding pitch, at a level of 1.

    Rosenberg (1971), pulse C: flow opens as half a cosine over 40 % of the period and closes as a quarter of one over
    16 %. It is not band-limited: the derivative falls by 6 dB an octave, so at 22.05 kHz and 150 Hz what aliases lies
    about 37 dB below the pitch, and passes as a little hoarseness.
    """
    octaves = np.linspace(0.0, rng.uniform(-0.6, 0.6), frames)
    vibrato = 0.02 * np.sin(2.0 * np.pi * 5.5 * np.arange(frames) / sample_rate)
    phase = np.cumsum(speaker.pitch_hz * 2.0 ** (octaves + vibrato) / sample_rate) % 1.0
    opening = 0.5 - 0.5 * np.cos(np.pi * phase / 0.40)
    closing = np.cos(0.5 * np.pi * (phase - 0.40) / 0.16)
    flow = np.where(phase < 0.40, opening, np.where(phase < 0.56, closing, 0.0))
    return _to_level(np.diff(flow, prepend=flow[0]), 1.0)


def _through_vowel(source: Samples, vowel: int, speaker: Speaker, sample_rate: int) -> Samples:
    """Return the source through three resonators in cascade: Klatt (1980), equations 1 and 2."""
    sections = []
    for formant_hz, bandwidth_hz in zip(VOWELS_HZ[vowel], BANDWIDTHS_HZ, strict=True):
        radius = np.exp(-np.pi * bandwidth_hz / sample_rate)
        angle = 2.0 * np.pi * formant_hz * speaker.formant_scale / sample_rate
        b, c = 2.0 * radius * np.cos(angle), -(radius**2)
        sections.append([1.0 - b - c, 0.0, 0.0, 1.0, -b, -c])
    return _to_level(np.asarray(sosfilt(np.array(sections), source)), 1.0)


def _syllables(rng: np.random.Generator, frames: int, sample_rate: int) -> Samples:
    """Return an envelope that swells at the rate of syllables and never quite closes."""
    rate_hz, phase = rng.uniform(*MODULATION_HZ), rng.uniform()
    return np.asarray(0.6 - 0.4 * np.cos(2.0 * np.pi * (rate_hz * np.arange(frames) / sample_rate + phase)))


def _fricative(rng: np.random.Generator, frames: int, sample_rate: int) -> Samples:
    """Return a hiss that dies away, as of an s before the vowel."""
    sections = butter(2, 0.5, btype="highpass", output="sos")  # above half the Nyquist frequency
    hiss = np.asarray(sosfilt(sections, rng.standard_normal(frames)))
    return np.asarray(hiss * np.exp(-np.arange(frames) / (0.04 * sample_rate)))


def _fade(frames: int, sample_rate: int) -> Samples:
    """Return a window of ones with raised-cosine edges of EDGE_S, shorter where the burst is."""
    edge = max(1, min(round(EDGE_S * sample_rate), frames // 2))
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(edge) + 0.5) / edge)
    window = np.ones(frames)
    window[:edge] *= rise
    window[frames - edge :] *= rise[::-1]
    return window


def _to_level(samples: Samples, rms: float) -> Samples:
    """Return the samples scaled to a root mean square."""
    return np.asarray(samples * (rms / np.sqrt(np.mean(samples**2))))
