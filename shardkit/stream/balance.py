"""Values of a column: which rows have which, and how often rows are repeated so that rare values are drawn more."""

import difflib
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shardkit.core.checks import checked_whole
from shardkit.core.errors import InputError
from shardkit.stream.catalog import one_chunk
from shardkit.stream.columns import Columns

Several: TypeAlias = Literal["rarest", "all"]
SEVERAL = ("rarest", "all")
OTHER_RARE = "other_rare"  # the name of the values that count together

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """Which rows have which values, as pairs.

    Attributes:
        rows: Numbers of rows, (pair,).
        codes: The value of each, a place in ``names``, (pair,).
        names: The values as text, those that no row has among them; None: no value.
    """

    rows: _Ints
    codes: _Ints
    names: tuple[str | None, ...]

    def without_none(self) -> "Values":
        """Return the pairs that are not of no value."""
        none = np.array([name is None for name in self.names], dtype=bool)
        kept = ~none[self.codes]
        return Values(self.rows[kept], self.codes[kept], self.names)


def values_of(
    columns: Columns, column: str, what: str, *, mass: _Floats | None = None, rare: int | None = None
) -> Values:
    """Return the values of some rows.

    Args:
        columns: Of the rows.
        column: A column of the index; where it holds lists, a row has several values.
        what: Who asks, for the errors.
        mass: How often each row counts, (row,).
        rare: Values that count less than this are one value together; None: each for itself.

    Raises:
        InputError: No such column, or one whose values can't be counted.
    """
    names = [name for name in columns.column_names if name != "fields"]
    if column not in names:
        near = difflib.get_close_matches(str(column), names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there is {', '.join(names)}"
        raise InputError(f"{what}: no column {column!r}{hint}")
    values = _coded(one_chunk(columns.column(column)), column, what)
    if rare is None or mass is None:
        return values
    return _merged(values, mass, checked_whole(rare, f"{what} rare"))


def repeat_factors(values: Values, mass: _Floats, *, power: float, several: Several) -> _Floats:
    """Return a factor of at least one for each row, from those of its values.

    A value's is (frequency of the most frequent value / its own) ** power, so at least one; a row has that of its
    rarest value, or the sum over all of them.

    Args:
        values: Of the rows; each has one at least, if only no value.
        mass: How often each row counts, (row,).
        power: At least 0.
        several: Which of a row's values count.
    """
    counts = np.bincount(values.codes, weights=mass[values.rows])
    most = counts.max(initial=1.0)
    if several == "all":
        found = np.bincount(values.rows, weights=(most / counts[values.codes]) ** power, minlength=len(mass))
    else:
        rarest = np.full(len(mass), np.inf)
        np.minimum.at(rarest, values.rows, counts[values.codes])
        found = (most / rarest) ** power
    # Rounded, so that machines whose powers differ in the last bit agree.
    return np.asarray(np.round(found, 6))


def _merged(values: Values, mass: _Floats, rare: int) -> Values:
    """Return the values with those of less mass as one, which a row has once however many of them it has."""
    counts = np.bincount(values.codes, weights=mass[values.rows], minlength=len(values.names))
    none = np.array([name is None for name in values.names], dtype=bool)
    other = len(values.names)
    codes = np.where(((counts < rare) & ~none)[values.codes], other, values.codes)
    rows, codes = np.divmod(np.unique(values.rows * (other + 1) + codes), other + 1)
    return Values(rows, codes, (*values.names, OTHER_RARE))


def _coded(array: pa.Array, column: str, what: str) -> Values:
    """Return which row has which value; no value counts as one."""
    rows = np.arange(len(array))
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        lengths = np.asarray(
            pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False), dtype=np.int64
        )
        rows = np.repeat(rows, lengths)
        without = np.flatnonzero(lengths == 0)
        array = pc.list_flatten(array)
    else:
        without = np.empty(0, dtype=np.int64)
    try:
        encoded = pc.dictionary_encode(array, null_encoding="encode")
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as err:
        raise InputError(f"{what}: the values of column {column!r} ({array.type}) can't be counted") from err
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    codes = np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
    names = [None if value is None else str(value) for value in encoded.dictionary.to_pylist()]
    none = np.full(len(without), len(names))
    return Values(np.concatenate([rows, without]), np.concatenate([codes, none]), (*names, None))
