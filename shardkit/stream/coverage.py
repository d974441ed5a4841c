"""Which values of a column a stream draws between two positions, on all ranks: counted from the plan, no bytes read."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shardkit.core.errors import InputError
from shardkit.stream.balance import values_of
from shardkit.stream.columns import event_names
from shardkit.stream.plan import Drawn
from shardkit.stream.sources import Source
from shardkit.stream.targets import class_of

_Ints = NDArray[np.int64]
_POSITIONS_AT_ONCE = 2**18


@dataclass(frozen=True)
class Coverage:
    """How often each value of a column is drawn at positions [start, stop), by all ranks together.

    Attributes:
        column: The column.
        start: The first position.
        stop: The position after the last.
        by_source: Draws of each value that a source's view has, those of no draws among them.
    """

    column: str
    start: int
    stop: int
    by_source: dict[str, dict[str, int]]

    @cached_property
    def counts(self) -> dict[str, int]:
        """Draws of each value by all sources, in alphabetical order."""
        names = sorted({name for counts in self.by_source.values() for name in counts})
        return {name: sum(counts.get(name, 0) for counts in self.by_source.values()) for name in names}

    @property
    def missing(self) -> tuple[str, ...]:
        """The values that are not drawn."""
        return tuple(name for name, count in self.counts.items() if not count)

    def apart(self) -> "Coverage":
        """Return the same with the values of each source as values of their own, ``SOURCE/VALUE``."""
        return replace(
            self,
            by_source={
                source: {class_of(source, value): count for value, count in counts.items()}
                for source, counts in self.by_source.items()
            },
        )

    def __str__(self) -> str:
        found, missing = len(self.counts) - len(self.missing), self.missing
        some = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        rest = f"; not {some}" if missing else ""
        return f"{self.column}: {found} of {len(self.counts)} drawn from {self.start:,} to {self.stop:,}{rest}"


def coverage_of(
    sources: Sequence[Source],
    recordings: Callable[[_Ints], Drawn],
    column: str,
    *,
    start: int,
    stop: int,
) -> Coverage:
    """Return the coverage between two positions.

    Args:
        sources: Of the stream.
        recordings: Returns what is drawn at each position.
        column: A column of the index; a source without it counts nothing.
        start: The first position.
        stop: The position after the last.

    Raises:
        InputError: No source has the column, or its values can't be counted.
    """
    hits = [np.zeros(_num_items(source), dtype=np.int64) for source in sources]
    for positions in _chunks(start, stop):
        drawn = recordings(positions)
        for index, counted in enumerate(hits):
            # A hard example may be an event in a source of recordings, but no recording in one of events.
            items = (drawn.events if sources[index].view.of_events else drawn.rows)[drawn.sources == index]
            np.add.at(counted, items[items >= 0], 1)
    known = [column in source.view.selection.columns.column_names for source in sources]
    found = {}
    for source, counted, has in zip(sources, hits, known, strict=True):
        if not has and any(known):
            continue
        chosen = source.view.selection
        values = values_of(chosen.columns, column, "coverage").without_none()
        drawn_items = counted[chosen.items if chosen.spans is None else chosen.spans.numbers]
        totals = np.bincount(values.codes, weights=drawn_items[values.rows], minlength=len(values.names))
        there = np.flatnonzero(np.bincount(values.codes, minlength=len(values.names)))
        found[source.name] = {str(values.names[code]): int(totals[code]) for code in there.tolist()}
    return Coverage(column, start, stop, found)


def _num_items(source: Source) -> int:
    """Return how many different recordings, or events, a source could draw."""
    return len(event_names(source.catalog)) if source.view.of_events else len(source.catalog.table)


def check_range(start: int, stop: int, *, end: int | None) -> tuple[int, int]:
    """Return the positions from start to stop that there are.

    Raises:
        InputError: There are none.
    """
    stop = stop if end is None else min(stop, end)
    if not 0 <= start < stop:
        raise InputError(f"coverage from {start} to {stop}: no position lies there; give start and stop")
    return start, stop


def _chunks(start: int, stop: int) -> Iterator[_Ints]:
    for first in range(start, stop, _POSITIONS_AT_ONCE):
        yield np.arange(first, min(first + _POSITIONS_AT_ONCE, stop), dtype=np.int64)
