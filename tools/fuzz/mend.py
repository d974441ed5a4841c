"""Checksums put right after a change, so that what lies behind them is reached too."""

from random import Random

from shardkit.audio import ogg
from shardkit.audio.flac_header import crc8
from shardkit.format.tar import BLOCK

_OGG_CRC = slice(22, 26)


def mend_ogg(data: bytes, random: Random) -> bytes:
    """Return an Ogg file with each page's checksum right, most of the time."""
    if random.random() < 0.2:
        return data
    found, start = bytearray(data), 0
    while (start := data.find(ogg.CAPTURE, start)) >= 0:
        page = ogg.page_at(data, start)
        if page is not None and page.end <= len(data):
            blank = bytes(found[start : start + 22]) + bytes(4) + bytes(found[start + 26 : page.end])
            found[start + 22 : start + 26] = ogg.checksum(blank).to_bytes(4, "little")
        start += 4
    return bytes(found)


def mend_tar(data: bytes, random: Random) -> bytes:
    """Return a tar with the checksum of each block that may be a header right, most of the time."""
    if random.random() < 0.2:
        return data
    found = bytearray(data)
    for start in range(0, len(data) - BLOCK + 1, BLOCK):
        block = found[start : start + BLOCK]
        if block[257:262] == b"ustar":
            total = sum(block[:148]) + sum(block[156:]) + 8 * 0x20
            found[start + 148 : start + 156] = b"%06o\0 " % total
    return bytes(found)


def crc16(data: bytes) -> int:
    """Return the CRC-16 that ends a FLAC frame (RFC 9639, 9.3)."""
    crc = 0
    for octet in data:
        crc = (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ octet]
    return crc


def _crc16_of(crc: int) -> int:
    for _ in range(8):
        crc = (crc << 1 ^ 0x8005) & 0xFFFF if crc & 0x8000 else crc << 1
    return crc


_CRC16 = [_crc16_of(value << 8) for value in range(256)]


def flac_of_silence(num_frames: int, *, block: int = 65535, channels: int = 1, rate: int = 8000) -> bytes:
    """Return a FLAC of constant frames: a few bytes each for ``block`` samples of each channel, as bombs have them."""
    from shardkit.audio.flac import StreamInfo, slice_header
    from shardkit.audio.flac_header import coded_number

    info = StreamInfo(block, block, rate, channels, 16, num_frames * block, bytes(16))
    frames = []
    for number in range(num_frames):
        head = b"\xff\xf8\x70" + bytes([(channels - 1) << 4 | 4 << 1]) + coded_number(number)
        head += (block - 1).to_bytes(2, "big")
        body = head + bytes([crc8(head)]) + b"\0\0\0" * channels  # constant subframe, a sample of 16 bits
        frames.append(body + crc16(body).to_bytes(2, "big"))
    return slice_header(info, num_frames * block) + b"".join(frames)


def mend_flac(data: bytes, random: Random) -> bytes:
    """Return a FLAC with the CRC-8 of what look like headers and the CRC-16 of what look like frames right, mostly."""
    if random.random() < 0.3:
        return data
    from shardkit.audio.flac import read_metadata
    from shardkit.core.errors import AudioError

    try:
        _, start = read_metadata(data)
    except AudioError:
        return data
    found, starts = bytearray(data), []
    while (start := data.find(b"\xff\xf8", start)) >= 0:
        for size in range(5, 16):  # where the CRC-8 may stand
            raw = bytes(found[start : start + size])
            if start + size < len(found) and crc8(raw) == found[start + size]:
                starts.append(start)
                break
        else:
            if start + 6 < len(found) and random.random() < 0.5:
                found[start + 5] = crc8(bytes(found[start : start + 5]))
        start += 2
    for first, after in zip(starts, [*starts[1:], len(found)], strict=False):
        if after - first > 2:
            found[after - 2 : after] = crc16(bytes(found[first : after - 2])).to_bytes(2, "big")
    return bytes(found)
