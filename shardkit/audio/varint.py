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


def read_varint(data: bytes, start: int) -> tuple[int, int]:
    """Return the value at ``start`` and the offset after it.

    Raises:
        FormatError: The value ends beyond the data or takes more than 63 bits.
    """
    value = 0
    for index, octet in enumerate(data[start : start + _MAX_BYTES]):
        value |= (octet & 0x7F) << 7 * index
        if octet < 0x80:
            return value, start + index + 1
    raise FormatError(f"number at byte {start} of {len(data)} does not end")
