"""Pairs of tones, X → Y: the same wave and chord, Y at ``dilation`` times the frequency.

A few pairs for the demo, where ``synth.pairs`` makes as many as are asked for. Tones depend on nothing random: every
seed gives the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from shardkit.core.errors import InputError
from shardkit.synth.checks import MAX_DURATION_S, check_choices, check_count, check_rate, scaled_count
from shardkit.synth.modes import MODES, step_hz
from shardkit.synth.output import SourceFolder, Written
from shardkit.synth.waves import MAX_PEAK, WAVES, Samples, tone

COLUMNS = ("path", "target", "wave", "mode", "frequency_hz")
LOWEST_RATE = 1000
LOWEST_HZ = 10.0  # below hearing; the table of a wave grows as its frequency falls


@dataclass(frozen=True, slots=True, kw_only=True)
class TonesOptions:
    """Which pairs of tones to make: each wave in each mode at each frequency.

    Attributes:
        lo_hz: Lowest frequency of X.
        hi_hz: Highest frequency of X, and the only one when ``num_steps`` is 1.
        num_steps: Frequencies, in equal musical steps from ``hi_hz`` down to ``lo_hz``, both included.
        dilation: Frequency of Y over that of X.
        waves: Of ``sin``, ``square``, ``saw``, ``triangle``.
        modes: Names in ``MODES``.
        duration_s: Of each recording.
        sample_rate: In Hz.
        volume: Amplitude of a wave; the voices of a chord share it.
    """

    lo_hz: float = 110.0
    hi_hz: float = 880.0
    num_steps: int = 3
    dilation: float = 2.0
    waves: tuple[str, ...] = WAVES
    modes: tuple[str, ...] = tuple(MODES)
    duration_s: float = 1.0
    sample_rate: int = 16_000
    volume: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what can't be made, before anything is written."""
        check_count("num_steps", self.num_steps)
        check_choices("waves", self.waves, WAVES)
        check_choices("modes", self.modes, tuple(MODES))
        check_rate(self.sample_rate, lowest=LOWEST_RATE)
        if not 1.0 / self.sample_rate <= self.duration_s <= MAX_DURATION_S:
            raise InputError(f"duration_s is {self.duration_s:g}; choose from one sample to {MAX_DURATION_S:g} s")
        if not 0.0 < self.volume <= 1.0 / MAX_PEAK:
            raise InputError(f"volume is {self.volume:g}; choose above 0 and at most {1 / MAX_PEAK:.3f}, or it clips")
        self._check_frequencies()

    def scaled(self, factor: float) -> "TonesOptions":
        """Return the same with ``factor`` times the frequencies."""
        return replace(self, num_steps=scaled_count(self.num_steps, factor))

    def frequencies_hz(self) -> list[float]:
        """Return the frequencies of X: f_k = hi · (lo / hi)^(k / (N - 1)).

        >>> TonesOptions(lo_hz=100, hi_hz=400, num_steps=3).frequencies_hz()
        [400.0, 200.0, 100.0]
        >>> TonesOptions(lo_hz=100, hi_hz=400, num_steps=1).frequencies_hz()
        [400.0]
        """
        bounds = {"lo_hz": self.lo_hz, "hi_hz": self.hi_hz}
        return [step_hz(step, **bounds, num_steps=self.num_steps) for step in range(self.num_steps)]

    def _check_frequencies(self) -> None:
        if not 0.0 < self.lo_hz <= self.hi_hz:
            raise InputError(f"frequencies go from {self.lo_hz:g} to {self.hi_hz:g} Hz; give 0 < lo_hz <= hi_hz")
        if not self.dilation > 0.0:
            raise InputError(f"dilation is {self.dilation:g}; it must be above 0, like 2 for an octave up")
        lowest_hz = self.lo_hz * min(self.dilation, 1.0)
        if lowest_hz < LOWEST_HZ:
            raise InputError(f"the lowest tone is at {lowest_hz:g} Hz; raise lo_hz or dilation to {LOWEST_HZ:g} Hz")
        highest_hz = self.hi_hz * max(self.dilation, 1.0) * max(max(MODES[mode]) for mode in self.modes)
        if not highest_hz < self.sample_rate / 2:
            raise InputError(
                f"the highest voice is at {highest_hz:g} Hz, which {self.sample_rate} Hz can't carry; "
                "lower hi_hz or dilation, leave wide modes out, or raise sample_rate"
            )
        names = [_frequency_name(frequency_hz) for frequency_hz in self.frequencies_hz()]
        if len(set(names)) < len(names):
            raise InputError(
                f"{self.num_steps} steps from {self.lo_hz:g} to {self.hi_hz:g} Hz lie closer than 0.01 Hz, "
                "so that files would share names; ask for fewer steps or a wider range"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One X and its Y, before they are made."""

    wave: str
    mode: str
    frequency_hz: float

    @property
    def name(self) -> str:
        """The file's name: wave, mode and frequency, as the TF2 Audio Dataset named its files."""
        return f"{self.wave}_{self.mode}_{_frequency_name(self.frequency_hz)}.wav"


def pairs(options: TonesOptions) -> Iterator[Pair]:
    """Yield the pairs that ``options`` ask for, in the order of the manifest."""
    for wave in options.waves:
        for mode in options.modes:
            for frequency_hz in options.frequencies_hz():
                yield Pair(wave=wave, mode=mode, frequency_hz=frequency_hz)


def chord(pair: Pair, options: TonesOptions, *, dilation: float) -> Samples:
    """Return the mean of the voices of a chord on ``dilation`` times the pair's frequency, (time)."""
    frames = round(options.duration_s * options.sample_rate)
    voices = [
        tone(pair.wave, pair.frequency_hz * dilation * ratio, frames=frames, sample_rate=options.sample_rate)
        for ratio in MODES[pair.mode]
    ]
    return np.asarray(options.volume * np.mean(voices, axis=0))


def write_tones(root: Path, options: TonesOptions) -> Written:
    """Write ``tones/in``, ``tones/out`` and ``tones/manifest.csv`` under ``root``."""
    folder = SourceFolder(root, "tones")
    rows = []
    for pair in pairs(options):
        source, target = f"in/{pair.name}", f"out/{pair.name}"
        folder.audio(source, chord(pair, options, dilation=1.0), options.sample_rate)
        folder.audio(target, chord(pair, options, dilation=options.dilation), options.sample_rate)
        rows.append((source, target, pair.wave, pair.mode, round(pair.frequency_hz, 6)))
    return folder.csv(COLUMNS, rows)


def _frequency_name(frequency_hz: float) -> str:
    return f"{frequency_hz:.2f}".replace(".", "_")
