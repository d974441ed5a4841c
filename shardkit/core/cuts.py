"""How recordings, or events of them, are cut into parts: windows, segments, or slots for several draws from long ones.

Bounds are half-open, in samples at the stored rate, and computed from a part's number: no list of parts exists.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shardkit.core.checks import checked_seconds, is_number
from shardkit.core.errors import InputError

_Ints = NDArray[np.int64]


class Cut(Protocol):
    """A way to cut recordings into parts."""

    def num_parts(self, frames: _Ints, sample_rate: _Ints) -> _Ints:
        """Return how many parts each recording has, at least one, (recording,)."""

    def bounds(self, part: _Ints, *, num_parts: _Ints, frames: _Ints, sample_rate: _Ints) -> tuple[_Ints, _Ints]:
        """Return the bounds of one part of each recording, (recording,) each."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of one length that start at every multiple of a hop; a shorter recording is one window.

    Args:
        size_s: Length of a window in seconds.
        hop_s: From one start to the next, in seconds.
        partial: Whether a last, shorter window covers what the full ones leave over.

    Raises:
        InputError: A length is not a positive number.
    """

    size_s: float
    hop_s: float
    _: KW_ONLY
    partial: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_s", checked_seconds(self.size_s, "size_s"))
        object.__setattr__(self, "hop_s", checked_seconds(self.hop_s, "hop_s"))

    def num_parts(self, frames: _Ints, sample_rate: _Ints) -> _Ints:
        """Return how many windows each recording has, (recording,)."""
        size, hop = self.lengths(sample_rate)
        beyond = np.maximum(frames - size, 0)
        last = np.minimum(-(-beyond // hop), np.maximum(frames - 1, 0) // hop) if self.partial else beyond // hop
        return np.asarray(last + 1)

    def bounds(self, part: _Ints, *, num_parts: _Ints, frames: _Ints, sample_rate: _Ints) -> tuple[_Ints, _Ints]:
        """Return the bounds of one window of each recording."""
        del num_parts
        size, hop = self.lengths(sample_rate)
        start = part * hop
        return start, np.minimum(start + size, frames)

    def lengths(self, sample_rate: _Ints) -> tuple[_Ints, _Ints]:
        """Return the length and the hop in samples at some rates, (rate,) each."""
        size = np.rint(self.size_s * sample_rate).astype(np.int64)
        hop = np.rint(self.hop_s * sample_rate).astype(np.int64)
        if size.size and min(size.min(), hop.min()) < 1:
            raise InputError(f"windows of {self.size_s:g} s each {self.hop_s:g} s are shorter than a sample")
        return size, hop


@dataclass(frozen=True, slots=True)
class Segments:
    """Pieces of one length, end to end, of events that may be shorter or longer.

    An event has as many full pieces as fit. Of what is left, half a piece or more is a piece of its own, and shorter;
    less than half is in a last piece that ends where the event ends and begins where it must to be full:

        2.75 pieces     |---|---|--|        the third is shorter
        2.25 pieces     |---|---|
                             |---|          the third is full, and shares samples with the second

    An event shorter than a piece is one piece.

    Args:
        size_s: Length of a piece in seconds.

    Raises:
        InputError: The length is not a positive number.

    Source:
        The segmentation of audioset_strong's strong events.
    """

    size_s: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_s", checked_seconds(self.size_s, "segments_s"))

    def num_parts(self, frames: _Ints, sample_rate: _Ints) -> _Ints:
        """Return how many pieces each event has, (event,)."""
        return np.asarray(np.maximum(-(-frames // self._size(sample_rate)), 1))

    def bounds(self, part: _Ints, *, num_parts: _Ints, frames: _Ints, sample_rate: _Ints) -> tuple[_Ints, _Ints]:
        """Return the bounds of one piece of each event."""
        del num_parts
        size = self._size(sample_rate)
        start, left = part * size, frames - part * size
        start = np.where(2 * left < size, np.maximum(frames - size, 0), start)
        return start, np.minimum(start + size, frames)

    def _size(self, sample_rate: _Ints) -> _Ints:
        size: _Ints = np.rint(self.size_s * sample_rate).astype(np.int64)
        if size.size and size.min() < 1:
            raise InputError(f"segments of {self.size_s:g} s are shorter than a sample")
        return size


@dataclass(frozen=True, slots=True)
class Slots:
    """Several draws from a long recording: one slot for each, and in each slot one crop may start.

    A recording that holds n crops has round(n ** power) slots, at least one. Slot j of m is the stretch in which a
    crop starts between j/m and (j+1)/m of all places where one can start, so that the slots of a recording cover each
    start once.

    Args:
        size_s: Length of the crops in seconds.
        power: 0: one draw from each recording; 1: as many as it holds crops.

    Raises:
        InputError: The length is not a positive number, or the power not in [0, 1].

    Source:
        audiotree 1.0's windowed sampling (slots = round(windows ** alpha), jitter inside the stride).
    """

    size_s: float
    power: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_s", checked_seconds(self.size_s, "size_s"))
        if not is_number(self.power) or not 0 <= self.power <= 1:
            raise InputError(
                f"power {self.power!r} is not from 0 (one draw a recording) to 1 (as many as it has crops)"
            )
        object.__setattr__(self, "power", float(self.power))

    def num_parts(self, frames: _Ints, sample_rate: _Ints) -> _Ints:
        """Return how many slots each recording has, (recording,)."""
        crops = np.maximum(frames // self._size(sample_rate), 1)
        # Rounded before it is rounded, so that machines whose powers differ in the last bit agree.
        slots = np.rint(np.round(crops.astype(np.float64) ** self.power, 9))
        return np.asarray(np.maximum(slots.astype(np.int64), 1))

    def bounds(self, part: _Ints, *, num_parts: _Ints, frames: _Ints, sample_rate: _Ints) -> tuple[_Ints, _Ints]:
        """Return the bounds of one slot of each recording: from its first start to the end of a crop at its last."""
        size = self._size(sample_rate)
        starts = np.maximum(frames - size, 0) + 1
        first, last = part * starts // num_parts, (part + 1) * starts // num_parts
        return first, np.minimum(np.maximum(last, first + 1) - 1 + size, frames)

    def _size(self, sample_rate: _Ints) -> _Ints:
        size: _Ints = np.rint(self.size_s * sample_rate).astype(np.int64)
        if size.size and size.min() < 1:
            raise InputError(f"draws of {self.size_s:g} s are shorter than a sample")
        return size
