"""Ogg pages: whether a file is whole, what it holds, and pages of our own.

libogg skips a damaged page without a word, and libsndfile reads only the first of several chained streams, so both
are looked for here, at pack time.

Source:
    RFC 3533, 6 (page header; end-of-stream flag; checksum); Vorbis I, 4.2.1; RFC 7845, 5.1 (OpusHead).
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from shardkit.core.errors import AudioError

CAPTURE = b"OggS"
_HEADER = 27
_CONTINUED, BEGIN_OF_STREAM, END_OF_STREAM = 0x01, 0x02, 0x04
_MAX_SEGMENTS = 255  # of up to 255 bytes each
_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
_IDENTIFICATION = {b"\x01vorbis": "vorbis", b"OpusHead": "opus"}


@dataclass(frozen=True, slots=True)
class Page:
    """A page's header, and the bytes [start, end) that it takes."""

    start: int
    end: int
    flags: int
    granule: int  # samples that end on or before this page; -1: no packet ends here
    serial: int
    sequence: int


def codec_of(data: bytes | memoryview) -> str | None:
    """Return "vorbis" or "opus", by the first packet; None for any other stream."""
    page = page_at(data, 0)
    if page is None:
        return None
    body = bytes(data[_HEADER + data[26] : _HEADER + data[26] + 8])
    return next((codec for magic, codec in _IDENTIFICATION.items() if body.startswith(magic)), None)


def check(data: bytes | memoryview) -> None:
    """Raise unless the file is exactly one undamaged logical stream, from its first page to its last.

    Raises:
        AudioError: Says at which byte.
    """
    last, sequence = None, 0
    for page in pages(data, 0, len(data)):
        if last is None and page.sequence:
            raise AudioError(f"damaged: Ogg page {page.sequence} at byte 0, page 0 expected")
        last, sequence = page, page.sequence + 1
    if last is None or not last.flags & END_OF_STREAM:
        raise AudioError(f"truncated: the last of {sequence} Ogg pages isn't marked as the end of the stream")


def pages(data: bytes | memoryview, start: int, stop: int) -> Iterator[Page]:
    """Yield the pages that fill bytes [start, stop), which continue each other.

    Raises:
        AudioError: They do not: one is damaged, cut off, missing or of another stream; says at which byte.
    """
    last: Page | None = None
    while start < stop:
        page = page_at(data, start)
        if page is None:
            raise AudioError(f"damaged or truncated: no Ogg page at byte {start} of {stop}")
        if page.end > stop:
            raise AudioError(f"truncated: Ogg page at byte {start} ends at {page.end}, {stop} bytes present")
        if _checksum(data, page) != int.from_bytes(data[start + 22 : start + 26], "little"):
            raise AudioError(f"damaged: Ogg page at byte {start} does not match its checksum")
        if last is not None and (page.serial != last.serial or last.flags & END_OF_STREAM):
            raise AudioError(f"a second Ogg stream begins at byte {start}: split the file, one recording each")
        if last is not None and page.sequence != last.sequence + 1:
            raise AudioError(f"damaged: Ogg page {page.sequence} at byte {start}, page {last.sequence + 1} expected")
        yield page
        start, last = page.end, page


def write_pages(packets: Sequence[bytes], *, serial: int, sequence: int, flags: int = 0) -> tuple[bytes, int]:
    """Return pages that hold some packets, as few as they need, and how many they are.

    Args:
        packets: The first begins on the first page, the last ends on the last.
        serial: Number of the stream.
        sequence: Number of the first page.
        flags: Of the first page.
    """
    lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    body, out, num_pages = b"".join(packets), [], 0
    while lacing:
        segments, lacing = lacing[:_MAX_SEGMENTS], lacing[_MAX_SEGMENTS:]
        head = b"".join([
            CAPTURE, bytes([0, flags]), bytes(8), serial.to_bytes(4, "little"),
            (sequence + num_pages).to_bytes(4, "little"), bytes(4), bytes([len(segments)]), segments,
        ])  # fmt: skip
        page = head + body[: sum(segments)]
        out.append(page[:22] + checksum(page).to_bytes(4, "little") + page[26:])
        body, num_pages = body[sum(segments) :], num_pages + 1
        flags = _CONTINUED if segments[-1] == 255 else 0
    return b"".join(out), num_pages


def packets(data: bytes | memoryview, listed: Sequence[Page]) -> Iterator[bytes]:
    """Yield the packets that begin on some consecutive pages and end on them."""
    parts: list[bytes] = []
    for page in listed:
        body = page.start + _HEADER + data[page.start + 26]
        for size in bytes(data[page.start + _HEADER : body]):
            parts.append(bytes(data[body : body + size]))
            body += size
            if size < 255:
                yield b"".join(parts)
                parts = []


def ends(data: bytes | memoryview, page: Page) -> Iterator[None]:
    """Yield for each packet that ends on a page."""
    body = page.start + _HEADER
    yield from (None for size in bytes(data[body : body + data[page.start + 26]]) if size < 255)


def page_at(data: bytes | memoryview, start: int) -> Page | None:
    """Return the page that begins at a byte, if one does; its end may lie beyond the data."""
    head = bytes(data[start : start + _HEADER])
    if len(head) < _HEADER or head[:4] != CAPTURE or head[4]:
        return None
    lacing = bytes(data[start + _HEADER : start + _HEADER + head[26]])
    return Page(
        start=start,
        end=start + _HEADER + head[26] + sum(lacing),
        flags=head[5],
        granule=int.from_bytes(head[6:14], "little", signed=True),
        serial=int.from_bytes(head[14:18], "little"),
        sequence=int.from_bytes(head[18:22], "little"),
    )


def _checksum(data: bytes | memoryview, page: Page) -> int:
    return checksum(bytes(data[page.start : page.start + 22]) + bytes(4) + bytes(data[page.start + 26 : page.end]))


def checksum(raw: bytes) -> int:
    """Return the CRC-32 of a page whose checksum field is zero.

    Ogg's CRC takes the highest bit first and neither starts nor ends with inverted bits; zlib's takes the lowest
    first and does both. Reversing the bits of each byte and of the result turns one into the other.
    """
    mirrored = zlib.crc32(raw.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_REVERSED), "big")
