"""Unsigned integers of any size in as few bytes as they need: LEB128, as in Protocol Buffers and Parquet."""

from shardkit.core.errors import FormatError

_MAX_BYTES = 9  # 63 bits: what an int64 holds


def write_varint(value: int) -> bytes:
    """Return ``value`` in groups of seven bits, the lowest first; all but the last have their top bit set."""
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(0x80 | value & 0x7F)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varints(data: bytes, start: int, count: int) -> tuple[list[int], int]:
    """Return the ``count`` values that begin at ``start``, and the offset after them.

    Raises:
        FormatError: As ``read_varint``.
    """
    values = []
    for _ in range(count):
        octet = data[start] if start < len(data) else 0x80
        if octet < 0x80:
            start += 1
        else:
            octet, start = read_varint(data, start)
        values.append(octet)
    return values, start


def read_varint(data: bytes, start: int) -> tuple[int, int]:
    """Return the value at ``start`` and the offset after it.

    Raises:
        FormatError: The value ends beyond the data or takes more than 63 bits.
    """
    value = shift = 0
    for position in range(start, min(start + _MAX_BYTES, len(data))):
        octet = data[position]
        if octet < 0x80:
            return value | octet << shift, position + 1
        value |= (octet & 0x7F) << shift
        shift += 7
    raise FormatError(f"number at byte {start} of {len(data)} does not end")
