"""How the notes of a score sound: band-limited tones under envelopes, and filtered noise."""

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, sosfilt

from shardkit.synth.randomness import generator
from shardkit.synth.score import Note, Style
from shardkit.synth.waves import Samples, tone

A4_MIDI, A4_HZ = 69, 440.0
HAT_HZ = 6000.0
HAT_DECAY_S = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Attack, decay, sustain, release.

    Attributes:
        attack_s: Linear rise to 1.
        decay_s: Time constant of the fall to ``sustain``.
        sustain: Level that is held.
        release_s: Linear fall to 0 once the note ends.
    """

    attack_s: float
    decay_s: float
    sustain: float
    release_s: float

    def samples(self, held_s: float, sample_rate: int) -> Samples:
        """Return the envelope of a note held for ``held_s``, its release included, (time)."""
        time_s = np.arange(round((held_s + self.release_s) * sample_rate)) / sample_rate
        fallen = self.sustain + (1.0 - self.sustain) * np.exp(-np.maximum(time_s - self.attack_s, 0.0) / self.decay_s)
        attack = np.minimum(time_s / self.attack_s, 1.0)
        release = np.clip(1.0 - (time_s - held_s) / self.release_s, 0.0, 1.0)
        return np.asarray(fallen * attack * release)


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A pitched part: its envelope, and its harmonics up to ``max_harmonics``, which stands for a low-pass filter."""

    envelope: Envelope
    max_harmonics: int


VOICES = {
    "pad": Voice(envelope=Envelope(attack_s=0.25, decay_s=1.0, sustain=0.7, release_s=0.4), max_harmonics=8),
    "bass": Voice(envelope=Envelope(attack_s=0.01, decay_s=0.3, sustain=0.5, release_s=0.08), max_harmonics=6),
    "lead": Voice(envelope=Envelope(attack_s=0.01, decay_s=0.15, sustain=0.5, release_s=0.15), max_harmonics=16),
}


class Band:
    """The players of one piece. A note that was played before is not made again: most notes come back."""

    def __init__(self, style: Style, *, tempo_bpm: int, sample_rate: int, seed: int) -> None:
        self._waves = {"pad": style.pad, "bass": style.bass, "lead": style.lead}
        self._beat_s = 60.0 / tempo_bpm
        self._sample_rate = sample_rate
        self._seed = seed
        self._played: dict[tuple[str, int, float], Samples] = {}

    def play(self, note: Note) -> Samples:
        """Return a note at amplitude 1, from its start to the end of its release, (time)."""
        key = (note.part, note.pitch, note.length)
        if key not in self._played:
            self._played[key] = self._hat(note.pitch) if note.part == "hat" else self._pitched(note)
        return self._played[key]

    def _pitched(self, note: Note) -> Samples:
        voice = VOICES[note.part]
        envelope = voice.envelope.samples(note.length * self._beat_s, self._sample_rate)
        return envelope * tone(
            self._waves[note.part],
            A4_HZ * 2.0 ** ((note.pitch - A4_MIDI) / 12.0),
            frames=envelope.size,
            sample_rate=self._sample_rate,
            max_harmonics=voice.max_harmonics,
        )

    def _hat(self, sound: int) -> Samples:
        """Return one of a few short hisses, so that not all hats are one sample."""
        frames = round(8 * HAT_DECAY_S * self._sample_rate)
        noise = generator(self._seed, "hat", sound).standard_normal(frames)
        sections = butter(2, HAT_HZ, btype="highpass", output="sos", fs=self._sample_rate)
        return np.asarray(sosfilt(sections, noise) * np.exp(-np.arange(frames) / (HAT_DECAY_S * self._sample_rate)))
