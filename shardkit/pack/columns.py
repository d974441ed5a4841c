"""Types of a manifest's metadata columns.

Text from a CSV becomes a number only where nothing is lost by it: ``007`` stays text, because a speaker's id is not
a number, and so does a column in which one cell is not a number.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from shardkit.core.errors import InputError
from shardkit.format.index import RESERVED

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_DECIMAL = re.compile(r"[+-]?(0|[1-9][0-9]*)?(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_BOOLEANS = {"true": True, "false": False}
_KINDS: dict[Any, str] = {
    bool: "true or false",
    (int, float): "a number",
    str: "text",
    (list, tuple): "a list",
    dict: "an object",
}


def column_name(name: str) -> str:
    """Return the name under which a user's column is kept: the index's own names get ``input_`` in front.

    >>> column_name("duration_s"), column_name("lang")
    ('input_duration_s', 'lang')
    """
    return f"input_{name}" if name in RESERVED else name


def typed_text(cells: Sequence[str]) -> list[Any]:
    """Return a CSV column's cells as int, float, bool or str, one type for all; empty cells are None.

    >>> typed_text(["1", "", "3"]), typed_text(["007", "12"]), typed_text(["1", "2.5"])
    ([1, None, 3], ['007', '12'], [1.0, 2.5])
    >>> typed_text(["1234567890123456789012", "1.5"]), typed_text(["1234e567"])
    (['1234567890123456789012', '1.5'], ['1234e567'])
    """
    filled = [cell for cell in cells if cell != ""]
    convert: Any = str
    if filled and all(_is_integer(cell) for cell in filled):
        convert = int
    elif filled and all(_is_decimal(cell) for cell in filled):
        convert = float
    elif filled and all(cell.lower() in _BOOLEANS for cell in filled):
        return [None if cell == "" else _BOOLEANS[cell.lower()] for cell in cells]
    return [None if cell == "" else convert(cell) for cell in cells]


def arrow_type(name: str, values: Sequence[Any], *, places: Sequence[str]) -> pa.DataType:
    """Return the Arrow type that holds every value of a column.

    Args:
        name: The column.
        values: Its values.
        places: Where each of them stands, for messages.

    Raises:
        InputError: The values have no common type, or one that Parquet can't hold; the message says where.
    """
    try:
        found = _inferred(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as err:
        raise InputError(_why_mixed(name, values, places, err)) from err
    if _is_empty(found):
        place = next(place for value, place in zip(values, places, strict=True) if value is not None)
        raise InputError(f"{place}: {name!r} holds objects without keys, {{}}, which no column can; leave them out")
    return pa.string() if pa.types.is_null(found) else found


def _inferred(values: Sequence[Any]) -> pa.DataType:
    try:
        return pa.array(values, from_pandas=False).type
    except OverflowError:
        return pa.array(values, pa.uint64(), from_pandas=False).type  # which Arrow does not try by itself


def _is_empty(kind: pa.DataType) -> bool:
    """Tell whether there is a struct without parts in a type: Parquet has none."""
    if pa.types.is_struct(kind):
        return kind.num_fields == 0 or any(_is_empty(part.type) for part in kind)
    return pa.types.is_list(kind) and _is_empty(kind.value_type)


def _why_mixed(name: str, values: Sequence[Any], places: Sequence[str], err: Exception) -> str:
    """Return the error of a column without a type: the first value that does not fit, and the one it doesn't fit."""
    first: dict[str, str] = {}
    for value, place in zip(values, places, strict=True):
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            return f"{place}: column {name!r} holds an integer of more than 64 bits; make the column text"
        if value is not None:
            first.setdefault(_kind(value), place)
    if len(first) == 1:
        place = next(iter(first.values()))
        return f"{place}: column {name!r} holds values of several types: {err}; make them of one type, or text"
    (kind, place), (other, elsewhere), *_ = first.items()
    return f"{elsewhere}: column {name!r} holds {other}, but {kind} in {place}; make its values of one type"


def _kind(value: Any) -> str:
    """Return what a person calls a value's type; integers and floats go together."""
    for types, name in _KINDS.items():
        if isinstance(value, types):
            return name
    return f"a {type(value).__name__}"


def _is_integer(cell: str) -> bool:
    return _INTEGER.fullmatch(cell) is not None and cell != "-0" and -(2**63) <= int(cell) < 2**63


def _is_decimal(cell: str) -> bool:
    """Tell whether a float has the cell's value: a long id is no number, and neither is the hash 1234e567."""
    match = _DECIMAL.fullmatch(cell)
    if match is None or (match.group(1) is None and match.group(2) is None):
        return False
    if cell.lstrip("+-").isdigit():
        return float(cell) == int(cell)
    return math.isfinite(float(cell))
