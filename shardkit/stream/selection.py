"""What a view selects: recordings or events of them, what parts of each, and how often each part comes in a pass.

    items      r0  r3  r4                   recordings, or events of recordings
    parts      r0a r0b r3a r4a r4b r4c      sections of each item, where they are cut
    rows       r0a r0b r3a r3a r4a …        parts, some of them repeated: what a pass draws

Rows are not written out: what row number k is follows from running sums over the items.
"""

import hashlib
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from shardkit.core.cuts import Cut
from shardkit.core.kept import KeptParts
from shardkit.core.rows import MAX_FACTOR, UNIT, RowSpace
from shardkit.core.spans import Spans
from shardkit.core.turns import TurnSpace
from shardkit.format.index import PRIMARY
from shardkit.stream.catalog import Catalog
from shardkit.stream.columns import RowColumns

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Sections:
    """Sections of recordings, in samples at the stored rate: what rows of a view are; all arrays are (row,).

    ``events`` says which interval of the catalog each row is of, -1 where it is of a recording.
    """

    rows: _Ints
    starts: _Ints
    stops: _Ints
    events: _Ints


@dataclass(frozen=True, eq=False)
class Selection:
    """Items, their parts, and how often these come; all arrays but ``turns`` are (item,).

    Args:
        catalog: The dataset.
        items: The row of the catalog that each item is, or is an event of.
        spans: The events that items are; None: whole recordings.
        cut: How items are cut into parts; None: they are whole.
        kept: Which of the parts are rows; None: all.
        num_parts: How many parts of each item are rows, at least one; None: one.
        factors: How often each comes in a pass, in units of 1 / UNIT; None: once.
        turns: Items by value, and where those of each value end, for rows that are values; None: rows are parts.
    """

    catalog: Catalog
    items: _Ints
    _: KW_ONLY
    spans: Spans | None = None
    cut: Cut | None = None
    kept: KeptParts | None = None
    num_parts: _Ints | None = None
    factors: _Ints | None = None
    turns: tuple[_Ints, _Ints] | None = None

    def __post_init__(self) -> None:
        _ = self.space  # so that too many rows are told of where they are asked for

    @cached_property
    def space(self) -> RowSpace | TurnSpace:
        """The rows of a pass."""
        if self.turns is not None:
            return TurnSpace(*self.turns, self.num_parts)
        return RowSpace(len(self.items), self.num_parts, self.factors)

    @property
    def columns(self) -> RowColumns:
        """The columns of the index, as the items see them."""
        return RowColumns(self.catalog, self.items, self.spans)

    @property
    def lengths(self) -> _Ints:
        """Samples of each item, (item,)."""
        return self.catalog.fields[PRIMARY].frames[self.items] if self.spans is None else self.spans.lengths

    @property
    def rates(self) -> _Ints:
        """Stored rate of each item, in Hz, at least 1, (item,)."""
        return np.maximum(self.catalog.fields[PRIMARY].sample_rate[self.items], 1)

    @property
    def mass(self) -> NDArray[np.float64]:
        """How many rows of a pass each item is, (item,)."""
        mass = np.ones(len(self.items)) if self.num_parts is None else self.num_parts.astype(np.float64)
        return mass if self.factors is None else mass * (self.factors / UNIT)

    def changed(self, **values: Any) -> Self:
        """Return the selection with some parts replaced."""
        return replace(self, **values)

    def take(self, index: _Ints) -> Self:
        """Return that of some of the items."""
        return replace(
            self,
            items=self.items[index],
            spans=None if self.spans is None else self.spans.take(index),
            kept=None if self.kept is None else self.kept.take(index),
            num_parts=None if self.num_parts is None else self.num_parts[index],
            factors=None if self.factors is None else self.factors[index],
        )

    def repeated(self, times: NDArray[np.float64]) -> Self:
        """Return it with each item so many times as often, (item,)."""
        before = 1.0 if self.factors is None else self.factors / UNIT
        factors = np.rint(np.clip(before * times, 1 / UNIT, MAX_FACTOR) * UNIT).astype(np.int64)
        return replace(self, factors=factors)

    def sections(self, rows: _Ints, *, passes: _Ints, key: int) -> Sections:
        """Return what rows are; see ``View.sections``."""
        items, parts = self.space.locate(rows, passes=passes, key=key)
        if self.kept is not None:
            parts = self.kept.parts(items, parts)
        found, audio = self.items[items], self.catalog.fields[PRIMARY]
        if self.spans is None:
            begins, lengths, events = np.zeros_like(found), audio.frames[found], np.full_like(found, -1)
        else:
            spans = self.spans.take(items)
            begins, lengths, events = spans.starts, spans.lengths, spans.numbers
        if self.cut is None or self.num_parts is None:
            return Sections(found, begins, begins + lengths, events)
        # ``take`` may have dropped sections of the last item, whose bounds must not move.
        rates = audio.sample_rate[found]
        num_parts = self.cut.num_parts(lengths, rates)
        starts, stops = self.cut.bounds(parts, num_parts=num_parts, frames=lengths, sample_rate=rates)
        return Sections(found, begins + starts, begins + stops, events)

    def longest_s(self) -> float:
        """Return the length of the longest part, in seconds; 0 where there is none."""
        if not len(self.items):
            return 0.0
        lengths, rates = self.lengths, self.rates
        if self.cut is None:
            return float((lengths / rates).max())
        # The first section of an item is one of its longest, but slots differ by a sample: then the last may be.
        num_parts = self.cut.num_parts(lengths, rates)
        found = [
            np.subtract(*self.cut.bounds(part, num_parts=num_parts, frames=lengths, sample_rate=rates)[::-1])
            for part in (np.zeros_like(lengths), num_parts - 1)
        ]
        return float((np.maximum(*found) / rates).max())

    def digest(self) -> str:
        """Return a short hash of what is selected of the catalog."""
        found = hashlib.blake2b(np.ascontiguousarray(self.items, dtype="<i8").tobytes(), digest_size=8)
        kept = () if self.kept is None else (self.kept.num_runs, self.kept.firsts, self.kept.counts)
        spans = () if self.spans is None else (self.spans.numbers, self.spans.starts, self.spans.stops)
        for array in (self.num_parts, self.factors, *kept, *(self.turns or ()), *spans):
            if array is not None:
                found.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
        if self.cut is not None:
            found.update(repr(self.cut).encode())
        return found.hexdigest()
