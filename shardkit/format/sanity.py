"""Whether an index can be one: looked at when a dataset is opened, all rows at once.

Who reads an index, reads what somebody else may have written: columns of other types, members before the start of a
tar, recordings of no or of 2**62 samples. Each of them would strike somewhere later, as an error of Arrow's or NumPy's
or as memory that is not there. Here they are one error that names the row. What only a member's bytes can tell, and
what a reader checks anyway (seek tables, array layouts), is not looked at here; ``shardkit verify`` looks at all.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardkit.core.errors import FormatError
from shardkit.format.index import PRIMARY, index_schema
from shardkit.format.manifest import FieldKind

_MOST = 2**48  # bytes of a tar, samples of a recording: sums of these stay far below 2**63
_MAX_RATE = 2**24
_MAX_CHANNELS = 2**16
_ADVICE = "write it again with 'shardkit index'"

# Of a member: each number's least and greatest value; null is another matter.
_LIMITS = {
    "offset": (0, _MOST),
    "size": (0, _MOST),
    "sample_rate": (1, _MAX_RATE),
    "channels": (1, _MAX_CHANNELS),
    "frames": (0, _MOST),
    "bit_depth": (1, 64),
    "data_offset": (0, _MOST),
    "hop_s": (np.nextafter(0.0, 1.0), 1e9),
}
_NEEDED_TOGETHER = ("extension", "offset", "size", "xxh3")  # a member without a place has none of them
_NEEDED_OF_AUDIO = ("codec", "sample_format", "sample_rate", "channels", "frames")


def check_index(table: pa.Table, fields: Mapping[str, FieldKind], *, where: str) -> None:
    """Raise if the rows of an index can't be read.

    Args:
        table: The rows.
        fields: Fields of the dataset and their kinds.
        where: Name of the index, for messages.

    Raises:
        FormatError: Names the column, or the row and what is wrong with it.
    """
    for name, times in zip(*np.unique(table.column_names, return_counts=True), strict=True):
        if times > 1:
            raise FormatError(f"{where}: {times} columns are called {str(name)!r}; {_ADVICE}")
    expected = index_schema(fields, {})
    for column in expected:
        found = table.schema.field(column.name).type
        if not _serves(found, column.type):
            raise FormatError(
                f"{where}: column {column.name!r} is {_short(found)}, {_short(column.type)} expected; {_ADVICE}"
            )
    try:
        table.validate(full=True)  # text that is not UTF-8
    except pa.ArrowInvalid as err:
        raise FormatError(f"{where}: {_short(err)}; {_ADVICE}") from err
    unknown = [part.name for part in _parts(table.schema.field("fields").type) if part.name not in fields]
    if unknown:
        raise FormatError(f"{where}: the manifest does not know its field {unknown[0]!r}; {_ADVICE}")
    if table.column("key").null_count:
        raise FormatError(f"{where}: a row has no key; {_ADVICE}")
    seconds = table.column("duration_s")
    if pc.any(pc.invert(pc.and_(pc.greater_equal(seconds, 0.0), pc.less_equal(seconds, float(_MOST))))).as_py():
        raise FormatError(f"{where}: a duration_s is no time; {_ADVICE}")
    _check_primary(table, where)
    first = 0
    for chunk in table.column("fields").chunks:
        for name in fields:
            for row, what in _faults(chunk, name):
                key = table.column("key")[first + row].as_py()
                raise FormatError(f"{where}: key {key!r}: field {name!r} {what}; {_ADVICE}")
        first += len(chunk)
    _check_intervals(table, where)


def _check_primary(table: pa.Table, where: str) -> None:
    """Raise unless each row has a recording, or the facts of one."""
    first = 0
    for chunk in table.column("fields").chunks:
        known = chunk.type.get_field_index(PRIMARY) >= 0
        missing = pc.invert(pc.and_(chunk.is_valid(), chunk.field(PRIMARY).is_valid())) if known else None
        row = 0 if missing is None else _first(missing)
        if row is not None and len(chunk):
            raise FormatError(
                f"{where}: key {table.column('key')[first + row].as_py()!r} has no field {PRIMARY!r}; {_ADVICE}"
            )
        first += len(chunk)


def _serves(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Return whether a type holds what another does: Arrow has several of text, of bytes and of whole numbers."""
    for is_kind in (_is_text, _is_bytes, pa.types.is_integer, pa.types.is_floating):
        if is_kind(wanted):
            return bool(is_kind(found))
    if pa.types.is_list(wanted):
        return pa.types.is_list(found) and _serves(found.value_type, wanted.value_type)
    if not pa.types.is_struct(found) or len({part.name for part in _parts(found)}) != found.num_fields:
        return False
    types = {part.name: part.type for part in _parts(found)}
    return all(part.name in types and _serves(types[part.name], part.type) for part in _parts(wanted))


def _parts(struct: pa.StructType) -> list[pa.Field]:
    return [struct.field(number) for number in range(struct.num_fields)]


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _faults(fields: pa.StructArray, name: str) -> Iterator[tuple[int, str]]:
    """Yield the first row of which a member can't be so, and what is wrong."""
    struct = fields.field(name)
    present = pc.and_(fields.is_valid(), struct.is_valid())
    for column, (least, most) in _LIMITS.items():
        if struct.type.get_field_index(column) >= 0:
            values = struct.field(column)
            inside = pc.and_(pc.greater_equal(values, least), pc.less_equal(values, most))  # NaN compares as false
            row = _first(pc.and_(present, pc.invert(pc.fill_null(inside, True))))
            if row is not None:
                yield row, f"has {column} {_short(values[row].as_py())}"
    placed = struct.field("offset").is_valid()
    for column in _NEEDED_TOGETHER:
        row = _first(pc.and_(present, pc.xor(placed, struct.field(column).is_valid())))
        if row is not None:
            yield row, f"has {', '.join(_NEEDED_TOGETHER)} in part only"
    for column in _NEEDED_OF_AUDIO if struct.type.get_field_index("codec") >= 0 else ():
        row = _first(pc.and_(present, struct.field(column).is_null()))
        if row is not None:
            yield row, f"has no {column}"


def _check_intervals(table: pa.Table, where: str) -> None:
    for chunk in table.column("intervals").chunks:
        flat = chunk.flatten()
        for column in ("name", "start", "stop"):
            if flat.field(column).null_count or flat.null_count:
                raise FormatError(f"{where}: an interval lacks its {column}; {_ADVICE}")
        bounds = [flat.field(column) for column in ("start", "stop")]
        wrong = pc.or_(pc.less(bounds[0], 0), pc.or_(pc.less(bounds[1], bounds[0]), pc.greater(bounds[1], _MOST)))
        row = _first(wrong)
        if row is not None:
            start, stop = (bound[row].as_py() for bound in bounds)
            raise FormatError(f"{where}: an interval goes from sample {start} to {stop}; {_ADVICE}")


def _first(mask: pa.BooleanArray) -> int | None:
    """Return where a mask is true first, None: nowhere."""
    place = pc.index(mask, True).as_py()
    return None if place < 0 else int(place)


def _short(value: Any) -> str:
    """Return what an error shows of a value or a type."""
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else f"{text[:99]}…"
