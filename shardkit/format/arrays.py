"""``.npy`` members: arrays whose first axis may be time, read whole or by rows. Nothing is ever unpickled.

Source:
    numpy.lib.format: the header (magic, version, a dict literal of descr, fortran_order and shape), then the values.
"""

import io
import math
import tokenize
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardkit.core.errors import FormatError

# What numpy's reader of headers lets through, of its own and of the parsers that it hands them to.
_NOT_AN_ARRAY = (
    *(ValueError, TypeError, LookupError, EOFError, OverflowError, MemoryError, RecursionError, AssertionError),
    *(SyntaxError, tokenize.TokenError),
)
_SHOWN = 120  # characters of what numpy says
_ROUNDING = 1e-6  # of a hop: a bound that is a whole number of hops must not gain a row


@dataclass(frozen=True, slots=True)
class ArrayLayout:
    """Where the values of an array lie in its member, in C order.

    Attributes:
        dtype: NumPy's name of a plain type with its byte order, such as ``<f4``.
        shape: Lengths of the axes; the first is the one of rows.
        data_offset: Byte of the member at which the values begin.
    """

    dtype: str
    shape: tuple[int, ...]
    data_offset: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return np.dtype(self.dtype).itemsize * math.prod(self.shape[1:])

    def byte_range(self, first: int, last: int) -> tuple[int, int]:
        """Return the bytes of the member that hold rows [first, last)."""
        return self.data_offset + first * self.row_bytes, self.data_offset + last * self.row_bytes

    def rows(self, data: bytes | memoryview) -> NDArray[Any]:
        """Return the rows that some bytes hold, (row, ...), as an array of its own."""
        return np.frombuffer(data, np.dtype(self.dtype)).reshape(-1, *self.shape[1:]).copy()


def read_array(data: bytes) -> tuple[NDArray[Any], ArrayLayout | None]:
    """Return the array of a ``.npy`` member, and its layout where rows can be read by their bytes alone.

    That is where it has rows, in C order, of a plain type.

    Raises:
        FormatError: Not a plain ``.npy`` array.
    """
    file = io.BytesIO(data)
    try:
        array = _values(data, *_header(file), file.tell())
    except _NOT_AN_ARRAY as err:
        found = " ".join(str(err).split())[:_SHOWN]
        raise FormatError(f"not a plain .npy array: {found}; write it with numpy.save, as numbers of one type") from err
    in_order = array.ndim == 1 or (array.ndim > 1 and array.flags.c_contiguous)
    if not in_order or array.dtype.kind not in "biufc" or not array.size:
        return array, None
    return array, ArrayLayout(array.dtype.str, array.shape, file.tell())


def _header(file: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether the order is Fortran's, and type; leaves the file at the values."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def _values(data: bytes, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any], offset: int) -> NDArray[Any]:
    """Return the array; what its header says is compared with what is there before memory is taken for it."""
    if dtype.hasobject:
        raise ValueError("Object arrays are pickled, and nothing is ever unpickled")
    size = math.prod(shape)
    if min(shape, default=0) < 0 or not dtype.itemsize or size * dtype.itemsize > len(data) - offset:
        raise ValueError(f"shape {shape} of {dtype} in {len(data) - offset:,} bytes")
    flat = np.frombuffer(data, dtype, size, offset).copy()
    return flat.reshape(shape[::-1]).transpose() if fortran else flat.reshape(shape)


def check_rows(array: NDArray[Any], hop_s: float | None) -> None:
    """Raise if an array with a hop has no axis of rows.

    Raises:
        FormatError: It has none.
    """
    if hop_s is not None and array.ndim == 0:
        raise FormatError(f"an array without axes has no rows each {hop_s:g} s; leave out its hop")


def rows_between(start_s: float, stop_s: float, hop_s: float) -> tuple[int, int]:
    """Return the rows [first, last) that overlap the time [start_s, stop_s): row i is [i·hop_s, (i+1)·hop_s)."""
    return int(start_s / hop_s + _ROUNDING), math.ceil(stop_s / hop_s - _ROUNDING)


def num_rows(duration_s: float, hop_s: float) -> int:
    """Return how many rows cover a duration that begins with a row."""
    return max(1, math.ceil(duration_s / hop_s - _ROUNDING))
