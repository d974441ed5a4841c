"""Some pages of a Vorbis file made a file of their own, and where such slices may begin.

A Vorbis packet decodes from itself and the one before it (Vorbis I, 1.3.2), so a decoder that begins at any page is
exact from the second packet on, given the codebooks of the setup header. Behind the stream's headers the pages stand
as they are: a granule position says how many samples the stream has up to there, also where its start is missing,
and libsndfile counts back from it.

The last page is never begun with: its granule position is cut short to trim the encoder's padding (Vorbis I, A.2), so
that nobody knows where on it a sample lies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import xxhash

from shardkit.audio import ogg, whole
from shardkit.audio.facts import AudioFacts
from shardkit.audio.points import SPACING_S, PointTable
from shardkit.core.errors import AudioError

_IDENTIFICATION_BYTES = 30  # Vorbis I, 4.2.2
_NUM_HEADERS = 3  # identification, comment, setup
_NO_COMMENTS = b"\x03vorbis" + bytes(4) + bytes(4) + b"\x01"  # no vendor, no entries, framing bit


@dataclass(frozen=True, slots=True)
class Slice:
    """A file of its own, and up to which sample of the whole stream it goes; None: no packet ends in it."""

    data: bytes
    ends: int | None


def slice_stream(setup: bytes, pages: bytes | memoryview) -> Slice:
    """Return a Vorbis file that holds some consecutive pages of another.

    Args:
        setup: Identification and setup header of that stream, as ``read_setup`` returns them.
        pages: The pages' bytes.

    Raises:
        AudioError: They are damaged, or not consecutive pages of one stream.
    """
    listed = list(ogg.pages(pages, 0, len(pages)))
    if not listed:
        raise AudioError("truncated: no Ogg page")
    first = listed[0]
    identification, codebooks = setup[:_IDENTIFICATION_BYTES], setup[_IDENTIFICATION_BYTES:]
    _, num_pages = ogg.write_pages([_NO_COMMENTS, codebooks], serial=first.serial, sequence=0)
    sequence = first.sequence - num_pages - 1  # the pages' own numbers must go on from those of the headers
    if sequence < 0:
        raise AudioError(f"damaged: an Ogg page of audio has the number {first.sequence}")
    front, _ = ogg.write_pages([identification], serial=first.serial, sequence=sequence, flags=ogg.BEGIN_OF_STREAM)
    back, _ = ogg.write_pages([_NO_COMMENTS, codebooks], serial=first.serial, sequence=sequence + 1)
    ends = next((page.granule for page in reversed(listed) if page.granule >= 0), None)
    return Slice(b"".join([front, back, pages]), ends)


def read_setup(data: bytes | memoryview) -> bytes:
    """Return what slices of a Vorbis file need beside its pages: the identification and the setup header.

    Raises:
        AudioError: They are not where they should be.
    """
    return _headers(data, list(ogg.pages(data, 0, len(data))))[0]


def candidates(data: bytes | memoryview, facts: AudioFacts) -> tuple[PointTable, bytes] | None:
    """Return points about every ``SPACING_S`` and the setup to decode from them; None: there are not enough.

    Whether decoding from them is exact is yet to be seen.
    """
    listed = list(ogg.pages(data, 0, len(data)))
    setup, num_pages = _headers(data, listed)
    listed = listed[num_pages:]
    positions, offsets, lag = [0], [listed[0].start if listed else 0], 0
    spacing, before = round(SPACING_S * facts.sample_rate), 0
    for number in range(1, len(listed) - 1):
        before = max(before, listed[number - 1].granule)
        if before - positions[-1] < spacing or listed[number].granule < 0:
            continue
        position = _first_sample(setup, data, listed, number)
        if position > positions[-1]:
            positions.append(position)
            offsets.append(listed[number].start)
            lag = max(lag, position - before)
    if len(positions) < 2:
        return None
    table = PointTable(
        positions=np.array(positions, np.int64),
        offsets=np.array(offsets, np.int64),
        end=len(data),
        skip=0,
        lead=0,
        lag=lag,
        setup=xxhash.xxh3_64_intdigest(setup),
    )
    return table, setup


def _headers(data: bytes | memoryview, listed: Sequence[ogg.Page]) -> tuple[bytes, int]:
    """Return identification and setup header, and the pages they take: audio begins on a fresh one (Vorbis I, A.2)."""
    ends = (number for number, page in enumerate(listed, 1) for _ in ogg.ends(data, page))
    num_pages = next(islice(ends, _NUM_HEADERS - 1, None), 0)
    headers = list(ogg.packets(data, listed[:num_pages]))
    if len(headers) == _NUM_HEADERS and len(headers[0]) == _IDENTIFICATION_BYTES:
        return headers[0] + headers[2], num_pages
    raise AudioError("damaged: the headers of the Vorbis stream do not stand on pages of their own")


def _first_sample(setup: bytes, data: bytes | memoryview, listed: Sequence[ogg.Page], number: int) -> int:
    """Return which sample of the stream a decoder puts out first that begins at a page."""
    last = next(page for page in listed[number + 1 :] if page.granule >= 0)
    piece = slice_stream(setup, memoryview(data)[listed[number].start : last.end])
    with whole.open_stream(piece.data) as file:
        return (piece.ends or 0) - int(file.frames)
