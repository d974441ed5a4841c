"""One recording: voices of one wave that sound together, throughout or at times, made and written block by block.

    voice 0   ────────────────────────────────   spans None: throughout
    voice 1   ····╱▔▔▔▔▔▔╲··········╱▔▔▔▔╲····   two spans, half-open; a ramp of 5 ms inside each end
              block 0   │ block 1   │ block 2

Samples are a function of their position alone, so no block knows of another, and memory does not grow with length.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from shardkit.audio.pcm import WIDTH, quantise, to_wav
from shardkit.audio.wav import pad, write_header
from shardkit.synth.waves import Samples, num_harmonics, period, read_period

BLOCK = 1 << 15  # samples that stay in a core's cache from one step to the next
RAMP_S = 0.005  # short enough for frames of 10 ms, long enough not to click
BITS = {"8": "u8", "16": "s16", "24": "s24", "32": "s32", "float": "f32"}  # bit depth -> how a WAV stores it


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """One steady tone.

    Attributes:
        frequency_hz: Of the fundamental; below half the sample rate.
        phase: Where in its period it begins, 0 to 1.
        spans: When it sounds, in samples, half-open and in order; None for throughout.
    """

    frequency_hz: float
    phase: float = 0.0
    spans: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One recording before it is made.

    Attributes:
        path: Of its file, relative to the data set's folder.
        wave: One of ``WAVES``.
        voices: What sounds.
        gain: Amplitude of each voice.
    """

    path: str
    wave: str
    voices: tuple[Voice, ...]
    gain: float


def wav_parts(clip: Clip, *, frames: int, sample_rate: int, bit_depth: str) -> Iterator[bytes]:
    """Yield the bytes of a mono WAV, its header first; integers are the nearest ones, without dither."""
    stored = BITS[bit_depth]
    num_bytes = frames * WIDTH[stored]
    yield write_header(stored, sample_rate, 1, num_bytes)
    for start in range(0, frames, BLOCK):
        samples = block(clip, start, min(start + BLOCK, frames), sample_rate)[:, None]
        if bit_depth == "float":
            yield to_wav(samples.astype(np.float32), stored)
        else:
            yield to_wav(quantise(samples, int(bit_depth))[0], stored)
    yield pad(num_bytes)


def block(clip: Clip, start: int, stop: int, sample_rate: int) -> Samples:
    """Return the samples [start, stop) of a clip, (time)."""
    total = np.zeros(stop - start)
    at = np.arange(start, stop, dtype=np.float64)
    for voice in clip.voices:
        if voice.spans is not None and not any(begin < stop and start < end for begin, end in voice.spans):
            continue
        table = period(clip.wave, num_harmonics(voice.frequency_hz, sample_rate))
        samples = read_period(table, at * (voice.frequency_hz / sample_rate) + voice.phase)
        if voice.spans is not None:
            samples *= _envelope(voice.spans, start, stop, sample_rate)
        total += samples
    return total * clip.gain


def _envelope(spans: tuple[tuple[int, int], ...], start: int, stop: int, sample_rate: int) -> Samples:
    """Return the level of each sample: 0 outside the spans, above 0 inside them, 1 away from their ends."""
    level = np.zeros(stop - start)
    for begin, end in spans:
        inside = slice(max(begin, start) - start, max(min(end, stop) - start, 0))
        centre = np.arange(inside.start, inside.stop) + (start + 0.5)
        ramp = max(1.0, min(RAMP_S * sample_rate, (end - begin) / 2.0))
        level[inside] = np.minimum(1.0, np.minimum(centre - begin, end - centre) / ramp)
    return level
