"""Rows of a manifest: CSV, TSV, JSON Lines or Parquet, each with the place it came from."""

import csv
import io
import json
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shardkit.core.errors import InputError
from shardkit.pack.columns import typed_text
from shardkit.storage.location import Location
from shardkit.storage.store import read_bytes

Rows = list[tuple[str, dict[str, Any]]]


def is_manifest(location: Location) -> bool:
    """Return whether the name ends like a manifest's."""
    return _suffix(location) in _READERS


def read_manifest(location: Location, *, text_columns: Collection[str] = ()) -> Rows:
    """Return (place, row) for each row of a manifest.

    Args:
        location: A file that ``is_manifest``.
        text_columns: Columns of a CSV or TSV that stay text whatever they look like.

    Raises:
        InputError: The file is not what its ending says; the message gives the line.
    """
    return _READERS[_suffix(location)](location, text_columns)


def _suffix(location: Location) -> str:
    return location.name.rpartition(".")[2].lower()


def _read_table(location: Location, text_columns: Collection[str], *, delimiter: str) -> Rows:
    reader = csv.reader(io.StringIO(_text(location), newline=""), delimiter=delimiter)
    header = next(reader, [])
    if len(set(header)) != len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise InputError(f"{location}: the header names {', '.join(map(repr, twice))} twice; rename one of them")
    places, lines = [], []
    for cells in reader:
        if not cells:
            continue
        if len(cells) != len(header):
            raise InputError(
                f"{location}:{reader.line_num}: {len(cells)} cells, the header has {len(header)}; quote cells that "
                f"hold {delimiter!r}"
            )
        places.append(f"{location}:{reader.line_num}")
        lines.append(cells)
    columns = {}
    for index, name in enumerate(header):
        cells = [line[index] for line in lines]
        columns[name] = [cell or None for cell in cells] if name in text_columns else typed_text(cells)
    return [(place, {name: columns[name][row] for name in header}) for row, place in enumerate(places)]


def _read_jsonl(location: Location, _text_columns: Collection[str]) -> Rows:
    rows: Rows = []
    for number, line in enumerate(_text(location).splitlines(), 1):
        if not line.strip():
            continue
        place = f"{location}:{number}"
        try:
            row = json.loads(line)
        except ValueError as err:
            raise InputError(f"{place}: not JSON: {err}") from err
        if not isinstance(row, dict):
            raise InputError(f"{place}: found {type(row).__name__}; each line must be one JSON object")
        rows.append((place, row))
    return rows


def _read_parquet(location: Location, _text_columns: Collection[str]) -> Rows:
    try:
        table = pq.ParquetFile(pa.BufferReader(read_bytes(location))).read(use_threads=False)  # see format/index.py
    except (pa.ArrowException, OSError) as err:
        raise InputError(f"{location}: not a Parquet file: {err}") from err
    return [(f"{location}: row {number}", row) for number, row in enumerate(table.to_pylist())]


def _text(location: Location) -> str:
    try:
        return read_bytes(location).decode("utf-8-sig")  # spreadsheets put a byte order mark in front
    except UnicodeDecodeError as err:
        raise InputError(f"{location}: not UTF-8 at byte {err.start}; save it as UTF-8") from err


_READERS: dict[str, Callable[[Location, Collection[str]], Rows]] = {
    "csv": partial(_read_table, delimiter=","),
    "tsv": partial(_read_table, delimiter="\t"),
    "jsonl": _read_jsonl,
    "ndjson": _read_jsonl,
    "parquet": _read_parquet,
}
