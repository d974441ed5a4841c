"""The order of a stream: position g determines source, pass and row by arithmetic, so a stream's state is g alone.

A position g of the mixed order falls on slot g mod SLOTS of period ⌊g / SLOTS⌋; the slot gives its source
(mixture.py) and its lane, g mod LANES. A source's pass is cut into one segment a lane, in proportion to the lane's
slots, and the lane walks through its segment again and again:

    pass of source s:   |--- lane 0 ---|--- lane 1 ---| … |--- lane 63 ---|      num_rows(s) positions
    draw number c of (lane, source):      pass c // length,  position start + c % length

c itself is closed form: ⌊g / SLOTS⌋ · (slots of s in the lane) + (those before this slot). So each lane visits each
row of its segment once a pass, all lanes together visit each row of the source once, and no step depends on g's size,
on other positions or on who asks. A source of less than MIN_SEGMENT rows a lane is not cut: c then counts its draws
in all lanes, which walk through its passes together, and a shuffle by blocks is a full one for it. Where weights
change on the way, stages.py says what goes on. Where batches have a fixed composition, a period is a batch or, where
that counts groups of sources, some batches; and each sample of a batch is a lane: all this with those in place of SLOTS
and LANES.

Everything here is exact int64 arithmetic; the tests freeze the result (tests/core/golden_order.json).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shardkit.core.distinct import distinct
from shardkit.core.errors import InputError
from shardkit.core.mixture import LANES, Mixture, apportion
from shardkit.core.random import check_seed, hash64, hash_int, key_of, uniform
from shardkit.core.shuffle import Shuffle
from shardkit.core.stages import SourceRows, Stage, StageSequence, StageTables

# Part of a stream's fingerprint: raised whenever any stream's sequence changes (an ORDER entry in the changelog).
ORDER_VERSION = 2

MAX_ROWS = 2**50  # so that num_rows · SLOTS and all draw counts fit int64
_CHUNK = 2**14  # positions computed at once: the temporaries then stay in the L2 cache, which halves the time

_LANE_SHIFT = LANES.bit_length() - 1
_FULL = Shuffle()

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draws:
    """What is drawn at some positions; all arrays are (draw,) and int64.

    Attributes:
        positions: The positions asked for.
        sources: Index of the source each draw is from.
        passes: How many times the draw's lane has been through its rows of that source before.
        rows: Row of the source.
    """

    positions: _Ints
    sources: _Ints
    passes: _Ints
    rows: _Ints

    def __len__(self) -> int:
        return len(self.positions)


class Order(Protocol):
    """What maps positions to draws: ``MixedOrder`` or ``OnePassOrder``."""

    def draws(self, positions: _Ints) -> Draws:
        """Return the draws at these positions, in the order given."""

    def neighbours(self, position: int) -> _Ints:
        """Return the positions, this one among them, whose rows lie near its row because the shuffle kept them so."""


@dataclass(frozen=True, slots=True, eq=False)
class MixedOrder:
    """The endless mixed order of some sources.

    Args:
        sources: The sources; their names and order, row counts and weights all shape the order.
        seed: Any integer in [0, 2^63).
        shuffle: How the rows of a pass are permuted.
        stages: The shares of the sources from certain positions on; None: those of the sources' weights, always.
        batch: Samples of a batch of fixed composition: the shares of ``stages`` are then counts that add up to it.
            None: they are slots.
        groups: Where a batch has counts of groups of sources, the group of each source, numbered from 0: the shares
            are then slots of ``mixture.repeats_of(batch)`` batches.

    Raises:
        InputError: A source is empty or named twice, the weights can't be apportioned, counts do not add up, or the
            seed is out of range.
    """

    sources: Sequence[SourceRows]
    _: KW_ONLY
    seed: int
    shuffle: Shuffle = field(default_factory=Shuffle)
    stages: Sequence[Stage] | None = None
    batch: int | None = None
    groups: Sequence[int] | None = None
    _steady: NDArray[np.bool_] = field(init=False, repr=False)
    _sequence: StageSequence = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(self.sources))
        names = _checked_names(self.sources)
        stages = self.stages
        if stages is None:
            shares = apportion(names, [source.weight for source in self.sources])
            stages = [Stage(0, tuple(shares.tolist()))]
        object.__setattr__(self, "stages", tuple(stages))
        object.__setattr__(self, "_steady", np.array([source.steady for source in self.sources]))
        sequence = StageSequence(self.sources, stages, seed=check_seed(self.seed), batch=self.batch, groups=self.groups)
        object.__setattr__(self, "_sequence", sequence)

    @property
    def mixture(self) -> Mixture:
        """The slots of the first stage."""
        return self._sequence.tables(0).mixture

    def draws(self, positions: _Ints) -> Draws:
        """Return the draws at these positions, in the order given.

        Args:
            positions: Any positions g >= 0, (draw,), in any order, with or without repeats.

        Returns:
            One draw for each position.

        Raises:
            InputError: The positions are not a one-dimensional array of integers of at least 0.
        """
        return _in_chunks(self._draw, _checked_positions(positions))

    def neighbours(self, position: int) -> _Ints:
        """Return the positions whose rows lie near this one's: of the same window of the same pass, in one group."""
        number = int(self._sequence.number_at(position))
        tables = self._sequence.tables(number)
        period, slot = divmod(position + tables.phase, tables.mixture.period)
        count = period * int(tables.per_period[slot]) + int(tables.prior[slot] - tables.before[slot])
        fresh = count - int(tables.left_length[slot])
        source = tables.source[slot]
        alone = self._steady[source] or self._shuffle_of(bool(tables.small[source])).kind == "full"
        if fresh < 0 or alone:
            return np.array([position])
        number_of_pass, offset = divmod(fresh, int(tables.segment_length[slot]))
        start = int(tables.segment_start[slot])
        first, last = self.shuffle.window(
            start + offset,
            segment=(start, start + int(tables.segment_length[slot])),
            num_rows=int(tables.num_rows[slot]),
            key=np.uint64(hash64(tables.key[slot], number_of_pass + int(tables.first_pass[slot]))),
        )
        count -= start + offset  # of place 0 of the pass
        counts = np.arange(count + first, count + last, dtype=np.int64) + tables.before[slot]
        periods, place = np.divmod(counts, tables.per_period[slot])
        positions = periods * tables.mixture.period + tables.group_slots(slot)[place] - tables.phase
        return np.asarray(positions[(positions >= tables.start) & (positions < self._sequence.stop(number))])

    def num_drawn(self, source: int, positions: _Ints) -> _Ints:
        """Return how many draws of a source come before each of some positions, (draw,)."""
        number = self._sequence.number_at(positions)
        found = np.zeros(len(positions), dtype=np.int64)
        for index in distinct(number):
            mine = number == index
            found[mine] = self._sequence.tables(index).num_drawn(source, positions[mine])
        return found

    def _draw(self, positions: _Ints) -> tuple[_Ints, _Ints, _Ints]:
        if len(self._sequence.starts) == 1:
            return self._draw_in_stage(self._sequence.tables(0), positions)
        number = self._sequence.number_at(positions)
        drawn = np.empty((3, len(positions)), dtype=np.int64)
        for index in distinct(number):
            mine = number == index
            drawn[:, mine] = self._draw_in_stage(self._sequence.tables(index), positions[mine])
        return drawn[0], drawn[1], drawn[2]

    def _draw_in_stage(self, tables: StageTables, positions: _Ints) -> tuple[_Ints, _Ints, _Ints]:
        shifted = positions + tables.phase
        periods = shifted // tables.mixture.period
        slot = shifted - periods * tables.mixture.period
        sources = tables.source[slot]
        count = periods * tables.per_period[slot] + tables.prior[slot] - tables.before[slot]
        fresh = count - tables.left_length[slot]
        passes, offset = np.divmod(fresh, tables.segment_length[slot])
        passes += tables.first_pass[slot]
        offset += tables.segment_start[slot]
        if tables.leftover is not None:
            left = np.flatnonzero(fresh < 0)
            passes[left], offset[left] = tables.leftover.places((tables.left_start[slot] + count)[left])
        if self.shuffle.kind == "none":
            return sources, passes, offset
        keys, num_rows = hash64(tables.key[slot], passes), tables.num_rows[slot]
        small = tables.small[sources]
        rows = np.empty_like(offset)
        for of_small in (False, True):
            mine = np.flatnonzero(small == of_small)
            if len(mine):
                shuffle = self._shuffle_of(of_small)
                rows[mine] = shuffle.rows(offset[mine], num_rows=num_rows[mine], keys=keys[mine])
        if self._steady.any():
            rows = np.where(self._steady[sources], offset, rows)
        return sources, passes, rows

    def _shuffle_of(self, small: bool) -> Shuffle:
        """Return the shuffle of small sources or of the others: blocks that no lanes divide would come one by one."""
        return _FULL if small and self.shuffle.kind == "block" else self.shuffle


