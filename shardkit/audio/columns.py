"""Columns of integers in a few bytes each: what seek tables are made of.

Coded form: a base (varint), a width (1 byte, 0 to 6), then each value less the base in ``width`` bytes, little-endian.
Fixed widths, not a varint a value: on 48 kHz music these take 2.03 bytes a point and varints of second differences
1.95, but a column decodes in one NumPy call, and a crop reads its table each time.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardkit.audio.varint import read_varint, write_varint
from shardkit.core.errors import FormatError

_MAX_WIDTH = 6  # no member has 2**48 bytes
MAX_POSITION = 1 << 62
_FEW = 100  # values that are summed one by one
_PLAIN = {1: "<u1", 2: "<u2", 4: "<u4"}  # widths that NumPy reads as they lie


def write_column(values: NDArray[np.int64]) -> bytes:
    """Return the coded form of values of at least 0."""
    if not values.size:
        return write_varint(0) + b"\0"
    base = int(values.min())
    if values.size == 1:
        return write_varint(base) + b"\0"
    width = (int(values.max() - base).bit_length() + 7) // 8
    octets = (values - base).astype("<u8").view(np.uint8).reshape(-1, 8)
    return write_varint(base) + bytes([width]) + octets[:, :width].tobytes()


class Column(NamedTuple):
    """A column as it lies in its coded form.

    Attributes:
        size: How many values there are.
        base: The least of them, or less.
        rest: What each is above the base; None: nothing.
    """

    size: int
    base: int
    rest: NDArray[np.unsignedinteger] | None

    def values(self) -> NDArray[np.int64]:
        """Return the values."""
        if self.rest is None:
            return np.full(self.size, self.base, np.int64)
        return self.rest.astype(np.int64) + self.base

    def total(self, first: int, last: int) -> int:
        """Return the sum of the values [first, last)."""
        total = self.base * (last - first)
        if self.rest is None:
            return total
        rest = self.rest[first:last]
        # NumPy's own sum takes as long to begin as a hundred of these.
        return total + (sum(rest.tolist()) if len(rest) < _FEW else int(rest.sum(dtype=np.int64)))


def read_column(data: bytes, start: int, count: int) -> tuple[Column, int]:
    """Return the column of ``count`` values whose coded form begins at ``start``, and the offset after it.

    Raises:
        FormatError: It does not fit into the data, or its sum is beyond an int64.
    """
    base, start = read_varint(data, start)
    width = data[start] if start < len(data) else _MAX_WIDTH + 1
    stop = start + 1 + width * count
    # The length is checked before anything of that length is made.
    if width > _MAX_WIDTH or stop > len(data):
        raise FormatError(f"seek table of {len(data)} bytes: a column of {count} values does not fit")
    if (base + (1 << 8 * width)) * count >= MAX_POSITION:
        raise FormatError(f"seek table: {count} values of up to {base + (1 << 8 * width)} exceed 2**62")
    if not width:
        return Column(count, base, None), stop
    if width in _PLAIN:
        return Column(count, base, np.frombuffer(data, _PLAIN[width], count, start + 1)), stop
    octets = np.zeros((count, 8), np.uint8)
    octets[:, :width] = np.frombuffer(data, np.uint8, width * count, start + 1).reshape(count, width)
    return Column(count, base, octets.view("<u8").reshape(count)), stop


def running_sum(first: int, column: Column) -> NDArray[np.int64]:
    """Return ``first``, below 2**63 - 2**62, and its sums with the values of a column."""
    sums = np.empty(column.size + 1, np.int64)
    sums[0] = first
    np.cumsum(column.values(), out=sums[1:])
    sums[1:] += first
    return sums
