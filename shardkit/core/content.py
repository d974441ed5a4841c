"""What a crop must hold of what is labelled: where it can start, from the intervals of the index alone.

    interval          |=========|          |====|
    crop         |.....|                                    starts where half of it is labelled, ratio=0.5:
    starts          |-----------|        |..                a few runs of samples, found from the intervals' bounds

The share of a crop that intervals cover is, as a function of where it starts, a chain of straight lines whose corners
lie where one end of the crop meets one end of an interval. Between two corners it is enough to look at these.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from shardkit.core.checks import is_number
from shardkit.core.errors import InputError

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Places where a crop can start: runs of consecutive samples, ascending and apart.

    Attributes:
        firsts: First sample of each run, (run,).
        counts: Number of samples in it, (run,).
    """

    firsts: _Ints
    counts: _Ints

    @classmethod
    def between(cls, first: int, last: int) -> Self:
        """Return the one run of the samples ``first`` to ``last``, both included."""
        return cls(np.array([first]), np.array([last - first + 1]))

    @classmethod
    def merged(cls, firsts: _Ints, lasts: _Ints) -> Self:
        """Return the runs that hold exactly the samples of the ranges ``firsts`` to ``lasts``, both included."""
        if not len(firsts):
            return cls(np.empty(0, np.int64), np.empty(0, np.int64))
        order = np.argsort(firsts, kind="stable")
        firsts, lasts = firsts[order], np.maximum.accumulate(lasts[order])
        begins = np.flatnonzero(np.concatenate([[True], firsts[1:] > lasts[:-1] + 1]))
        ends = np.append(begins[1:], len(firsts)) - 1
        return cls(firsts[begins], lasts[ends] - firsts[begins] + 1)

    def __len__(self) -> int:
        return len(self.firsts)

    def pick(self, uniform: float) -> int:
        """Return the sample that a number in [0, 1) selects, each equally likely (to 2^-53 of their number)."""
        ends = np.cumsum(self.counts)
        index = min(int(uniform * int(ends[-1])), int(ends[-1]) - 1)
        run = int(np.searchsorted(ends, index, side="right"))
        return int(self.firsts[run]) + index - int(ends[run] - self.counts[run])

    def holds(self, samples: _Ints) -> NDArray[np.bool_]:
        """Return which of some samples lie in a run."""
        if not len(self):
            return np.zeros(len(samples), bool)
        run = np.searchsorted(self.firsts, samples, side="right") - 1
        return (run >= 0) & (samples < self.firsts[run] + self.counts[run])


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What of the named intervals a crop must hold; made by ``content``.

    Attributes:
        of: Names of intervals; empty: all of them.
        ratio: How much, in (0, 1].
        part: Of what that is a share: of the ``crop``, or of one ``event``.
    """

    of: tuple[str, ...]
    ratio: float
    part: Literal["crop", "event"]

    def __str__(self) -> str:
        names = ", ".join(map(repr, self.of)) or "any interval"
        if self.part == "event":
            return f"holds {self.ratio:g} of one of {names}"
        return f"is covered by {names} to {self.ratio:g}"

    def starts(self, events: _Ints, first: int, last: int, length: int) -> Runs:
        """Return where crops can start that hold enough; there may be none.

        Args:
            events: Bounds of the named intervals in samples, half-open, (event, 2).
            first: First sample at which a crop may start.
            last: Last one.
            length: Of the crop, in samples.
        """
        if self.part == "crop":
            return _covered(events, first, last, length, need=_at_least(self.ratio, length))
        sizes = events[:, 1] - events[:, 0]
        need = np.minimum(np.maximum(np.ceil(self.ratio * sizes - 1e-9).astype(np.int64), 1), length)
        firsts = np.maximum(events[:, 0] + need - length, first)
        lasts = np.minimum(events[:, 1] - need, last)
        some = firsts <= lasts
        return Runs.merged(firsts[some], lasts[some])

    def most(self, events: _Ints, first: int, last: int, length: int) -> Runs:
        """Return where crops can start of which the intervals cover as much as they can; arguments as ``starts``."""
        most = int(_coverage(events, _corners(events, first, last, length), length).max())
        return _covered(events, first, last, length, need=most) if most else Runs.between(first, last)


def content(of: str | Sequence[str] = (), ratio: float = 0.5, *, part: Literal["crop", "event"] = "crop") -> Content:
    """Return what a crop must hold of named intervals, for the crops' ``content``.

    Args:
        of: Names of intervals, or one; empty: all that a recording has.
        ratio: Least share, in (0, 1].
        part: ``crop``: the union of the intervals covers at least that share of the crop. ``event``: the crop holds
            at least that share of one of the intervals, or lies within it.

    Raises:
        InputError: The names or the ratio can't be.

    Source:
        spgdataset's content ratio (overlap with the union of the wanted intervals, over the window) is ``crop``.
    """
    names = checked_interval_names(of, "of")
    if not is_number(ratio) or not 0 < ratio <= 1:
        raise InputError(f"ratio {ratio!r} is not a share in (0, 1]; 0.5 is half")
    if part not in ("crop", "event"):
        raise InputError(f"part {part!r} is unknown; choose crop or event")
    return Content(of=names, ratio=float(ratio), part=part)


def checked_interval_names(names: str | Sequence[str], what: str) -> tuple[str, ...]:
    """Return names of intervals, or one, as a tuple.

    Raises:
        InputError: They are something else.
    """
    listed = (names,) if isinstance(names, str) else names
    if not isinstance(listed, Sequence) or not all(isinstance(name, str) for name in listed):
        raise InputError(f"{what} is {names!r}; give the name of an interval, or a list of them")
    return tuple(dict.fromkeys(listed))


def _at_least(ratio: float, length: int) -> int:
    return max(1, math.ceil(ratio * length - 1e-9))  # 0.1 of 10 samples is one, whatever the product's last bit


def _corners(events: _Ints, first: int, last: int, length: int) -> _Ints:
    """Return the starts between which the coverage is a straight line, ``first`` and ``last`` among them."""
    bounds = events.reshape(-1)
    # Not numpy.unique, which hashes before it sorts: windows of a million recordings took 32 s, and 5 so.
    corners = np.sort(np.clip(np.concatenate([bounds, bounds - length, [first, last]]), first, last), kind="stable")
    return np.asarray(corners[np.concatenate([[True], corners[1:] > corners[:-1]])])


def _coverage(events: _Ints, starts: _Ints, length: int) -> _Ints:
    """Return how many samples of [start, start + length) lie in some interval, for each start."""
    if not len(events):
        return np.zeros_like(starts)
    union = Runs.merged(events[:, 0], events[:, 1] - 1)
    before = np.concatenate([[0], np.cumsum(union.counts)])

    def up_to(samples: _Ints) -> _Ints:
        run = np.searchsorted(union.firsts, samples, side="right") - 1
        inside = np.clip(samples - union.firsts[run], 0, union.counts[run])
        return np.where(run < 0, 0, before[run] + inside)

    return np.asarray(up_to(starts + length) - up_to(starts))


def _covered(events: _Ints, first: int, last: int, length: int, *, need: int) -> Runs:
    """Return where crops can start of which at least ``need`` samples lie in some interval."""
    corners = _corners(events, first, last, length)
    covered = _coverage(events, corners, length)
    left, right = corners[:-1], corners[1:]
    at_left, at_right = covered[:-1], covered[1:]
    if not len(left):  # one start
        left = right = corners
        at_left = at_right = covered
    some = np.maximum(at_left, at_right) >= need
    # From one corner to the next it rises, stays or falls by one sample a sample.
    firsts = np.where(at_left >= need, left, right - (at_right - need))
    lasts = np.where(at_right >= need, right, left + (at_left - need))
    return Runs.merged(firsts[some], lasts[some])
