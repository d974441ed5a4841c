"""Stages of a mixture: from one position to the next, the shares of the sources stay the same.

Most streams have one stage, from position 0 on. Where weights change, a stage ends and another begins, and three
things go on as if nothing had happened, by tables that are computed once from the stages before:

- Each source's pass. What the lanes have not yet visited of the passes that are under way is the *leftover* of the
  source: a list of intervals of those passes. The lanes of the new stage share it out in proportion to their new
  slots, walk through it, and then through fresh passes. So each pass has each row once, whatever the weights do.
  A small source, whose lanes walk through its passes together (order.py), just goes on counting.
- The mixture. The slots of the new stage are shifted by that multiple of LANES, its phase, that best makes up for
  what each source is ahead or behind of its weight, so that the deviations of many stages do not add up.
- The lane of a position: g mod LANES in every stage.

Where batches have a fixed composition, all this holds with the samples of a batch for slots and for lanes. A stage
begins with a batch, and the phase is then zero; or, of a period that is several batches, one of whole batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shardkit.core.errors import InputError
from shardkit.core.mixture import LANES, SLOTS, Mixture, repeats_of, spread
from shardkit.core.random import hash64, key_of

# Rows of a segment, on the average over the lanes, that make it worth having: segments are whole rows, so lanes come
# through theirs at rates that differ by one part in this many, and rows are drawn that much more or less often.
MIN_SEGMENT = 64

_KEPT_TABLES = 8  # of stages, 0.4 MB each; a batch lies in one or two
_KEPT_PROGRESS = 32  # up to 1.5 MB a source each, where a thousand stages cut the same pass

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRows:
    """A source as the order sees it: a name, a number of rows and a weight.

    ``steady`` rows come in the same order in each pass, as they are numbered: what numbers them has shuffled them.
    """

    name: str
    num_rows: int
    weight: float = 1.0
    steady: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """The mixture from a position on.

    Attributes:
        start: The first position.
        shares: Slots of each source, (source,); their sum is SLOTS, or the samples of a composed batch, or with groups
            those of ``repeats_of`` batches.
    """

    start: int
    shares: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Leftover:
    """Intervals of passes that earlier stages left unvisited, one after the other: those of source 0 first.

    Attributes:
        passes: The pass of each interval, (interval,).
        starts: Where it starts in its pass, (interval,).
        begins: Where it begins in the concatenation of all intervals, (interval,), ascending.
    """

    passes: _Ints
    starts: _Ints
    begins: _Ints

    @classmethod
    def of(cls, intervals: _Ints) -> "Leftover | None":
        """Return the leftover of intervals (pass, start, stop), none of them empty; None if there are none."""
        if not len(intervals):
            return None
        lengths = intervals[:, 2] - intervals[:, 1]
        return cls(passes=intervals[:, 0], starts=intervals[:, 1], begins=np.cumsum(lengths) - lengths)

    def places(self, index: _Ints) -> tuple[_Ints, _Ints]:
        """Return pass and offset in it of places in the concatenation."""
        interval = np.searchsorted(self.begins, index, side="right") - 1
        return self.passes[interval], self.starts[interval] + index - self.begins[interval]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StageTables:
    """Everything a draw of one stage needs to know about its slot, (slot,): one gather each instead of two.

    A draw at position g is on slot (g + phase) mod period. Its *group* is its source's draws in its lane or, for a
    small source, in all lanes. It is draw number

        (g + phase) // period * per_period + prior - before

    of its group in this stage. The first ``left_length`` of those walk through the group's piece of the leftover, the
    others through its segment of fresh passes.
    """

    start: int
    phase: int
    mixture: Mixture
    source: _Ints
    per_period: _Ints  # slots of the same group in a whole period
    prior: _Ints  # those of them earlier in the period
    before: _Ints  # draws before the stage by the same formula, which do not count
    left_start: _Ints
    left_length: _Ints
    first_pass: _Ints  # the first fresh pass
    segment_start: _Ints
    segment_length: _Ints
    num_rows: _Ints
    key: NDArray[np.uint64]  # of (seed, source)
    small: NDArray[np.bool_]  # of each source, (source,)
    leftover: Leftover | None  # None: nothing is left over
    drawn: _Ints  # of each source before the stage, (source,)

    def num_drawn(self, source: int, positions: _Ints) -> _Ints:
        """Return how many draws of a source come before some positions of this stage."""
        mine = np.concatenate([[0], np.cumsum(self.source == source)])
        periods, slots = np.divmod(np.append(positions, self.start) + self.phase, self.mixture.period)
        counts = periods * mine[-1] + mine[slots]
        return np.asarray(self.drawn[source] + counts[:-1] - counts[-1])

    def group_slots(self, slot: int) -> _Ints:
        """Return the slots of the same group as a slot, ascending."""
        source, num_lanes = self.source[slot], self.mixture.num_lanes
        if self.small[source]:
            return np.flatnonzero(self.source == source)
        lane = slot % num_lanes
        return np.flatnonzero(self.source[lane::num_lanes] == source) * num_lanes + lane


class StageSequence:
    """The tables of each stage, made when asked for: what is kept of a stage is where its passes stood.

    Args:
        sources: The sources.
        stages: At least one; the first starts at 0, each other after the one before it.
        seed: Of the order.
        batch: Samples of a batch, of which shares are counts; None: shares are slots.
        groups: The group of each source, of which each batch has a fixed count; None: it has one of each source.

    Raises:
        InputError: The stages are not in order, a stage does not begin with a batch, or its shares do not add up.
    """

    def __init__(
        self,
        sources: Sequence[SourceRows],
        stages: Sequence[Stage],
        *,
        seed: int,
        batch: int | None = None,
        groups: Sequence[int] | None = None,
    ) -> None:
        starts = [stage.start for stage in stages]
        if not starts or starts[0] != 0 or any(a >= b for a, b in pairwise(starts)):
            raise InputError(f"stages start at {starts}; the first starts at 0 and each other after the one before it")
        self._period, self._num_lanes = (SLOTS, LANES) if batch is None else (batch, batch)
        if batch is not None and groups is not None:
            self._period *= repeats_of(batch)
        self._groups = groups
        for start in starts:
            if batch is not None and start % batch:
                near = f"{start // batch * batch} or {-(-start // batch) * batch}"
                raise InputError(f"a composition from sample {start}, inside a batch of {batch}; choose {near}")
        self.starts = np.array(starts, dtype=np.int64)
        self._sources, self._stages, self._seed = sources, stages, seed
        self._made: dict[int, StageTables] = {}
        # The progress at some stages, those between are found from the one before; and at the stage last asked for.
        self._stride = -(-len(stages) // _KEPT_PROGRESS)
        self._progress = {0: Progress.at_start(len(sources))}
        self._last = 0, self._progress[0]
        self.tables(len(stages) - 1)

    def number_at(self, positions: _Ints | int) -> _Ints:
        """Return the number of the stage that each position lies in."""
        return np.asarray(np.searchsorted(self.starts, positions, side="right") - 1)

    def stop(self, number: int) -> int:
        """Return the first position after a stage."""
        return int(self.starts[number + 1]) if number + 1 < len(self.starts) else np.iinfo(np.int64).max

    def _progress_at(self, number: int) -> "Progress":
        known = max(kept for kept in self._progress if kept <= number)
        progress = self._progress[known]
        if known <= self._last[0] <= number:
            known, progress = self._last
        for before in range(known, number):
            progress = progress.after(self.tables(before), int(self.starts[before + 1]), self._sources)
            self._last = before + 1, progress
            if (before + 1) % self._stride == 0:
                self._progress[before + 1] = progress
        self._last = number, progress
        return progress

    def tables(self, number: int) -> StageTables:
        """Return the tables of a stage."""
        found = self._made.get(number)
        if found is None:
            stage = self._stages[number]
            if sum(stage.shares) != self._period or len(stage.shares) != len(self._sources) or min(stage.shares) < 0:
                raise InputError(f"the shares {list(stage.shares)} are not whole slots whose sum is {self._period}")
            shares = np.array(stage.shares, dtype=np.int64)
            mixture = spread(shares, num_lanes=self._num_lanes, groups=self._groups)
            found = self._progress_at(number).tables(stage.start, mixture, self._sources, seed=self._seed)
            if len(self._made) >= _KEPT_TABLES:
                self._made.pop(next(iter(self._made)))
            self._made[number] = found
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """How far the groups have come in the passes of each source, at the start of a stage.

    Attributes:
        drawn: Draws of each source, (source,).
        left: Of each source with segments, what is unvisited of begun passes, (pass, start, stop) each.
        next_pass: The first pass that was not begun, (source,).
        ahead: Draws of each source beyond its shares, times the period, (source,).
    """

    drawn: _Ints
    left: tuple[_Ints, ...]
    next_pass: _Ints
    ahead: _Ints

    @classmethod
    def at_start(cls, num_sources: int) -> "Progress":
        """Return the progress at position 0."""
        zeros = np.zeros(num_sources, dtype=np.int64)
        return cls(zeros, (np.empty((0, 3), dtype=np.int64),) * num_sources, zeros, zeros)

    def tables(self, start: int, mixture: Mixture, sources: Sequence[SourceRows], *, seed: int) -> StageTables:
        """Return the tables of a stage that begins here."""
        source, lane = mixture.slot_source, np.arange(mixture.period) % mixture.num_lanes
        num_rows, small = _sizes(sources, mixture.num_lanes)
        phase = _best_phase(mixture, start, self.ahead)
        before = _counts_before(mixture, start + phase)  # (lane, source)
        bounds = np.where(small, 0, _shared_out(num_rows, mixture))
        num_left = np.array([_total(left) for left in self.left], dtype=np.int64)
        left_bounds = _shared_out(num_left, mixture)
        left_starts = left_bounds[:-1] + np.cumsum(num_left) - num_left
        keys = hash64(seed, np.array([key_of(source.name) for source in sources], dtype=np.uint64))
        of_small = small[source]
        return StageTables(
            start=start,
            phase=phase,
            mixture=mixture,
            source=source,
            per_period=np.where(of_small, mixture.shares[source], mixture.lane_slots[lane, source]),
            prior=np.where(of_small, _prior_of_source(source), mixture.slot_prior),
            before=np.where(of_small, (before.sum(axis=0) - self.drawn)[source], before[lane, source]),
            left_start=left_starts[lane, source],
            left_length=np.diff(left_bounds, axis=0)[lane, source],
            first_pass=self.next_pass[source],
            segment_start=bounds[lane, source],
            segment_length=np.where(of_small, num_rows[source], np.diff(bounds, axis=0)[lane, source]),
            num_rows=num_rows[source],
            key=keys[source],
            small=small,
            leftover=Leftover.of(np.concatenate(self.left)),
            drawn=self.drawn,
        )

    def after(self, tables: StageTables, stop: int, sources: Sequence[SourceRows]) -> "Progress":
        """Return the progress where a stage ends that began here."""
        mixture = tables.mixture
        num_rows, small = _sizes(sources, mixture.num_lanes)
        drawn = _counts_before(mixture, stop + tables.phase) - _counts_before(mixture, tables.start + tables.phase)
        bounds = _shared_out(num_rows, mixture)
        left_bounds = _shared_out(np.array([_total(left) for left in self.left]), mixture)
        left, next_pass = list(self.left), self.next_pass.copy()
        for index in np.flatnonzero((mixture.shares > 0) & ~small).tolist():
            left[index], begun = _visit(
                left[index], int(next_pass[index]), drawn[:, index], left_bounds[:, index], bounds[:, index]
            )
            next_pass[index] += begun
        by_source = drawn.sum(axis=0)
        ahead = self.ahead + by_source * mixture.period - (stop - tables.start) * mixture.shares
        return Progress(self.drawn + by_source, tuple(left), next_pass, ahead)


def _visit(left: _Ints, next_pass: int, drawn: _Ints, left_bounds: _Ints, bounds: _Ints) -> tuple[_Ints, int]:
    """Take from a source's leftover and fresh passes what each lane drew, (lane,).

    Returns:
        What is left now, and how many fresh passes were begun.
    """
    from_left = np.minimum(drawn, np.diff(left_bounds))
    unvisited = [_sliced(left, left_bounds[:-1] + from_left, left_bounds[1:])]
    lengths = np.diff(bounds)
    passes, rest = np.divmod(drawn - from_left, np.maximum(lengths, 1))
    begun = int((passes + (rest > 0)).max())
    for number in range(int(passes[lengths > 0].min()), begun):
        offset = np.where(passes > number, lengths, np.where(passes == number, rest, 0))
        whole = np.full(len(lengths), next_pass + number)
        unvisited.append(np.stack([whole, bounds[:-1] + offset, bounds[1:]], axis=1))
    return _merged(np.concatenate(unvisited)), begun


def _sizes(sources: Sequence[SourceRows], num_lanes: int) -> tuple[_Ints, NDArray[np.bool_]]:
    """Return the rows of each source, and which are too small for segments, (source,) each."""
    num_rows = np.array([source.num_rows for source in sources], dtype=np.int64)
    return num_rows, num_rows < num_lanes * MIN_SEGMENT


def _total(intervals: _Ints) -> int:
    return int((intervals[:, 2] - intervals[:, 1]).sum())


def _prior_of_source(slot_source: _Ints) -> _Ints:
    """Return how many earlier slots of the period have the same source, (slot,)."""
    order = np.argsort(slot_source, kind="stable")
    prior = np.empty(len(slot_source), dtype=np.int64)
    prior[order] = np.arange(len(slot_source)) - np.searchsorted(slot_source[order], slot_source[order])
    return prior


def _shared_out(num_rows: _Ints, mixture: Mixture) -> _Ints:
    """Return where each lane's share of the rows of each source starts and ends, (lane + 1, source)."""
    before = np.zeros((mixture.num_lanes + 1, len(num_rows)), dtype=np.int64)
    np.cumsum(mixture.lane_slots, axis=0, out=before[1:])
    return np.asarray(num_rows * before // np.maximum(mixture.shares, 1))


def _counts_before(mixture: Mixture, slot: int) -> _Ints:
    """Return how many slots before ``slot``, counted from slot 0 of period 0, each lane and source has."""
    periods, rest = divmod(slot, mixture.period)
    num_lanes, num_sources = mixture.lane_slots.shape
    group = np.arange(rest) % num_lanes * num_sources + mixture.slot_source[:rest]
    counts = np.bincount(group, minlength=num_lanes * num_sources).reshape(num_lanes, num_sources)
    return np.asarray(periods * mixture.lane_slots + counts)


def _best_phase(mixture: Mixture, start: int, ahead: _Ints) -> int:
    """Return the multiple of the lanes, below the period, that leaves the largest deviation of a source smallest.

    With the slots shifted by the phase, a source is ``ahead`` plus the lattice's own deviation at any position minus
    that at the start of the stage; so the latter had best be what the source is ahead.
    """
    period = mixture.period
    phases = np.arange(0, period, mixture.num_lanes)
    places = (start + phases) % period  # (phase,)
    num_sources = len(mixture.shares)
    by_source = np.sort(mixture.slot_source * period + np.arange(period))
    first = np.cumsum(mixture.shares) - mixture.shares
    sought = np.arange(num_sources)[:, np.newaxis] * period + places
    counts = np.searchsorted(by_source, sought) - first[:, np.newaxis]  # (source, phase)
    deviation = counts * period - places * mixture.shares[:, np.newaxis]
    return int(phases[np.argmin(np.abs(ahead[:, np.newaxis] - deviation).max(axis=0))])


def _sliced(intervals: _Ints, starts: _Ints, stops: _Ints) -> _Ints:
    """Return the parts of concatenated intervals (pass, start, stop) that lie in any of [starts, stops)."""
    ends = np.cumsum(intervals[:, 2] - intervals[:, 1])
    begins = ends - (intervals[:, 2] - intervals[:, 1])
    parts = []
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        if start >= stop:
            continue
        first, last = np.searchsorted(ends, start, side="right"), np.searchsorted(begins, stop, side="left")
        cut = intervals[first:last].copy()
        cut[0, 1] += start - begins[first]
        cut[-1, 2] -= ends[last - 1] - stop
        parts.append(cut)
    return np.concatenate(parts) if parts else np.empty((0, 3), dtype=np.int64)


def _merged(intervals: _Ints) -> _Ints:
    """Return disjoint intervals (pass, start, stop) in order, those that touch as one, empty ones dropped."""
    intervals = intervals[intervals[:, 1] < intervals[:, 2]]
    intervals = intervals[np.lexsort((intervals[:, 1], intervals[:, 0]))]
    if not len(intervals):
        return intervals
    touches = (intervals[1:, 0] == intervals[:-1, 0]) & (intervals[1:, 1] == intervals[:-1, 2])
    first = np.flatnonzero(np.concatenate([[True], ~touches]))
    last = np.concatenate([first[1:] - 1, [len(intervals) - 1]])
    return np.stack([intervals[first, 0], intervals[first, 1], intervals[last, 2]], axis=1)
