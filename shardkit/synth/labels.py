"""Chords with the classes that apply to each recording as columns of 0 and 1: its wave and its mode.

    FOLDER/in/saw_maj7_3.wav
    FOLDER/labels.csv            file,sin,square,saw,triangle,pure,oct,…
                                 in/saw_maj7_3.wav,0,0,1,0,0,0,…

The layout of the TF2 Audio Dataset's simple classification, with a header that names the classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shardkit.synth.chords import ChordsOptions
from shardkit.synth.clip import Clip


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsOptions(ChordsOptions):
    """Which recordings to make; the classes are their ``waves`` and ``modes``."""

    kind = "labels"
    manifest = "labels.csv"

    @property
    def columns(self) -> tuple[str, ...]:
        """The file, then the classes."""
        return ("file", *self.waves, *self.modes)

    def clips(self, item: int) -> Iterator[Clip]:
        """Yield the recordings of one item."""
        for chord in self.chords(item):
            yield self.clip("in", chord)

    def rows(self, item: int) -> Iterator[tuple[Any, ...]]:
        """Yield the lines of ``labels.csv`` for one item."""
        for chord in self.chords(item):
            classes = (chord.wave, chord.mode)
            yield f"in/{self.file_name(chord)}", *(int(name in classes) for name in self.columns[1:])
