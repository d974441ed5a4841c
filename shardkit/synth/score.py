"""What a piece of music plays: chords, bass, melody and hats, as notes in beats. No sound yet."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

BEATS_A_BAR = 4
MAJOR = (0, 4, 7)
MINOR = (0, 3, 7)
MAJOR_7 = (0, 4, 7, 11)
MINOR_7 = (0, 3, 7, 10)
PENTATONIC = (0, 2, 4, 7, 9)  # of the major key: fits any chord below well enough
KEYS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

Chord = tuple[int, tuple[int, ...]]  # root in semitones above the key, semitones above the root


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How the pieces of one style differ from those of another.

    Attributes:
        tempo_bpm: Slowest and fastest.
        progressions: Four chords each, one a bar.
        pad: Wave of the chords.
        bass: Wave of the bass.
        lead: Wave of the melody.
        lead_steps: Notes of the melody a beat.
        lead_density: How many of them are played.
        bass_steps: Notes of the bass a bar.
        hat_steps: Hats a beat.
        hat_gain: Their amplitude.
    """

    tempo_bpm: tuple[int, int]
    progressions: tuple[tuple[Chord, ...], ...]
    pad: str
    bass: str
    lead: str
    lead_steps: int
    lead_density: float
    bass_steps: int
    hat_steps: int
    hat_gain: float


STYLES = MappingProxyType(
    {
        "calm": Style(
            tempo_bpm=(60, 76),
            progressions=(
                ((0, MAJOR_7), (9, MINOR_7), (5, MAJOR_7), (7, MAJOR)),
                ((9, MINOR_7), (5, MAJOR_7), (2, MINOR_7), (4, MINOR_7)),
            ),
            pad="triangle",
            bass="sin",
            lead="triangle",
            lead_steps=1,
            lead_density=0.6,
            bass_steps=2,
            hat_steps=1,
            hat_gain=0.03,
        ),
        "bright": Style(
            tempo_bpm=(108, 128),
            progressions=(
                ((0, MAJOR), (7, MAJOR), (9, MINOR), (5, MAJOR)),
                ((0, MAJOR), (5, MAJOR), (9, MINOR), (7, MAJOR)),
            ),
            pad="saw",
            bass="triangle",
            lead="square",
            lead_steps=2,
            lead_density=0.75,
            bass_steps=4,
            hat_steps=2,
            hat_gain=0.12,
        ),
    }
)


@dataclass(frozen=True, slots=True)
class Note:
    """One note.

    Attributes:
        part: Who plays it: pad, bass, lead or hat.
        pitch: MIDI note number, 69 for 440 Hz; of a hat, which of its sounds.
        start: In beats from the start of the piece.
        length: In beats.
        gain: Amplitude.
        pan: -1 left to 1 right.
    """

    part: str
    pitch: int
    start: float
    length: float
    gain: float
    pan: float = 0.0


def compose(style: Style, *, key: int, num_bars: int, rng: np.random.Generator) -> list[Note]:
    """Return the notes of a piece in major key ``key``, 0 for C to 11 for B."""
    progression = style.progressions[int(rng.integers(len(style.progressions)))]
    notes: list[Note] = []
    for bar in range(num_bars):
        root, intervals = progression[bar % len(progression)]
        start = float(bar * BEATS_A_BAR)
        notes.extend(
            Note("pad", 48 + (key + root) % 12 + above, start, BEATS_A_BAR, 0.15, pan=0.6 * (-1) ** voice)
            for voice, above in enumerate(intervals)
        )
        length = BEATS_A_BAR / style.bass_steps
        pitch = 36 + (key + root) % 12
        notes.extend(Note("bass", pitch, start + step * length, 0.9 * length, 0.3) for step in range(style.bass_steps))
    notes.extend(_melody(style, key, num_bars, rng))
    notes.extend(_hats(style, num_bars, rng))
    return notes


def _melody(style: Style, key: int, num_bars: int, rng: np.random.Generator) -> Iterator[Note]:
    """Yield a random walk on two octaves of the pentatonic scale."""
    scale = [72 + key + 12 * octave + above for octave in (-1, 0) for above in PENTATONIC]
    length = 1.0 / style.lead_steps
    degree = len(scale) // 2
    for step in range(num_bars * BEATS_A_BAR * style.lead_steps):
        degree = int(np.clip(degree + rng.integers(-2, 2, endpoint=True), 0, len(scale) - 1))
        played, loudness = rng.uniform(size=2)
        if played < style.lead_density:
            yield Note("lead", scale[degree], step * length, 0.95 * length, 0.15 + 0.1 * float(loudness), pan=0.25)


def _hats(style: Style, num_bars: int, rng: np.random.Generator) -> Iterator[Note]:
    for step in range(num_bars * BEATS_A_BAR * style.hat_steps):
        accent = 1.0 if step % 2 else 0.6
        sound = int(rng.integers(4))
        yield Note("hat", sound, step / style.hat_steps, 0.25, style.hat_gain * accent, pan=-0.35)
