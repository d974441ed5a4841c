"""Pairs of tones, X → Y: the same wave, chord and phases, Y at ``dilation`` times the frequency.

    FOLDER/in/saw_maj7_3.wav     X: voices at f · (1, 5/4, 3/2, 15/8)
    FOLDER/out/saw_maj7_3.wav    Y: voices at dilation · f · (1, 5/4, 3/2, 15/8)
    FOLDER/pairs.csv             x,y,wave,mode,step,frequency_hz,y_frequency_hz,dilation

So y(t) = x(dilation · t), but for the harmonics that the sample rate carries in only one of them.

What the TF2 Audio Dataset (Soundbendor/Deep-Audio-Dataset) generated with sox. Different here: waves are band-limited,
phases are drawn from the seed unless ``zero_phase`` is asked for, and no name is used twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shardkit.core.errors import InputError
from shardkit.synth.chords import ChordsOptions
from shardkit.synth.clip import Clip
from shardkit.synth.grid import LOWEST_HZ

X_FOLDER, Y_FOLDER = "in", "out"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsOptions(ChordsOptions):
    """Which pairs to make.

    Attributes:
        dilation: Frequency of Y over that of X.
    """

    dilation: float = 2.0

    kind = "pairs"
    manifest = "pairs.csv"
    heights = "hi_hz or dilation"

    def __post_init__(self) -> None:
        """Refuse what can't be made, before anything is written."""
        if not 0.0 < self.dilation < float("inf"):
            raise InputError(f"dilation is {self.dilation:g}; it must be above 0, like 2 for an octave up")
        ChordsOptions.__post_init__(self)  # a dataclass with slots is another class than the one super() knows
        if self.lo_hz * self.dilation < LOWEST_HZ:
            raise InputError(f"the lowest Y is at {self.lo_hz * self.dilation:g} Hz; raise lo_hz or dilation")

    @property
    def columns(self) -> tuple[str, ...]:
        """Both files, then what they hold."""
        return "x", "y", "wave", "mode", "step", "frequency_hz", "y_frequency_hz", "dilation"

    def reach(self, mode: str) -> float:
        """Return the highest voice of X and Y over the frequency of X."""
        return ChordsOptions.reach(self, mode) * max(self.dilation, 1.0)

    def clips(self, item: int) -> Iterator[Clip]:
        """Yield X and Y of each pair of one item."""
        for chord in self.chords(item):
            yield self.clip(X_FOLDER, chord)
            yield self.clip(Y_FOLDER, chord, dilation=self.dilation)

    def rows(self, item: int) -> Iterator[tuple[Any, ...]]:
        """Yield the lines of ``pairs.csv`` for one item."""
        for chord in self.chords(item):
            name, y_hz = self.file_name(chord), chord.frequency_hz * self.dilation
            x, y = f"{X_FOLDER}/{name}", f"{Y_FOLDER}/{name}"
            yield x, y, chord.wave, chord.mode, chord.step, chord.frequency_hz, y_hz, self.dilation
