"""Datasets and views: what is read by key, and what a stream draws from."""

import difflib
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shardkit.core.errors import InputError
from shardkit.format.index import PRIMARY
from shardkit.format.manifest import Manifest
from shardkit.storage.location import Location, locate
from shardkit.stream.catalog import Catalog, load_catalog
from shardkit.stream.query import matching_rows
from shardkit.stream.sample import Sample, read_sample


class View:
    """A selection of rows of a dataset, in order. Views are values: narrowing one returns another.

    Attributes:
        catalog: The dataset behind it.
        rows: Row numbers in the catalog, (row,) int64.
    """

    def __init__(self, catalog: Catalog, rows: NDArray[np.int64]) -> None:
        self.catalog = catalog
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Sample]:
        return (read_sample(self.catalog, int(row)) for row in self.rows)

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
        return f"<{type(self).__name__} of {self.catalog.location} ({splits}): {len(self):,} samples>"

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
        """What there is: name, place, splits, samples, seconds, labels, fields, columns; plain JSON values.

        ``shardkit info`` tells more, for which it goes through the index.
        """
        manifest = self.manifest
        return {
            "name": manifest.name,
            "location": str(self.catalog.location),
            "splits": list(self.catalog.splits),
            "samples": len(self),
            "duration_s": round(self.duration_s, 6),
            "labels": list(manifest.labels),
            "interval_names": list(manifest.interval_names),
            "fields": {name: field.kind for name, field in manifest.fields.items()},
            "columns": dict(manifest.columns),
        }

    @cached_property
    def duration_s(self) -> float:
        """Seconds of primary audio in the view."""
        audio = self.catalog.fields[PRIMARY]
        rates = np.maximum(audio.sample_rate[self.rows], 1)
        return float((audio.frames[self.rows] / rates).sum())

    def keys(self) -> list[str]:
        """Return the keys, in the view's order."""
        return self.catalog.table.column("key").take(pa.array(self.rows)).to_pylist()  # type: ignore[no-any-return]

    def table(self) -> pa.Table:
        """Return the index rows of the view as an Arrow table."""
        return self.catalog.table.take(pa.array(self.rows))

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
        return View(self.catalog, self.rows[matching_rows(self.catalog.table, condition)[self.rows]])

    def take(self, num_rows: int) -> "View":
        """Return the first ``num_rows`` rows (in packed order, which is random unless packed otherwise)."""
        if num_rows < 0:
            raise InputError(f"take({num_rows}): the number of rows can't be negative")
        return View(self.catalog, self.rows[:num_rows])

    @cached_property
    def _selected(self) -> NDArray[np.bool_]:
        selected = np.zeros(len(self.catalog.table), dtype=bool)
        selected[self.rows] = True
        return selected

    def _find(self, key: str) -> int | None:
        row = self.catalog.row_of(key)
        return row if row >= 0 and self._selected[row] else None

    def _unknown(self, key: str) -> str:
        known = self.catalog.table.column("key").slice(0, 10_000).to_pylist()
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{self.catalog.location}: no key {key!r} among {len(self):,} samples{hint}"


class Dataset(View):
    """All rows of a dataset, or of one split of it. Made by ``shardkit.open``."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog, np.arange(len(catalog.table), dtype=np.int64))


class UnknownKeyError(InputError, KeyError):
    """No such key."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the repr


def open_dataset(
    url: str | os.PathLike[str] | Location,
    split: str | None = None,
    *,
    storage_options: Mapping[str, object] | None = None,
) -> Dataset:
    """Open a dataset that ``shardkit pack`` or ``shardkit index`` wrote.

    Args:
        url: Its folder: a path or an fsspec URL such as ``s3://bucket/speech``.
        split: One split, ``all``, or None: all of it. A stream asks for a choice where there are several.
        storage_options: For the file system behind the URL; credentials are found in the environment without it.

    Raises:
        InputError: No dataset there, or no such split.
        StorageError: It can't be reached.
        CorruptDataError, FormatError: The manifest or an index is damaged.
    """
    location = url if isinstance(url, Location) else locate(url, storage_options)
    return Dataset(load_catalog(location, split=split))
