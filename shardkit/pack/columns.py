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


def arrow_type(name: str, values: Sequence[Any], *, where: str) -> pa.DataType:
    """Return the Arrow type that holds every value of a column.

    Raises:
        InputError: The values have no common type; the message names the column.
    """
    try:
        found = pa.array(values, from_pandas=False).type
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as err:
        raise InputError(f"{where}: column {name!r} mixes types: {err}; make its values of one type") from err
    return pa.string() if pa.types.is_null(found) else found


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
