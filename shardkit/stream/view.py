"""Views: which recordings of a dataset, which parts of them, and how often each comes in a pass."""

import difflib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shardkit.core.checks import checked_whole, is_number
from shardkit.core.content import Content
from shardkit.core.crops import check_content
from shardkit.core.cuts import Cut, Slots, Windows
from shardkit.core.errors import InputError
from shardkit.core.kept import KeptParts, kept_windows
from shardkit.core.rows import MAX_FACTOR, UNIT, RowSpace
from shardkit.core.turns import TurnSpace
from shardkit.format.index import PRIMARY
from shardkit.format.manifest import Manifest
from shardkit.stream.balance import SEVERAL, Several, repeat_factors, values_of
from shardkit.stream.catalog import Catalog
from shardkit.stream.query import matching_rows
from shardkit.stream.sample import Sample, read_sample, read_section
from shardkit.stream.targets import IntervalRows

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Sections:
    """Sections of recordings, in samples at the stored rate: what rows of a view are; all arrays are (row,)."""

    rows: _Ints
    starts: _Ints
    stops: _Ints


class View:
    """A selection of rows of a dataset, in order. Views are values: narrowing one returns another.

    A row is a recording; after ``windows`` or ``draws`` it is a section of one, and after ``repeat`` or ``balance``
    a recording may be several rows; after ``each`` a row is a value of a column. ``len`` counts rows: what a stream
    draws in one pass. Nothing is written out: a view takes a few bytes for each recording, however many rows there are.

    Attributes:
        catalog: The dataset behind it.
        rows: The recordings: row numbers in the catalog, (recording,) int64.
        cut: How recordings are cut into sections; None: they are whole.
        kept: Which of the sections are rows; None: all.
    """

    def __init__(
        self,
        catalog: Catalog,
        rows: _Ints,
        *,
        cut: Cut | None = None,
        kept: KeptParts | None = None,
        num_parts: _Ints | None = None,
        factors: _Ints | None = None,
        turns: tuple[_Ints, _Ints] | None = None,
    ) -> None:
        self.catalog = catalog
        self.rows = rows
        self.cut = cut
        self.kept = kept
        self._num_parts = num_parts
        self._factors = factors
        self._space: RowSpace | TurnSpace
        if turns is None:
            self._space = RowSpace(len(rows), num_parts, factors)
        else:
            self._space = TurnSpace(*turns, num_parts)

    def __len__(self) -> int:
        return self._space.num_rows

    def __iter__(self) -> Iterator[Sample]:
        """Yield every row of the first pass as a sample."""
        for row in range(len(self)):
            section = self.sections(np.array([row]), passes=np.zeros(1, dtype=np.int64), key=0)
            start, stop = int(section.starts[0]), int(section.stops[0])
            yield read_section(self.catalog, int(section.rows[0]), start, stop)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._find(key) is not None

    def __getitem__(self, key: str) -> Sample:
        """Return a whole sample.

        Raises:
            InputError: No such key in this view; also a KeyError.
            AudioError, CorruptDataError, StorageError: It can't be read; the message says where.
        """
        return self.read(key)

    def __repr__(self) -> str:
        splits = ", ".join(self.catalog.splits)
        rows = "" if len(self) == len(self.rows) else f"{len(self):,} rows of "
        return f"<{type(self).__name__} of {self.catalog.location} ({splits}): {rows}{len(self.rows):,} samples>"

    @property
    def manifest(self) -> Manifest:
        """The dataset's manifest: totals, splits, labels, fields, columns."""
        return self.catalog.manifest

    @property
    def labels(self) -> tuple[str, ...]:
        """The dataset's label vocabulary, in the order of the classes."""
        return self.catalog.manifest.labels

    @property
    def info(self) -> dict[str, Any]:
        """What there is: name, place, splits, samples, rows, seconds, labels, fields, columns; plain JSON values.

        Where the dataset holds features in place of recordings, ``features`` says what they are; else it is None.

        ``shardkit info`` tells more, for which it goes through the index.
        """
        manifest = self.manifest
        return {
            "name": manifest.name,
            "location": str(self.catalog.location),
            "splits": list(self.catalog.splits),
            "samples": len(self.rows),
            "rows": len(self),
            "duration_s": round(self.duration_s, 6),
            "labels": list(manifest.labels),
            "interval_names": list(manifest.interval_names),
            "fields": {name: field.kind for name, field in manifest.fields.items()},
            "columns": dict(manifest.columns),
            "features": None if manifest.features is None else manifest.features.model_dump(mode="json"),
        }

    @property
    def steady(self) -> bool:
        """Whether rows come in the same order in each pass: after ``each``."""
        return isinstance(self._space, TurnSpace)

    @cached_property
    def duration_s(self) -> float:
        """Seconds of primary audio in the view's recordings, each counted once and whole."""
        audio = self.catalog.fields[PRIMARY]
        rates = np.maximum(audio.sample_rate[self.rows], 1)
        return float((audio.frames[self.rows] / rates).sum())

    def keys(self) -> list[str]:
        """Return the keys of the recordings, in the view's order."""
        return self.catalog.table.column("key").take(pa.array(self.rows)).to_pylist()  # type: ignore[no-any-return]

    def table(self) -> pa.Table:
        """Return the index rows of the view's recordings as an Arrow table.

        After ``windows`` or ``draws``, a column ``rows`` says into how many sections each is cut; after ``repeat`` or
        ``balance``, a column ``repeats`` says how often each comes in a pass.
        """
        table = self.catalog.table.take(pa.array(self.rows))
        if self._num_parts is not None:
            table = table.append_column("rows", pa.array(self._num_parts))
        if self._factors is not None:
            table = table.append_column("repeats", pa.array(self._factors / UNIT))
        return table

    def sections(self, rows: _Ints, *, passes: _Ints, key: int) -> Sections:
        """Return what rows of the view are.

        Args:
            rows: Row numbers, 0 <= row < len(self), (row,).
            passes: The pass of each: repeat factors that are not whole repeat other rows in each pass.
            key: Of the source in its stream.
        """
        recordings, parts = self._space.locate(rows, passes=passes, key=key)
        if self.kept is not None:
            parts = self.kept.parts(recordings, parts)
        found = self.rows[recordings]
        frames = self.catalog.fields[PRIMARY].frames[found]
        if self.cut is None or self._num_parts is None:
            return Sections(found, np.zeros_like(found), frames)
        # ``take`` may have dropped sections of the last recording, whose bounds must not move.
        rates = self.catalog.fields[PRIMARY].sample_rate[found]
        num_parts = self.cut.num_parts(frames, rates)
        starts, stops = self.cut.bounds(parts, num_parts=num_parts, frames=frames, sample_rate=rates)
        return Sections(found, starts, stops)

    def has(self, rows: _Ints) -> NDArray[np.bool_]:
        """Return which rows of the catalog are recordings of the view, (row,)."""
        return np.asarray(self._selected[rows])

    def longest_s(self) -> float:
        """Return the length of the longest row, in seconds; 0 for a view without rows."""
        if not len(self.rows):
            return 0.0
        audio = self.catalog.fields[PRIMARY]
        frames, rates = audio.frames[self.rows], np.maximum(audio.sample_rate[self.rows], 1)
        if self.cut is None:
            return float((frames / rates).max())
        # The first section of a recording is one of its longest, but slots differ by a sample: then the last may be.
        num_parts = self.cut.num_parts(frames, rates)
        lengths = [
            np.subtract(*self.cut.bounds(part, num_parts=num_parts, frames=frames, sample_rate=rates)[::-1])
            for part in (np.zeros_like(frames), num_parts - 1)
        ]
        return float((np.maximum(*lengths) / rates).max())

    def digest(self) -> str:
        """Return a short hash of which rows of the catalog the view has, for the fingerprint of a stream."""
        found = hashlib.blake2b(np.ascontiguousarray(self.rows, dtype="<i8").tobytes(), digest_size=8)
        kept = () if self.kept is None else (self.kept.num_runs, self.kept.firsts, self.kept.counts)
        turns = (self._space.members, self._space.ends) if isinstance(self._space, TurnSpace) else ()
        for array in (self._num_parts, self._factors, *kept, *turns):
            if array is not None:
                found.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
        if self.cut is not None:
            found.update(repr(self.cut).encode())
        return found.hexdigest()

    def read(self, key: str, *, start_s: float = 0.0, duration_s: float | None = None) -> Sample:
        """Return a sample, or the crop [start_s, start_s + duration_s) of it, reading only the bytes it needs.

        Args:
            key: Which sample.
            start_s: Start, in seconds from the start of the recording; rounded to the nearest sample.
            duration_s: Length in seconds; None reads to the end. The end of the recording cuts it.

        Raises:
            InputError: No such key, or the crop holds no sample.
            AudioError, CorruptDataError, StorageError: It can't be read; the message says where.
        """
        row = self._find(key)
        if row is None:
            raise UnknownKeyError(self._unknown(key))
        return read_sample(self.catalog, row, start_s=start_s, duration_s=duration_s)

    def where(self, condition: str) -> "View":
        """Return the rows that meet a condition over the index's columns, in Python's syntax.

        Example: ``ds.where("duration_s >= 2 and lang in ['en', 'de'] and 'dog' in labels")``. A missing value
        makes a comparison false.

        Raises:
            InputError: Not a condition, or no such column.
        """
        if not isinstance(condition, str):
            raise InputError(f"where({condition!r}): give the condition as text, such as 'duration_s >= 2'")
        self._not_after_each("where")
        return self._of(np.flatnonzero(matching_rows(self.catalog.table, condition)[self.rows]))

    def take(self, num_rows: int) -> "View":
        """Return the first ``num_rows`` rows (in packed order, which is random unless packed otherwise).

        Raises:
            InputError: The number is negative, or rows are repeated: take first, then repeat.
        """
        num_rows = checked_whole(num_rows, "take", least=0, most=2**62)
        self._not_after_each("take")
        if self._factors is not None:
            raise InputError("take after repeat or balance has no first rows; take first: ds.take(n).repeat(k)")
        if self._num_parts is None:
            return self._of(np.arange(min(num_rows, len(self.rows))))
        before = np.cumsum(self._num_parts) - self._num_parts
        num_parts = np.clip(num_rows - before, 0, self._num_parts)
        return self._with(num_parts=num_parts)._of(np.flatnonzero(num_parts))

    def windows(
        self, size_s: float, hop_s: float | None = None, *, partial: bool = False, content: Content | None = None
    ) -> "View":
        """Return windows of the recordings as rows: a stream crops inside a window, or delivers all of it.

        A window starts at each multiple of the hop from which a full window fits; a recording shorter than that is
        one window. Its start and length are rounded to samples at the stored rate.

        Args:
            size_s: Length of a window, in seconds.
            hop_s: From the start of one to the start of the next, in seconds; None: ``size_s``.
            partial: Add a last, shorter window for what the full ones leave over.
            content: Keep only windows that hold this of their intervals: ``shardkit.content("speech", ratio=0.5)``.
                The share is that of a full window, also where a recording is shorter. None: all windows.

        Raises:
            InputError: A length is not positive, the view is cut already, or no interval has such a name.
        """
        windows = Windows(size_s, size_s if hop_s is None else hop_s, partial=partial)
        view = self._cut(windows)
        check_content(content)
        return view if content is None else view._holding(content, windows)

    def draws(self, size_s: float, power: float = 0.5) -> "View":
        """Return long recordings as several rows, so that a pass draws from them more than once.

        A recording that holds n crops becomes round(n ** power) rows. Each is a stretch of it in which a crop may
        start, so that draws from one recording are spread over it. Give the stream a crop of ``size_s``.

        Args:
            size_s: Length of the stream's crop, in seconds.
            power: 0: one row a recording; 1: as many as it holds crops; between, long ones count for more but less
                than in proportion.

        Raises:
            InputError: The length is not positive, the power is out of range, or the view is cut already.
        """
        return self._cut(Slots(size_s, power))

    def repeat(self, times: float) -> "View":
        """Return the rows ``times`` times in a pass; of the fractional part, each pass repeats other rows.

        Raises:
            InputError: The number is not positive or too large.
        """
        if not is_number(times) or not 0 < times <= MAX_FACTOR:
            raise InputError(f"repeat({times!r}): not a number above 0 and at most {MAX_FACTOR}")
        self._not_after_each("repeat")
        return self._repeated(np.full(len(self.rows), float(times)))

    def balance(
        self, column: str, power: float = 0.5, *, rare: int | None = None, several: Several = "rarest"
    ) -> "View":
        """Return the rows with those of rare values repeated: in proportion to frequency ** -power.

        The rows of the most frequent value come once in a pass, those of a value a hundred times rarer 100 ** power
        times; of the fractional part, each pass repeats other rows. No row comes less than once. No value is a value of
        its own.

        Args:
            column: A column of the index, such as ``labels`` or ``speaker``.
            power: 0 changes nothing; 1 draws all values equally often; 0.5 draws a value in proportion to the square
                root of its frequency, which is usual for long tails.
            rare: Values of fewer rows than this count as one value together; None: each for itself.
            several: What counts where a row has several values (labels). ``rarest``: only its rarest. ``all``: the sum
                over all of them, so that a pass is as if one drew a value in proportion to frequency ** (1 - power),
                and then any of its rows.

        Raises:
            InputError: No such column, or an option can't be.

        Source:
            Gupta, Dollar, Girshick (2019), "LVIS", section 5, with the most frequent value as threshold.
        """
        self._not_after_each("balance")
        if not is_number(power) or power < 0:
            raise InputError(f"balance power {power!r} is not a number of at least 0; 0.5 is usual")
        if several not in SEVERAL:
            raise InputError(f"balance several {several!r} is unknown; choose {' or '.join(SEVERAL)}")
        values = values_of(self.catalog, self.rows, column, "balance", mass=self._mass(), rare=rare)
        return self._repeated(repeat_factors(values, self._mass(), power=float(power), several=several))

    def each(self, column: str, *, rare: int | None = None) -> "View":
        """Return one row for each value of a column: the values take turns, and so do the rows of each.

        A pass has each value once, by another of its rows in each pass until all have had their turn. Passes keep one
        order of the values, so any ``len`` consecutive draws have them all: what ``Stream.coverage`` counts. Rows
        without a value are never drawn.

        Args:
            column: A column of the index, such as ``labels`` or ``speaker``.
            rare: Values of fewer rows than this take one turn together; None: each for itself.

        Raises:
            InputError: No such column, no row has a value, or rows are repeated.
        """
        self._not_after_each("each")
        if self._factors is not None:
            raise InputError("each after repeat or balance has nothing to repeat; leave one of them out")
        values = values_of(self.catalog, self.rows, column, "each", mass=self._mass(), rare=rare).without_none()
        if not len(values.rows):
            raise InputError(f"each: no row has a value in column {column!r}")
        order = np.lexsort((values.rows, values.codes))
        ends = np.flatnonzero(np.diff(values.codes[order], append=-1)) + 1
        return self._with(turns=(values.rows[order], ends))

    def _mass(self) -> NDArray[np.float64]:
        """Return how many rows of a pass each recording is, (recording,)."""
        mass = np.ones(len(self.rows)) if self._num_parts is None else self._num_parts.astype(np.float64)
        return mass if self._factors is None else mass * (self._factors / UNIT)

    def _not_after_each(self, what: str) -> None:
        if self.steady:
            raise InputError(f"{what} after each: its rows are values; narrow first: ds.where(...).each(...)")

    def _cut(self, cut: Cut) -> "View":
        self._not_after_each("windows or draws")
        if self.cut is not None:
            raise InputError(f"the view is cut into {self.cut} already; cut the dataset itself instead")
        if PRIMARY not in self.catalog.fields:
            raise InputError(f"{self.catalog.location}: no field {PRIMARY!r} to cut")
        audio = self.catalog.fields[PRIMARY]
        frames, rates = audio.frames[self.rows], np.maximum(audio.sample_rate[self.rows], 1)
        return self._with(cut=cut, num_parts=cut.num_parts(frames, rates))

    def _holding(self, content: Content, windows: Windows) -> "View":
        """Return only the windows that hold some content, of the recordings that have such windows."""
        known = self.manifest.interval_names
        for name in content.of:
            if name not in known:
                raise InputError(
                    f"{self.catalog.location}: no interval is called {name!r}; there is {', '.join(known) or 'none'}"
                )
        events, recordings = IntervalRows(self.catalog, content.of or known).of_rows(self.rows)
        audio = self.catalog.fields[PRIMARY]
        kept = kept_windows(
            windows,
            content,
            frames=audio.frames[self.rows],
            sample_rate=np.maximum(audio.sample_rate[self.rows], 1),
            events=events,
            recordings=recordings,
        )
        return self._with(kept=kept, num_parts=kept.num_parts)._of(np.flatnonzero(kept.num_runs))

    def _repeated(self, times: NDArray[np.float64]) -> "View":
        before = 1.0 if self._factors is None else self._factors / UNIT
        factors = np.rint(np.clip(before * times, 1 / UNIT, MAX_FACTOR) * UNIT).astype(np.int64)
        return self._with(factors=factors)

    def _of(self, index: _Ints) -> "View":
        """Return some of the recordings."""
        return View(
            self.catalog,
            self.rows[index],
            cut=self.cut,
            kept=None if self.kept is None else self.kept.take(index),
            num_parts=None if self._num_parts is None else self._num_parts[index],
            factors=None if self._factors is None else self._factors[index],
        )

    def _with(self, **changed: Any) -> "View":
        unchanged = {"cut": self.cut, "kept": self.kept, "num_parts": self._num_parts, "factors": self._factors}
        return View(self.catalog, self.rows, **(unchanged | changed))

    @cached_property
    def _selected(self) -> NDArray[np.bool_]:
        selected = np.zeros(len(self.catalog.table), dtype=bool)
        selected[self.rows] = True
        return selected

    def _find(self, key: str) -> int | None:
        if not isinstance(key, str):
            raise UnknownKeyError(f"{self.catalog.location}: {key!r} is no key; keys are text, see keys()")
        row = self.catalog.row_of(key)
        return row if row >= 0 and self._selected[row] else None

    def _unknown(self, key: str) -> str:
        known = self.catalog.table.column("key").slice(0, 10_000).to_pylist()
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{self.catalog.location}: no key {key!r} among {len(self):,} samples{hint}"


class UnknownKeyError(InputError, KeyError):
    """No such key."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the repr
