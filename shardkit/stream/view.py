"""Views: which recordings of a dataset, which parts or events of them, and how often each comes in a pass."""

import difflib
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shardkit.core.cuts import Cut
from shardkit.core.errors import InputError
from shardkit.core.rows import UNIT
from shardkit.core.sizes import count
from shardkit.format.index import PRIMARY
from shardkit.format.manifest import Manifest
from shardkit.stream.catalog import Catalog
from shardkit.stream.columns import event_names
from shardkit.stream.narrowing import Narrowing
from shardkit.stream.sample import Sample, read_sample, read_section
from shardkit.stream.selection import Sections, Selection

_Ints = NDArray[np.int64]


class View(Narrowing):
    """A selection of rows of a dataset, in order. Views are values: narrowing one returns another.

    A row is a recording, or after ``events`` an event of one; after ``windows`` or ``draws`` it is a section of that,
    and after ``repeat`` or ``balance`` it may come several times; after ``each`` a row is a value of a column. ``len``
    counts rows: what a stream draws in one pass. Nothing is written out: a view takes a few bytes for each recording or
    event, however many rows there are.

    Attributes:
        selection: What it selects.
    """

    @property
    def catalog(self) -> Catalog:
        """The dataset behind it."""
        return self.selection.catalog

    @property
    def rows(self) -> _Ints:
        """The row of the catalog that each recording is, or that each event is of: (item,) int64."""
        return self.selection.items

    @property
    def cut(self) -> Cut | None:
        """How recordings or events are cut into sections; None: they are whole."""
        return self.selection.cut

    @property
    def of_events(self) -> bool:
        """Whether rows are events, or sections of events."""
        return self.selection.spans is not None

    def _like(self, selection: Selection) -> "View":
        return View(selection)

    def __len__(self) -> int:
        return self.selection.space.num_rows

    def __iter__(self) -> Iterator[Sample]:
        """Yield every row of the first pass as a sample."""
        for row in range(len(self)):
            section = self.sections(np.array([row]), passes=np.zeros(1, dtype=np.int64), key=0)
            event, bounds = int(section.events[0]), (int(section.starts[0]), int(section.stops[0]))
            sample = read_section(self.catalog, int(section.rows[0]), *bounds)
            yield sample if event < 0 else replace(sample, labels=(event_names(self.catalog)[event].as_py(),))

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
        what = count(len(self.rows), "event" if self.of_events else "sample")
        return f"<{type(self).__name__} of {self.catalog.location} ({splits}): {rows}{what}>"

    @property
    def manifest(self) -> Manifest:
        """The dataset's manifest: totals, splits, labels, fields, columns."""
        return self.catalog.manifest

    @property
    def labels(self) -> tuple[str, ...]:
        """The dataset's label vocabulary, in the order of the classes; of events, further names of events follow."""
        manifest = self.manifest
        return tuple(dict.fromkeys([*manifest.labels, *(manifest.interval_names if self.of_events else ())]))

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
            "samples": len(self._recordings),
            "events": len(self.rows) if self.of_events else None,
            "rows": len(self),
            "duration_s": round(self.duration_s, 6),
            "labels": list(self.labels),
            "interval_names": list(manifest.interval_names),
            "fields": {name: field.kind for name, field in manifest.fields.items()},
            "columns": dict(manifest.columns),
            "features": None if manifest.features is None else manifest.features.model_dump(mode="json"),
        }

    @property
    def steady(self) -> bool:
        """Whether rows come in the same order in each pass: after ``each``."""
        return self.selection.turns is not None

    @cached_property
    def duration_s(self) -> float:
        """Seconds of primary audio in the view's recordings, each counted once and whole."""
        audio, rows = self.catalog.fields[PRIMARY], self._recordings
        return float((audio.frames[rows] / np.maximum(audio.sample_rate[rows], 1)).sum())

    def keys(self) -> list[str]:
        """Return the keys of the recordings, in the view's order; of events, that of each one's recording."""
        return self.catalog.table.column("key").take(pa.array(self.rows)).to_pylist()  # type: ignore[no-any-return]

    def table(self) -> pa.Table:
        """Return the index rows of the view's recordings, or of its events, as an Arrow table.

        Of events, the columns ``event``, ``event_start_s`` and ``event_duration_s`` say what they are, and there is no
        column ``fields``, which would repeat the whole index of a recording for each. After
        ``windows`` or ``draws``, a column ``rows`` says into how many sections each is cut; after ``repeat`` or
        ``balance``, a column ``repeats`` says how often each comes in a pass.
        """
        chosen = self.selection
        if self.of_events:
            names = [name for name in chosen.columns.column_names if name != "fields"]
            table = pa.table({name: chosen.columns.column(name) for name in names})
        else:
            table = self.catalog.table.take(pa.array(self.rows))
        if chosen.num_parts is not None:
            table = table.append_column("rows", pa.array(chosen.num_parts))
        if chosen.factors is not None:
            table = table.append_column("repeats", pa.array(chosen.factors / UNIT))
        return table

    def sections(self, rows: _Ints, *, passes: _Ints, key: int) -> Sections:
        """Return what rows of the view are.

        Args:
            rows: Row numbers, 0 <= row < len(self), (row,).
            passes: The pass of each: repeat factors that are not whole repeat other rows in each pass.
            key: Of the source in its stream.
        """
        return self.selection.sections(rows, passes=passes, key=key)

    def has(self, rows: _Ints, events: _Ints) -> NDArray[np.bool_]:
        """Return which samples are of the view's recordings or, where its rows are events, of these, (sample,).

        Args:
            rows: Of the catalog, (sample,).
            events: Which interval of the catalog each sample is, or -1, (sample,).
        """
        spans = self.selection.spans
        return np.asarray(self._selected[rows] if spans is None else np.isin(events, spans.numbers))

    def longest_s(self) -> float:
        """Return the length of the longest row, in seconds; 0 for a view without rows."""
        return self.selection.longest_s()

    def digest(self) -> str:
        """Return a short hash of which rows of the catalog the view has, for the fingerprint of a stream."""
        return self.selection.digest()

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

    @cached_property
    def _recordings(self) -> _Ints:
        """The recordings that are there, or that events are of, each once."""
        return np.unique(self.rows) if self.of_events else self.rows

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
