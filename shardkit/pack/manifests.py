"""Rows of a manifest: CSV, TSV, JSON Lines or Parquet, each with the place it came from."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa

from shardkit.core.errors import InputError
from shardkit.pack.columns import typed_text
from shardkit.pack.jsontext import parse_json, value_fault
from shardkit.pack.parquet import read_columns, row_place
from shardkit.pack.places import placed
from shardkit.storage.location import Location
from shardkit.storage.store import read_bytes

csv.field_size_limit(2**31 - 1)  # a cell may hold thousands of intervals

_SEPARATORS = (";", "\t", "|", ",")  # what spreadsheets write, depending on the language they run in


class Row(NamedTuple):
    """One row: the place it came from, its values with their types, and for a CSV the same as they were written."""

    place: str
    values: dict[str, Any]
    text: dict[str, Any]


class Table(NamedTuple):
    """The rows of a manifest, and the types of its columns where the file itself has them: Parquet."""

    rows: list[Row]
    types: Mapping[str, pa.DataType]


def is_manifest(location: Location) -> bool:
    """Return whether the name ends like a manifest's."""
    return _suffix(location) in _READERS


def read_manifest(location: Location) -> Table:
    """Return the rows of a file that ``is_manifest``.

    Raises:
        InputError: The file is not what its ending says; the message gives the line.
    """
    return _READERS[_suffix(location)](location)


def _suffix(location: Location) -> str:
    return location.name.rpartition(".")[2].lower()


def _read_table(location: Location, *, delimiter: str) -> Table:
    records = read_records(location, delimiter)
    _, header = next(records, (1, []))
    other = next((sign for sign in _SEPARATORS if len(header) == 1 and sign in header[0]), None)
    if other is not None:
        ending = "save it with commas" if other != "\t" else "name it .tsv"
        raise InputError(
            f"{location}: the header is one cell, {header[0]!r}, with {other!r} in it, but cells are separated by "
            f"{delimiter!r} here; {ending}"
        )
    if len(set(header)) != len(header):
        twice = sorted(name for name, times in Counter(header).items() if times > 1)
        raise InputError(f"{location}: the header names {', '.join(map(repr, twice))} twice; rename one of them")
    places, lines = [], []
    for number, cells in records:
        if not cells:
            continue
        if len(cells) != len(header):
            raise InputError(
                f"{location}:{number}: {len(cells)} cells, the header has {len(header)}; quote cells that "
                f"hold {delimiter!r}"
            )
        places.append(f"{location}:{number}")
        lines.append(cells)
    typed = [typed_text([line[index] for line in lines]) for index in range(len(header))]
    rows = [
        Row(
            place,
            {name: typed[index][number] for index, name in enumerate(header)},
            {name: cells[index] or None for index, name in enumerate(header)},
        )
        for number, (place, cells) in enumerate(zip(places, lines, strict=True))
    ]
    return Table(rows, {})


def read_records(location: Location, delimiter: str = ",", *, spaced: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Yield (line that it begins on, cells) of each record of a text file; an empty line has no cells.

    Args:
        location: The file, in UTF-8 with or without a byte order mark.
        delimiter: What separates the cells.
        spaced: Whether spaces after a delimiter are no part of the cell.

    Strict, since the default reader takes everything after a quote that is never closed for one cell, and so loses
    the rows in it. A quote within a cell that does not begin with one is a character like any other.

    Raises:
        InputError: Not UTF-8, or a quote that is not closed; the message gives the line.
    """
    text = io.StringIO(read_text(location), newline="")
    reader = csv.reader(text, delimiter=delimiter, skipinitialspace=spaced, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as err:
            raise InputError(
                f"{location}:{number}: in the row that begins here a cell begins with a quote and does not end with "
                f"one ({err}); close it, or, where the quote is meant as it stands, double it and put quotes around "
                'the cell: """so"" he said"'
            ) from err
        if cells is None:
            return
        yield number, cells


def _read_jsonl(location: Location) -> Table:
    rows: list[Row] = []
    for number, line in enumerate(read_text(location).split("\n"), 1):  # str.splitlines would cut at U+2028 too
        if line.strip():
            place = f"{location}:{number}"
            with placed(place):
                row = _json_row(line)
            rows.append(Row(place, row, row))
    return Table(rows, {})


def _json_row(line: str) -> dict[str, Any]:
    row = parse_json(line)
    if not isinstance(row, dict):
        raise InputError(f"found {type(row).__name__}; each line must be one JSON object")
    for name, value in row.items():
        fault = value_fault(name) or value_fault(value)
        if fault is not None:
            raise InputError(f"{name!r} {fault}")
    return row


def _read_parquet(location: Location) -> Table:
    columns, types = read_columns(location)
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    return Table([Row(row_place(location, index), row, row) for index, row in enumerate(rows)], types)


def read_text(location: Location) -> str:
    """Return a text file.

    Raises:
        InputError: Not UTF-8.
    """
    try:
        return read_bytes(location).decode("utf-8-sig")  # spreadsheets put a byte order mark in front
    except UnicodeDecodeError as err:
        raise InputError(f"{location}: not UTF-8 at byte {err.start}; save it as UTF-8") from err


_READERS: dict[str, Callable[[Location], Table]] = {
    "csv": partial(_read_table, delimiter=","),
    "tsv": partial(_read_table, delimiter="\t"),
    "jsonl": _read_jsonl,
    "ndjson": _read_jsonl,
    "parquet": _read_parquet,
}
