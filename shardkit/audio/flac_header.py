"""One FLAC frame header: bytes to values.

Source:
    RFC 9639, 9.1. Bit layout: sync 15, blocking 1, block size 4, sample rate 4, channels 4, bit depth 3, zero 1,
    then the coded number, the uncommon block size, the uncommon rate and CRC-8.
"""

from dataclasses import dataclass

MAX_HEADER_BYTES = 16  # 4, number up to 7, block size 2, rate 2, CRC 1
MAX_BLOCK = 65535  # RFC 9639, 9.1.6: 65536 can be written but is forbidden, since STREAMINFO couldn't hold it

_BLOCK_SIZES = (0, 192, 576, 1152, 2304, 4608, 0, 0, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
_BLOCK_8_BITS, _BLOCK_16_BITS = 6, 7
_RATES = (0, 88200, 176400, 192000, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000)
_RATE_FIELDS = {12: (1, 1000), 13: (2, 1), 14: (2, 10)}  # code: bytes of the field, its unit in Hz
_BIT_DEPTHS = (0, 8, 12, None, 16, 20, 24, 32)
_STEREO_CODES = (8, 9, 10)  # left-side, side-right, mid-side


def _crc8_table() -> bytes:
    table = bytearray()
    for value in range(256):
        crc = value
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1  # x^8 + x^2 + x + 1
        table.append(crc)
    return bytes(table)


_CRC8 = _crc8_table()


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """A frame's header. ``number`` counts samples if ``variable``, else frames; ``num_bytes`` includes the CRC-8."""

    variable: bool
    block_size: int
    number: int
    num_bytes: int


def crc8(data: bytes) -> int:
    """Return the CRC-8 that ends a frame header."""
    crc = 0
    for octet in data:
        crc = _CRC8[crc ^ octet]
    return crc


def coded_number(number: int) -> bytes:
    """Return a frame or sample number as a header codes it: UTF-8 extended to 36 bits (RFC 9639, 9.1.5)."""
    if number < 0x80:
        return bytes([number])
    tail = []
    room = 6  # bits left for the number in the first byte, one less for each byte that follows
    while number >> room:
        tail.append(0x80 | number & 0x3F)
        number >>= 6
        room -= 1
    lead = 0xFF << (room + 1) & 0xFF
    return bytes([lead | number, *reversed(tail)])


def begins_frame(
    data: bytes | memoryview, number: int, sample_rate: int, channels: int, bit_depth: int, *, variable: bool
) -> bool:
    """Return whether data begin with the header of a certain frame of a stream.

    ``read_frame_header`` in a third of its time, but for the CRC-8: who decodes the frame looks at that.
    """
    coded = coded_number(number)
    raw = bytes(data[: 4 + len(coded)])
    if raw[:2] != (b"\xff\xf9" if variable else b"\xff\xf8") or raw[4:] != coded:
        return False
    rate = raw[2] & 0xF
    if rate >= len(_RATES):  # it is told in a field of its own
        return read_frame_header(data, 0, sample_rate, channels, bit_depth) is not None
    return _RATES[rate] in (0, sample_rate) and _fits(raw[3], channels, bit_depth)


def read_frame_header(
    data: bytes | memoryview, start: int, sample_rate: int, channels: int, bit_depth: int
) -> FrameHeader | None:
    """Return the frame header at ``start`` if there is one that fits the stream, else None."""
    raw = bytes(data[start : start + MAX_HEADER_BYTES])
    if len(raw) < 6 or raw[0] != 0xFF or raw[1] & 0xFE != 0xF8 or not _fits(raw[3], channels, bit_depth):
        return None
    coded = _read_coded_number(raw)
    if coded is None:
        return None
    number, position = coded
    block = _read_block_size(raw, position)
    if block is None:
        return None
    block_size, position = block
    rate = _read_rate(raw, position, sample_rate)
    if rate is None:
        return None
    header_rate, position = rate
    if header_rate != sample_rate or position >= len(raw) or crc8(raw[:position]) != raw[position]:
        return None
    return FrameHeader(variable=bool(raw[1] & 1), block_size=block_size, number=number, num_bytes=position + 1)


def _fits(octet: int, channels: int, bit_depth: int) -> bool:
    """Return whether the byte with channels, bit depth and a zero bit is possible and says what STREAMINFO says."""
    code, depth = octet >> 4, _BIT_DEPTHS[octet >> 1 & 0x7]
    if octet & 1 or depth is None or depth not in {0, bit_depth}:
        return False
    return channels == (2 if code in _STEREO_CODES else code + 1 if code < 8 else 0)


def _read_coded_number(raw: bytes) -> tuple[int, int] | None:
    """Return the coded number and the position after it."""
    lead = raw[4]
    if lead < 0x80:
        return lead, 5
    num_tail = 7 - (lead ^ 0xFF).bit_length()  # leading ones, less one
    if not 1 <= num_tail <= 6 or 5 + num_tail > len(raw):
        return None
    number = lead & (0x3F >> num_tail)
    for octet in raw[5 : 5 + num_tail]:
        if octet & 0xC0 != 0x80:
            return None
        number = number << 6 | octet & 0x3F
    return number, 5 + num_tail


def _read_block_size(raw: bytes, position: int) -> tuple[int, int] | None:
    code = raw[2] >> 4
    if code in {_BLOCK_8_BITS, _BLOCK_16_BITS}:
        num_bytes = code - 5
        block_size = int.from_bytes(raw[position : position + num_bytes], "big") + 1
        position += num_bytes
    else:
        block_size = _BLOCK_SIZES[code]
    return (block_size, position) if 1 <= block_size <= MAX_BLOCK else None


def _read_rate(raw: bytes, position: int, sample_rate: int) -> tuple[int, int] | None:
    """Return the frame's rate, STREAMINFO's if it leaves it to that, and the position after its field."""
    code = raw[2] & 0xF
    if code in _RATE_FIELDS:
        num_bytes, unit_hz = _RATE_FIELDS[code]
        return int.from_bytes(raw[position : position + num_bytes], "big") * unit_hz, position + num_bytes
    if code >= len(_RATES):
        return None
    return _RATES[code] or sample_rate, position
