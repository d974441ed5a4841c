"""Columns of integers in a few bytes each: what seek tables are made of.

Coded form: a base (varint), a width (1 byte, 0 to 6), then each value less the base in ``width`` bytes, little-endian.
Fixed widths, not a varint a value: on 48 kHz music these take 2.03 bytes a point and varints of second differences
1.95, but a column decodes in one NumPy call, and a crop reads its table each time.
"""

import numpy as np
from numpy.typing import NDArray

from shardkit.audio.varint import read_varint, write_varint
from shardkit.core.errors import FormatError

_MAX_WIDTH = 6  # no member has 2**48 bytes
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


def read_column(data: bytes, start: int, count: int) -> tuple[NDArray[np.int64], int]:
    """Return ``count`` values whose coded form begins at ``start``, and the offset after it.

    Raises:
        FormatError: It does not fit into the data.
    """
    base, start = read_varint(data, start)
    width = data[start] if start < len(data) else _MAX_WIDTH + 1
    stop = start + 1 + width * count
    # The length is checked before anything of that length is made.
    if width > _MAX_WIDTH or stop > len(data):
        raise FormatError(f"seek table of {len(data)} bytes: a column of {count} values does not fit")
    if width in _PLAIN:
        values = np.frombuffer(data, _PLAIN[width], count, start + 1).astype(np.int64)
    else:
        octets = np.zeros((count, 8), np.uint8)
        octets[:, :width] = np.frombuffer(data, np.uint8, width * count, start + 1).reshape(count, width)
        values = octets.view("<u8").reshape(count).astype(np.int64)
    values += base
    return values, stop


def running_sum(first: int, steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``first`` and its sums with the steps.

    Raises:
        FormatError: A sum is beyond an int64.
    """
    if first + float(steps.sum(dtype=np.float64)) >= 2.0**62:
        raise FormatError("seek table: positions exceed 2**62")
    sums = np.empty(len(steps) + 1, np.int64)
    sums[0] = first
    np.cumsum(steps, out=sums[1:])
    sums[1:] += first
    return sums
