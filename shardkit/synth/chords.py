"""Chords: each wave in each mode at each frequency, one recording each. What ``pairs`` and ``labels`` are made of."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from shardkit.core.errors import InputError
from shardkit.core.random import uniform
from shardkit.synth.checks import check_choices
from shardkit.synth.clip import Clip, Voice
from shardkit.synth.grid import GridOptions
from shardkit.synth.modes import MODES


@dataclass(frozen=True, slots=True, kw_only=True)
class Chord:
    """One recording's content."""

    wave: str
    mode: str
    step: int
    frequency_hz: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ChordsOptions(GridOptions):
    """Which chords to make.

    Attributes:
        modes: Names in ``MODES``.
        too_high: What becomes of a chord with a voice that is not below half the sample rate: ``fail``, before anything
            is written, or ``skip``.
    """

    modes: tuple[str, ...] = tuple(MODES)
    too_high: str = "fail"

    heights: ClassVar[str] = "hi_hz"  # the options that say how high voices go

    def __post_init__(self) -> None:
        """Refuse what can't be made, before anything is written."""
        self.check_grid()
        check_choices("modes", self.modes, tuple(MODES))
        if self.too_high not in {"fail", "skip"}:
            raise InputError(f"too_high is {self.too_high!r}; choose fail or skip")
        self._check_nyquist()

    @property
    def num_items(self) -> int:
        """Jobs that can be done apart: a wave at a frequency, in all modes."""
        return len(self.waves) * self.num_steps

    def reach(self, mode: str) -> float:
        """Return the highest voice of a chord's recordings over the frequency it is listed with."""
        return max(MODES[mode])

    def fits(self, mode: str, frequency_hz: float) -> bool:
        """Tell whether every voice is below half the sample rate."""
        return frequency_hz * self.reach(mode) < self.sample_rate / 2

    def skipped(self) -> dict[str, int]:
        """Return how many chords of a mode are too high, of the modes of which any is."""
        all_hz = self.all_hz()
        lost = {mode: sum(not self.fits(mode, step_hz) for step_hz in all_hz) for mode in self.modes}
        return {mode: number * len(self.waves) for mode, number in lost.items() if number}

    def chords(self, item: int) -> Iterator[Chord]:
        """Yield the chords of one item, without those that are too high."""
        wave, step = divmod(item, self.num_steps)
        frequency_hz = self.step_hz(step)
        for mode in self.modes:
            if self.fits(mode, frequency_hz):
                yield Chord(wave=self.waves[wave], mode=mode, step=step, frequency_hz=frequency_hz)

    def file_name(self, chord: Chord) -> str:
        """Return a name that no other chord has, with no dot but the extension's.

        Steps are numbered: frequencies would have dots, and may agree when rounded.
        """
        width = len(str(self.num_steps - 1))
        return f"{chord.wave}_{chord.mode}_{chord.step:0{width}}.wav"

    def clip(self, folder: str, chord: Chord, *, dilation: float = 1.0) -> Clip:
        """Return the recording of a chord at ``dilation`` times its frequency; phases do not depend on that."""
        ratios = MODES[chord.mode]
        phases = np.zeros(len(ratios))
        if not self.zero_phase:
            purpose = f"synth {chord.wave} {chord.mode}"
            phases = uniform(self.seed, np.arange(len(ratios)), purpose, chord.step)
        return Clip(
            path=f"{folder}/{self.file_name(chord)}",
            wave=chord.wave,
            voices=tuple(
                Voice(frequency_hz=chord.frequency_hz * dilation * ratio, phase=float(phase))
                for ratio, phase in zip(ratios, phases, strict=True)
            ),
            gain=self.volume / len(ratios),
        )

    def _check_nyquist(self) -> None:
        skipped = self.skipped()
        if not skipped:
            return
        if self.too_high == "fail":
            highest_hz = self.hi_hz * max(map(self.reach, self.modes))
            raise InputError(
                f"the highest voice is at {highest_hz:g} Hz, which {self.sample_rate} Hz can't carry; lower "
                f"{self.heights}, leave out {', '.join(skipped)}, raise sample_rate, or skip what is too high"
            )
        if sum(skipped.values()) == len(self.modes) * self.num_items:
            raise InputError(
                f"all chords are too high for {self.sample_rate} Hz, even at lo_hz, {self.lo_hz:g} Hz; lower "
                f"that or {self.heights}, or raise sample_rate"
            )