@dataclass(frozen=True, slots=True, eq=False)
class OnePassOrder:
    """Each row of the union of some sources exactly once, at positions g < num_rows.

    The rows of all sources, one source after the other, are cut into LANES segments that differ by at most one row,
    the longer first; position g is row g // LANES of the segment g mod LANES. Weights are ignored.

    Args:
        sources: The sources.
        seed: Any integer in [0, 2^63).
        shuffle: How the rows of the union are permuted before they are cut; ``none`` leaves segments contiguous.

    Raises:
        InputError: A source is empty or named twice, or the seed is out of range.
    """

    sources: Sequence[SourceRows]
    _: KW_ONLY
    seed: int
    shuffle: Shuffle = field(default_factory=Shuffle)
    num_rows: int = field(init=False)
    _bounds: _Ints = field(init=False, repr=False)
    _key: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(self.sources))
        names = _checked_names(self.sources)
        bounds = np.cumsum([0, *(source.num_rows for source in self.sources)], dtype=np.int64)
        key = hash_int(check_seed(self.seed), key_of("one pass"), *(key_of(name) for name in names))
        object.__setattr__(self, "num_rows", int(bounds[-1]))
        object.__setattr__(self, "_bounds", bounds)
        object.__setattr__(self, "_key", key)

    def draws(self, positions: _Ints) -> Draws:
        """Return the draws at these positions, in the order given.

        Args:
            positions: Positions 0 <= g < num_rows, (draw,), in any order, with or without repeats.

        Returns:
            One draw for each position; ``passes`` is zero.

        Raises:
            InputError: The positions are not such an array.
        """
        positions = _checked_positions(positions)
        if positions.size and positions.max() >= self.num_rows:
            raise InputError(f"position {positions.max()} is past the end of one pass over {self.num_rows} rows")
        return _in_chunks(self._draw, positions)

    def neighbours(self, position: int) -> _Ints:
        """Return the positions whose rows lie near this one's: of the same window, in one lane."""
        if self.shuffle.kind == "full":
            return np.array([position])
        shortest, num_longer = divmod(self.num_rows, LANES)
        lane, index = position % LANES, position // LANES
        start, length = lane * shortest + min(lane, num_longer), shortest + (lane < num_longer)
        first, last = self.shuffle.window(
            start + index, segment=(start, start + length), num_rows=self.num_rows, key=np.uint64(self._key)
        )
        return np.arange(first - start, last - start, dtype=np.int64) * LANES + lane

    def _draw(self, positions: _Ints) -> tuple[_Ints, _Ints, _Ints]:
        shortest, num_longer = divmod(self.num_rows, LANES)
        lane = positions & (LANES - 1)
        index = lane * shortest + np.minimum(lane, num_longer) + (positions >> _LANE_SHIFT)
        keys, num_rows = np.array([self._key], dtype=np.uint64), np.array([self.num_rows], dtype=np.int64)
        index = self.shuffle.rows(index, num_rows=num_rows, keys=keys)
        sources = np.searchsorted(self._bounds, index, side="right") - 1
        return sources, np.zeros_like(index), index - self._bounds[sources]


