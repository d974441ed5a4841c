"""The order of a stream: position g determines source, pass and row by arithmetic, so a stream's state is g alone.

A position g of the mixed order falls on slot g mod SLOTS of period ⌊g / SLOTS⌋; the slot gives its source
(mixture.py) and its lane, g mod LANES. A source's pass is cut into one segment a lane, in proportion to the lane's
slots, and the lane walks through its segment again and again:

    pass of source s:   |--- lane 0 ---|--- lane 1 ---| … |--- lane 63 ---|      num_rows(s) positions
    draw number c of (lane, source):      pass c // length,  position start + c % length

c itself is closed form: ⌊g / SLOTS⌋ · (slots of s in the lane) + (those before this slot). So each lane visits each
row of its segment once a pass, all lanes together visit each row of the source once, and no step depends on g's size,
on other positions or on who asks. Where some lane's segment would be empty, every lane walks the whole pass instead,
under a permutation of its own.

Everything here is exact int64 arithmetic; the tests freeze the result (tests/core/golden_order.json).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from shardkit.core.errors import InputError
from shardkit.core.mixture import LANES, SLOTS, Mixture, mix
from shardkit.core.permutation import permute, permute_blocks
from shardkit.core.random import check_seed, hash64, hash_int, key_of

# Part of a stream's fingerprint: raised whenever any stream's sequence changes (an ORDER entry in the changelog).
ORDER_VERSION = 1

MAX_ROWS = 2**50  # so that num_rows · SLOTS and all draw counts fit int64
_CHUNK = 2**14  # positions computed at once: the temporaries then stay in the L2 cache, which halves the time

_LANE_SHIFT = LANES.bit_length() - 1
_SLOT_SHIFT = SLOTS.bit_length() - 1

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shuffle:
    """How the rows of a pass are permuted.

    Attributes:
        kind: ``full`` permutes all rows; ``block`` permutes blocks of neighbouring rows, then the rows within each
            window of blocks, so that what is drawn next lies together on storage; ``none`` leaves rows as packed.
        block_rows: Rows of a block, for ``block``.
        window_blocks: Blocks of a window, for ``block``.

    Raises:
        InputError: An unknown kind, or a size below one.
    """

    kind: Literal["full", "block", "none"] = "full"
    block_rows: int = 64
    window_blocks: int = 16

    def __post_init__(self) -> None:
        if self.kind not in ("full", "block", "none"):
            raise InputError(f"shuffle kind {self.kind!r} is unknown; choose full, block or none")
        for name, value in (("block_rows", self.block_rows), ("window_blocks", self.window_blocks)):
            if not isinstance(value, int) or not 1 <= value <= 2**20:
                raise InputError(f"shuffle {name} {value!r} is not an integer from 1 to 2^20; 64 and 16 are usual")

    def rows(self, offsets: _Ints, *, num_rows: _Ints, keys: NDArray[np.uint64]) -> _Ints:
        """Return the rows at these offsets of a pass.

        Args:
            offsets: Places in the pass, 0 <= offset < num_rows.
            num_rows: Rows of the pass; of the shape of ``offsets``, or (1,).
            keys: Keys of the pass; of the shape of ``offsets``, or (1,).

        Returns:
            For fixed num_rows and key, a permutation of [0, num_rows).
        """
        if self.kind == "none":
            return offsets
        if self.kind == "full":
            return permute(offsets, num_rows, keys)
        return permute_blocks(offsets, num_rows, keys, block_rows=self.block_rows, window_blocks=self.window_blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRows:
    """A source as the order sees it: a name, a number of rows and a weight."""

    name: str
    num_rows: int
    weight: float = 1.0


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


@dataclass(frozen=True, slots=True, eq=False)
class MixedOrder:
    """The endless mixed order of some sources.

    Args:
        sources: The sources; their names and order, row counts and weights all shape the order.
        seed: Any integer in [0, 2^63).
        shuffle: How the rows of a pass are permuted.

    Raises:
        InputError: A source is empty or named twice, the weights can't be apportioned, or the seed is out of range.
    """

    sources: Sequence[SourceRows]
    _: KW_ONLY
    seed: int
    shuffle: Shuffle = field(default_factory=Shuffle)
    mixture: Mixture = field(init=False, repr=False)
    _slots: "_SlotTables" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(self.sources))
        names = _checked_names(self.sources)
        mixture = mix(names, [source.weight for source in self.sources])
        object.__setattr__(self, "mixture", mixture)
        object.__setattr__(self, "_slots", _slot_tables(self.sources, mixture, check_seed(self.seed)))

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

    def _draw(self, positions: _Ints) -> tuple[_Ints, _Ints, _Ints]:
        tables = self._slots
        slot = positions & (SLOTS - 1)
        sources = tables.source[slot]
        count = (positions >> _SLOT_SHIFT) * tables.per_period[slot] + tables.prior[slot]
        passes, offset = np.divmod(count, tables.length[slot])
        offset += tables.start[slot]
        num_rows = tables.num_rows[slot]
        if tables.any_walks:  # a walk starts at its lane's own share of the rows and wraps around
            offset -= num_rows * (offset >= num_rows)
        if self.shuffle.kind == "none":
            return sources, passes, offset
        keys = hash64(tables.key[slot], passes)
        return sources, passes, self.shuffle.rows(offset, num_rows=num_rows, keys=keys)


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

    def _draw(self, positions: _Ints) -> tuple[_Ints, _Ints, _Ints]:
        shortest, num_longer = divmod(self.num_rows, LANES)
        lane = positions & (LANES - 1)
        index = lane * shortest + np.minimum(lane, num_longer) + (positions >> _LANE_SHIFT)
        keys, num_rows = np.array([self._key], dtype=np.uint64), np.array([self.num_rows], dtype=np.int64)
        index = self.shuffle.rows(index, num_rows=num_rows, keys=keys)
        sources = np.searchsorted(self._bounds, index, side="right") - 1
        return sources, np.zeros_like(index), index - self._bounds[sources]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _SlotTables:
    """Everything a draw needs to know about its slot, (slot,): one gather each instead of one by lane and source."""

    source: _Ints
    prior: _Ints  # slots of the same lane and source earlier in the period
    per_period: _Ints  # slots of the same lane and source in a whole period
    start: _Ints  # where the lane's segment of the pass starts
    length: _Ints  # rows of the segment, or of the source where each lane walks it all
    num_rows: _Ints
    key: NDArray[np.uint64]  # of (seed, source), and of the lane too where each lane walks it all
    any_walks: bool


def _slot_tables(sources: Sequence[SourceRows], mixture: Mixture, seed: int) -> _SlotTables:
    num_rows = np.array([source.num_rows for source in sources], dtype=np.int64)
    before = np.zeros((LANES + 1, len(sources)), dtype=np.int64)
    np.cumsum(mixture.lane_slots, axis=0, out=before[1:])
    bounds = num_rows * before // np.maximum(mixture.shares, 1)  # (lane + 1, source)
    lengths = np.diff(bounds, axis=0)
    walks = (num_rows < LANES) | ((lengths == 0) & (mixture.lane_slots > 0)).any(axis=0)
    lengths = np.where(walks, num_rows, lengths)
    source_keys = hash64(seed, np.array([key_of(source.name) for source in sources], dtype=np.uint64))
    lane_keys = hash64(source_keys, np.arange(LANES)[:, np.newaxis])
    keys = np.where(walks, lane_keys, source_keys)
    source, lane = mixture.slot_source, np.arange(SLOTS) % LANES
    return _SlotTables(
        source=source,
        prior=mixture.slot_prior,
        per_period=mixture.lane_slots[lane, source],
        start=bounds[lane, source],
        length=lengths[lane, source],
        num_rows=num_rows[source],
        key=keys[lane, source],
        any_walks=bool(walks.any()),
    )


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
