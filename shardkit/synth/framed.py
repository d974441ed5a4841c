"""Notes that come and go, with a table for each recording of which of them sound when.

    FOLDER/in/sin_0.wav          two notes at most at a time, the waves taking turns
    FOLDER/keys/sin_0.csv        time_s,n0_1000hz,n1_774hz,…
                                 0.0,1,0,…
                                 0.1,1,1,…      a row: the notes that sound in [time_s, time_s + hop)
    FOLDER/framed.csv            file,features: in/sin_0.wav,keys/sin_0.csv

The layout of the TF2 Audio Dataset's frame-level classification. Where a row says 0, nothing of that note is heard: its
ramps lie inside the rows that say 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardkit.core.errors import InputError
from shardkit.core.random import uniform
from shardkit.synth.checks import check_count
from shardkit.synth.clip import Clip, Voice
from shardkit.synth.grid import GridOptions
from shardkit.synth.output import csv_text
from shardkit.synth.randomness import generator

CHORD_ROWS = (1, 8)  # a chord lasts from one to so many rows
MAX_FILES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FramedOptions(GridOptions):
    """Which recordings to make; the notes are the frequencies.

    Attributes:
        num_files: Recordings.
        hop_s: From row to row of the tables; a whole number of samples.
        polyphony: Notes that sound at a time, at most.
    """

    num_files: int = 20
    hop_s: float = 0.1
    polyphony: int = 2

    kind = "framed"
    manifest = "framed.csv"

    def __post_init__(self) -> None:
        """Refuse what can't be made, before anything is written."""
        self.check_grid()
        check_count("num_files", self.num_files)
        if self.num_files > MAX_FILES:
            raise InputError(f"num_files is {self.num_files:,}; ask for at most {MAX_FILES:,}")
        if not self.hi_hz < self.sample_rate / 2:
            raise InputError(
                f"hi_hz is {self.hi_hz:g}, which {self.sample_rate} Hz can't carry; lower it or raise sample_rate"
            )
        if not 1 <= self.polyphony <= self.num_steps:
            raise InputError(f"polyphony is {self.polyphony}; choose from 1 to the {self.num_steps} notes there are")
        if not 1.0 / self.sample_rate <= self.hop_s <= self.duration_s:
            raise InputError(f"hop_s is {self.hop_s:g}; choose from one sample to duration_s, {self.duration_s:g}")
        if abs(self.hop_s * self.sample_rate - self.hop) > 1e-6:
            raise InputError(
                f"hop_s is {self.hop_s:g}, at {self.sample_rate} Hz {self.hop_s * self.sample_rate:g} samples; "
                f"choose a whole number of them, such as {self.hop / self.sample_rate!r}"
            )

    @property
    def hop(self) -> int:
        """Samples from row to row."""
        return round(self.hop_s * self.sample_rate)

    @property
    def num_rows(self) -> int:
        """Rows of each table; the last may stand for less than a hop."""
        return -(-self.frames // self.hop)

    @property
    def columns(self) -> tuple[str, ...]:
        """The recording and its table."""
        return "file", "features"

    @property
    def num_items(self) -> int:
        """Jobs that can be done apart: the recordings."""
        return self.num_files

    def notes(self) -> tuple[str, ...]:
        """Return the names of the columns: number and frequency to the nearest Hz."""
        return tuple(f"n{step}_{hz:.0f}hz" for step, hz in enumerate(self.all_hz()))

    def roll(self, item: int) -> NDArray[np.uint8]:
        """Return which notes sound when, (row, note), 0 or 1."""
        rng = generator(self.seed, "framed", item)
        roll = np.zeros((self.num_rows, self.num_steps), np.uint8)
        row = 0
        while row < len(roll):
            stop = row + int(rng.integers(*CHORD_ROWS, endpoint=True))
            number = int(rng.integers(self.polyphony, endpoint=True))
            roll[row:stop, rng.choice(self.num_steps, number, replace=False)] = 1
            row = stop
        return roll

    def clips(self, item: int) -> Iterator[Clip]:
        """Yield the recording."""
        roll = self.roll(item)
        phases = np.zeros(self.num_steps)
        if not self.zero_phase:
            phases = uniform(self.seed, np.arange(self.num_steps), "synth framed", item)
        yield Clip(
            path=f"in/{self._name(item)}.wav",
            wave=self._wave(item),
            voices=tuple(
                Voice(frequency_hz=self.step_hz(step), phase=float(phases[step]), spans=self._spans(roll[:, step]))
                for step in np.flatnonzero(roll.any(axis=0)).tolist()
            ),
            gain=self.volume / self.polyphony,
        )

    def tables(self, item: int) -> Iterator[tuple[str, bytes]]:
        """Yield path and bytes of the recording's table."""
        times_s = [row * self.hop / self.sample_rate for row in range(self.num_rows)]
        lines = [(time_s, *bits) for time_s, bits in zip(times_s, self.roll(item).tolist(), strict=True)]
        yield self._table(item), csv_text([("time_s", *self.notes()), *lines])

    def rows(self, item: int) -> Iterator[tuple[Any, ...]]:
        """Yield the line of ``framed.csv``."""
        yield f"in/{self._name(item)}.wav", self._table(item)

    def _wave(self, item: int) -> str:
        return self.waves[item % len(self.waves)]

    def _name(self, item: int) -> str:
        return f"{self._wave(item)}_{item:0{len(str(self.num_files - 1))}}"

    def _table(self, item: int) -> str:
        return f"keys/{self._name(item)}.csv"

    def _spans(self, bits: NDArray[np.uint8]) -> tuple[tuple[int, int], ...]:
        """Return the runs of ones, in samples."""
        edges = np.flatnonzero(np.diff(bits, prepend=0, append=0) != 0).tolist()
        bounds = [min(edge * self.hop, self.frames) for edge in edges]
        return tuple(bound for place, bound in enumerate(pairwise(bounds)) if place % 2 == 0)
