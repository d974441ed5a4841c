"""Ogg pages: whether a file is whole, what it holds, and how far a Vorbis decoder may seek in it.

libogg skips a damaged page without a word, and libsndfile reads only the first of several chained streams, so both
are looked for here, at pack time.

Source:
    RFC 3533, 6 (page header; end-of-stream flag; checksum); Vorbis I, 4.2.1; RFC 7845, 5.1 (OpusHead).
"""

import zlib
from dataclasses import dataclass

from shardkit.core.errors import AudioError

CAPTURE = b"OggS"
_HEADER = 27
_END_OF_STREAM = 0x04
_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
_IDENTIFICATION = {b"\x01vorbis": "vorbis", b"OpusHead": "opus"}


@dataclass(frozen=True, slots=True)
class _Page:
    start: int
    end: int
    flags: int
    granule: int  # samples that end on or before this page; -1: no packet ends here
    serial: int
    sequence: int


def codec_of(data: bytes | memoryview) -> str | None:
    """Return "vorbis" or "opus", by the first packet; None for any other stream."""
    page = _page_at(data, 0)
    if page is None:
        return None
    body = bytes(data[_HEADER + data[26] : _HEADER + data[26] + 8])
    return next((codec for magic, codec in _IDENTIFICATION.items() if body.startswith(magic)), None)


def check(data: bytes | memoryview) -> None:
    """Raise unless the file is exactly one undamaged logical stream, from its first page to its last.

    Raises:
        AudioError: Says at which byte.
    """
    position, last, sequence = 0, None, 0
    while position < len(data):
        page = _page_at(data, position)
        if page is None:
            raise AudioError(f"damaged or truncated: no Ogg page at byte {position} of {len(data)}")
        if page.end > len(data):
            raise AudioError(f"truncated: Ogg page at byte {position} ends at {page.end}, {len(data)} bytes present")
        if _checksum(data, page) != int.from_bytes(data[position + 22 : position + 26], "little"):
            raise AudioError(f"damaged: Ogg page at byte {position} does not match its checksum")
        if (last is not None and page.serial != last.serial) or (last is not None and last.flags & _END_OF_STREAM):
            raise AudioError(f"a second Ogg stream begins at byte {position}: split the file, one recording each")
        if page.sequence != sequence:
            raise AudioError(f"damaged: Ogg page {page.sequence} at byte {position}, page {sequence} expected")
        position, last, sequence = page.end, page, sequence + 1
    if last is None or not last.flags & _END_OF_STREAM:
        raise AudioError(f"truncated: the last of {sequence} Ogg pages isn't marked as the end of the stream")


def seekable_until(data: bytes | memoryview) -> int:
    """Return the sample up to which libvorbisfile seeks exactly.

    It finds a position on a page by counting back from the sample number at which the page ends. On the last page
    that number is cut short to trim the padding of the encoder (Vorbis I, A.2), so that positions on it come out
    shifted; up to the end of the page before, they are right.
    """
    searched = end = len(data)
    granules: list[int] = []
    while len(granules) < 2:
        searched = _rfind(data, searched)
        if searched < 0:
            return 0
        page = _page_at(data, searched)
        if page is not None and page.end == end:
            end = page.start
            if page.granule >= 0:
                granules.append(page.granule)
    return granules[1]


def _rfind(data: bytes | memoryview, end: int) -> int:
    """Return the last capture pattern that ends at or before ``end``; memoryviews have no ``rfind``."""
    window = 1 << 17  # two pages of the greatest size
    while end >= len(CAPTURE):
        start = max(0, end - window)
        found = bytes(data[start:end]).rfind(CAPTURE)
        if found >= 0:
            return start + found
        if not start:
            break
        end = start + len(CAPTURE) - 1
    return -1


def _page_at(data: bytes | memoryview, start: int) -> _Page | None:
    head = bytes(data[start : start + _HEADER])
    if len(head) < _HEADER or head[:4] != CAPTURE or head[4]:
        return None
    lacing = bytes(data[start + _HEADER : start + _HEADER + head[26]])
    return _Page(
        start=start,
        end=start + _HEADER + head[26] + sum(lacing),
        flags=head[5],
        granule=int.from_bytes(head[6:14], "little", signed=True),
        serial=int.from_bytes(head[14:18], "little"),
        sequence=int.from_bytes(head[18:22], "little"),
    )


def _checksum(data: bytes | memoryview, page: _Page) -> int:
    """Return the page's CRC-32, computed with its checksum field as zero.

    Ogg's CRC takes the highest bit first and neither starts nor ends with inverted bits; zlib's takes the lowest
    first and does both. Reversing the bits of each byte and of the result turns one into the other.
    """
    raw = bytes(data[page.start : page.start + 22]) + bytes(4) + bytes(data[page.start + 26 : page.end])
    mirrored = zlib.crc32(raw.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_REVERSED), "big")
