"""How often rows are repeated so that rare values of a column are drawn more."""

import difflib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shardkit.core.errors import InputError
from shardkit.stream.catalog import Catalog

_Floats = NDArray[np.float64]


def repeat_factors(catalog: Catalog, rows: NDArray[np.int64], mass: _Floats, *, column: str, power: float) -> _Floats:
    """Return a factor of at least one for each row: (frequency of the most frequent value / its own) ** power.

    Args:
        catalog: The dataset.
        rows: Rows of the catalog, (row,).
        mass: How often each row counts, (row,).
        column: A column of the index; where it holds lists, a row has several values and the rarest decides.
        power: At least 0.

    Raises:
        InputError: No such column, or one whose values can't be counted.
    """
    table = catalog.table
    if column not in table.column_names or column == "fields":
        known = [name for name in table.column_names if name != "fields"]
        near = difflib.get_close_matches(str(column), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there is {', '.join(known)}"
        raise InputError(f"balance: no column {column!r}{hint}")
    row_of_value, values = _values(table.column(column).take(pa.array(rows)).combine_chunks(), column)
    counts = np.bincount(values, weights=mass[row_of_value])
    rarest = np.full(len(rows), np.inf)
    np.minimum.at(rarest, row_of_value, counts[values])
    # Rounded, so that machines whose powers differ in the last bit agree.
    return np.asarray(np.round((counts.max(initial=1.0) / rarest) ** power, 6))


def _values(array: pa.Array, column: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which row has which value, as pairs of numbers; no value counts as one."""
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    row_of_value = np.arange(len(array))
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        lengths = np.asarray(
            pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False), dtype=np.int64
        )
        row_of_value = np.repeat(row_of_value, lengths)
        without = np.flatnonzero(lengths == 0)
        array = pc.list_flatten(array)
    else:
        without = np.empty(0, dtype=np.int64)
    try:
        encoded = pc.dictionary_encode(array, null_encoding="encode")
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as err:
        raise InputError(f"balance: the values of column {column!r} ({array.type}) can't be counted") from err
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    codes = np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
    none = np.full(len(without), len(encoded.dictionary))
    return np.concatenate([row_of_value, without]), np.concatenate([codes, none])