def substitute_rows(seed: int, positions: _Ints, num_rows: _Ints, *, attempt: int) -> _Ints:
    """Return the rows that take the place of rows that can't be read: a function of position and attempt.

    Args:
        seed: Of the stream.
        positions: Positions of the draws, (draw,).
        num_rows: Rows of the source of each draw, (draw,): a substitute comes from the same source.
        attempt: 1 for the first substitute, 2 for what takes its place in turn.

    Returns:
        Rows, each equally likely, (draw,).
    """
    chances = uniform(seed, positions, "substitute", attempt)
    return np.minimum((chances * num_rows).astype(np.int64), num_rows - 1)


def _checked_names(sources: Sequence[SourceRows]) -> list[str]:
    names = [source.name for source in sources]
    if not names:
        raise InputError("a stream needs at least one source")
    for source in sources:
        if source.num_rows < 1:
            raise InputError(f"the source {source.name!r} has no rows; drop it or loosen its filter")
        if source.num_rows > MAX_ROWS:
            raise InputError(f"the source {source.name!r} has {source.num_rows} rows, more than 2^50")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise InputError(f"{times} sources are named {name!r}; names must differ, as they seed the order")
    return names


def _checked_positions(positions: _Ints) -> _Ints:
    positions = np.asarray(positions)
    if positions.ndim != 1 or positions.dtype.kind not in "iu":
        raise InputError(f"positions are a 1-D array of integers, not {positions.ndim}-D of {positions.dtype}")
    positions = positions.astype(np.int64, copy=False)
    if positions.size and positions.min() < 0:
        raise InputError(f"position {positions.min()} is negative; positions count from 0")
    return positions


def _in_chunks(draw: Callable[[_Ints], tuple[_Ints, _Ints, _Ints]], positions: _Ints) -> Draws:
    if len(positions) <= _CHUNK:
        sources, passes, rows = draw(positions)
        return Draws(positions=positions, sources=sources, passes=passes, rows=rows)
    drawn = np.empty((3, len(positions)), dtype=np.int64)
    for start in range(0, len(positions), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        drawn[0, chunk], drawn[1, chunk], drawn[2, chunk] = draw(positions[chunk])
    return Draws(positions=positions, sources=drawn[0], passes=drawn[1], rows=drawn[2])
