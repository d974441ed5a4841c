"""The table of points of an MP3 or Vorbis member: where a decoder may begin, and from which sample on it is right.

Frames of lossy codecs lean on those before them, so a decoder that begins at a point needs a lead-in until it says
what it would have said, had it begun at the first frame. Positions count what the decoder puts out; the member's
samples begin ``skip`` later, since an MP3 encoder's delay is cut off:

    position      p[0]           p[1]           p[2]           p[3]
    bytes         |..............|..............|..............|.........
    from p[1] on                 [lead )[ exact .....................
    a crop                                  [...........)
    is read                      [.............................)       from point 1 to point 3, where it ends before
                                                                       p[3] - lag

Coded form, version 2; numbers are LEB128 varints unless a width is given:

    version           1 byte, 2
    flags             1 byte; bit 0: a setup follows; bit 1: there are checksums; other bits zero
    setup             8 bytes, if so: the xxh3 (64 bit, seed 0) of the decoder's setup
    skip, lead, lag   in samples
    offset            byte of the first point
    num_points        at least 2
    column            bytes from each point to the next, from the last to the end of the member's audio
    column            samples from each point's position to the next one's: num_points - 1 values
    checks            2 bytes for each point, little-endian, if flags say so: checksums of the bytes up to the next one

A column is as in ``columns``. Version 1 is that of FLAC (``seektable``).
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from shardkit.audio.checks import checksum
from shardkit.audio.columns import MAX_POSITION, read_column, running_sum, write_column
from shardkit.audio.seektable import MAX_POINTS
from shardkit.audio.varint import read_varints, write_varint
from shardkit.core.errors import AudioError, FormatError

VERSION = 2
SPACING_S = 0.5  # a crop reads about half of this too much at either end; points take 2 to 4 bytes each
_HAS_SETUP, _HAS_CHECKS = 1, 2
_SETUP_BYTES = 8
_MAX_LEAD = 1 << 20  # no decoder looks back that far: what a damaged table can make one decode in vain


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes [lo, hi) of a member, and what they decode to: positions [first, after); None: up to the end."""

    lo: int
    hi: int
    first: int
    after: int | None


@dataclass(frozen=True, slots=True)
class PointTable:
    """Where decoding may begin in an MP3 or Vorbis member.

    Attributes:
        positions: What the decoder puts out first at each point, increasing from 0.
        offsets: Byte of each point, increasing.
        end: One past the last byte of audio.
        skip: Position of the member's first sample.
        lead: What is decoded after a point, other than the first, before the output is exact.
        lag: How much of the output before a point may need bytes after it.
        setup: Hash of the decoder's setup; None: the codec needs none.
        checks: Checksums of the bytes from each point to the next, (point,) uint16; None: the codec has its own.
    """

    positions: NDArray[np.int64]
    offsets: NDArray[np.int64]
    end: int
    skip: int
    lead: int
    lag: int
    setup: int | None
    checks: NDArray[np.uint16] | None = None

    def span(self, start: int, stop: int) -> Span:
        """Return which bytes samples [start, stop) need."""
        first = max(0, int(np.searchsorted(self.positions, start + self.skip - self.lead, side="right")) - 1)
        after = int(np.searchsorted(self.positions, stop + self.skip + self.lag, side="left"))
        at_end = after == self.offsets.size
        return Span(
            lo=int(self.offsets[first]),
            hi=self.end if at_end else int(self.offsets[after]),
            first=int(self.positions[first]),
            after=None if at_end else int(self.positions[after]),
        )

    def first_points(self, count: int, data: memoryview) -> Self:
        """Return the table without the points after the first ``count``; ``data`` is the whole member."""
        checks = None
        if self.checks is not None:  # what followed the last of them goes up to the end now
            last = checksum(data[self.offsets[count - 1] : self.end])
            checks = np.append(self.checks[: count - 1], np.uint16(last))
        return replace(self, positions=self.positions[:count], offsets=self.offsets[:count], checks=checks)

    def check(self, data: memoryview, lo: int) -> None:
        """Raise unless the bytes from one point to another are those that were packed.

        Args:
            data: The bytes.
            lo: Offset of the first of them in the member.

        Raises:
            AudioError: They are not; says which.
        """
        if self.checks is None:
            return
        ends = np.append(self.offsets[1:], self.end)
        first = int(self.offsets.searchsorted(lo))
        last = int(ends.searchsorted(lo + len(data))) + 1
        for start, end, known in zip(self.offsets[first:last], ends[first:last], self.checks[first:last], strict=True):
            if checksum(data[start - lo : end - lo]) != known:
                raise AudioError(f"damaged: bytes {start} to {end} are not those that were packed (checksum)")

    def exact_from(self) -> NDArray[np.int64]:
        """Return from which sample on a decoder that begins at each point is right."""
        exact = self.positions + (self.lead - self.skip)
        exact[0] = 0
        return exact

    def to_bytes(self) -> bytes:
        """Return the coded form."""
        flags = (0 if self.setup is None else _HAS_SETUP) | (0 if self.checks is None else _HAS_CHECKS)
        parts = [bytes([VERSION, flags])]
        if self.setup is not None:
            parts.append(self.setup.to_bytes(_SETUP_BYTES, "little"))
        fields = (self.skip, self.lead, self.lag, int(self.offsets[0]), int(self.offsets.size))
        parts += [write_varint(value) for value in fields]
        parts.append(write_column(np.diff(self.offsets, append=self.end)))
        parts.append(write_column(np.diff(self.positions)))
        if self.checks is not None:
            parts.append(self.checks.astype("<u2").tobytes())
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the table of a coded form.

        Raises:
            FormatError: The bytes are no table that ``to_bytes`` could have written.
        """
        if data[:1] != bytes([VERSION]) or len(data) < 2 or data[1] & ~(_HAS_SETUP | _HAS_CHECKS):
            raise FormatError(f"seek table begins with {data[:2].hex() or 'nothing'}: version {VERSION} expected")
        position, setup = 2, None
        if data[1] & _HAS_SETUP:
            setup, position = int.from_bytes(data[2 : 2 + _SETUP_BYTES], "little"), 2 + _SETUP_BYTES
        (skip, lead, lag, offset, num_points), position = read_varints(data, position, 5)
        if not 2 <= num_points <= MAX_POINTS or max(skip, lead, lag) > _MAX_LEAD:
            raise FormatError(f"seek table of {num_points} points, {skip} skipped, lead {lead} and lag {lag} samples")
        sizes, position = read_column(data, position, num_points)
        steps, position = read_column(data, position, num_points - 1)
        checks = None
        if data[1] & _HAS_CHECKS and len(data) - position == 2 * num_points:
            checks, position = np.frombuffer(data, "<u2", offset=position), len(data)
        complete = position == len(data) and (checks is not None) is bool(data[1] & _HAS_CHECKS)
        # The base of a column is the least of its values.
        if not complete or sizes.base < 1 or steps.base < 1 or offset >= MAX_POSITION:
            raise FormatError(f"seek table of {len(data)} bytes: {position} read, or its points do not increase")
        offsets, positions = running_sum(offset, sizes), running_sum(0, steps)
        return cls(positions, offsets[:-1], int(offsets[-1]), skip, lead, lag, setup, checks)
