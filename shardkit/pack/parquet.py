"""A Parquet file as a manifest: its columns, in the types that the index keeps.

Each column keeps its own type, but for encodings that are no types of values (dictionaries, views, large offsets) and
for nanoseconds: Python's dates, as which metadata is read, end at the microsecond.
"""

from collections import Counter
from typing import Any

import pyarrow as pa

from shardkit.core.errors import InputError
from shardkit.format.parquet import read_parquet
from shardkit.storage.location import Location
from shardkit.storage.store import read_bytes

# What Arrow raises where Python has no such value: a year above 9999, bytes that are not UTF-8, an unknown time zone.
_NO_PYTHON_VALUE = (ValueError, OverflowError, KeyError)


def read_columns(location: Location) -> tuple[dict[str, list[Any]], dict[str, pa.DataType]]:
    """Return the values of each column, and its type.

    Raises:
        InputError: Not a Parquet file, two columns of one name, or a value that can't be kept; the message names it.
    """
    try:
        table = read_parquet(read_bytes(location))
    except (pa.ArrowException, OSError, ValueError) as err:  # ValueError: names of columns that are not UTF-8
        raise InputError(f"{location}: not a Parquet file: {err}") from err
    names = table.column_names
    for name, times in Counter(names).items():
        if times > 1:
            raise InputError(f"{location}: two columns are called {name!r}; rename one of them")
    values, types = {}, {}
    for name in names:
        column = _kept(table.column(name), name, location)
        values[name], types[name] = _values(column, name, location), _kept_type(column.type)
    return values, types


def row_place(location: Location, index: int) -> str:
    """Return how messages call a row: counted from 1, as people do, and said so, since libraries count from 0."""
    return f"{location}: row {index + 1} (counted from 1)"


def _kept(column: pa.ChunkedArray, name: str, location: Location) -> pa.ChunkedArray:
    target = _kept_type(column.type)
    if target == column.type:
        return column
    try:
        return column.cast(target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as err:
        advice = "times are kept to the microsecond: round them, or make the column text"
        if "lose data" not in str(err):
            advice = "make the column text"
        raise InputError(f"{location}: column {name!r} can't be kept as {target}: {err}; {advice}") from err


def _kept_type(kind: pa.DataType) -> pa.DataType:
    """Return the type in which the index keeps a column.

    >>> _kept_type(pa.list_(pa.timestamp("ns", "UTC"))), _kept_type(pa.dictionary(pa.int8(), pa.large_string()))
    (ListType(list<item: timestamp[us, tz=UTC]>), DataType(string))
    """
    if isinstance(kind, pa.BaseExtensionType):
        return _kept_type(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _kept_type(kind.value_type)
    if pa.types.is_nested(kind):
        return _kept_nested(kind)
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    return _PLAIN.get(kind, kind)


def _kept_nested(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_map(kind):
        return pa.map_(_kept_type(kind.key_type), _kept_type(kind.item_type))
    if pa.types.is_struct(kind):
        return pa.struct([(part.name, _kept_type(part.type)) for part in kind])
    return pa.list_(_kept_type(kind.value_type))  # Parquet has no other


_PLAIN = {
    pa.null(): pa.string(),
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
    pa.time64("ns"): pa.time64("us"),
    pa.duration("ns"): pa.duration("us"),
}


def _values(column: pa.ChunkedArray, name: str, location: Location) -> list[Any]:
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except _NO_PYTHON_VALUE:
        for index, value in enumerate(column):
            try:
                value.as_py()
            except _NO_PYTHON_VALUE as err:
                raise InputError(
                    f"{row_place(location, index)}: column {name!r} holds a {column.type} that can't be kept: "
                    f"{_reason(column.type, err)}; mend it, or make the column text"
                ) from err
        raise


def _reason(kind: pa.DataType, err: Exception) -> str:
    if isinstance(err, OverflowError) or "year" in str(err):
        return "it lies outside the years 1 to 9999" if not pa.types.is_duration(kind) else "it is too long"
    return str(err)
