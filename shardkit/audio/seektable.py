"""The seek table of a FLAC member: which bytes hold which samples, in a few bytes a second of audio.

A crop must cost one range read, so the table also holds what a decoder would look up in the member's header: the
block sizes. Points lie at frame starts, the next as late as it can be within ``MAX_SPACING_S`` of the last:

    samples   0        4096     8192     12288    16384                          frames
    point     0                 1                 2                  end
    a crop             [..............)                                          of samples 5000 to 12000
    is read   [........................)                                         from point 0 to point 2

Coded form, version 1; numbers are LEB128 varints unless a width is given:

    version           1 byte, 1
    flags             1 byte; bit 0: frames are numbered by sample (variable block size); other bits zero
    frames            samples of the member
    offset            byte of the first frame
    min_block, max_block
    num_points        at least 1
    column            bytes from each point to the next, from the last to the end of the member: num_points values
    stride            fixed block size: samples from each point to the next
    column            variable block size instead: samples from each point to the next: num_points - 1 values

    column            as in ``columns``
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from shardkit.audio.columns import read_column, running_sum, write_column
from shardkit.audio.flac import FlacLayout, StreamInfo
from shardkit.audio.flac_header import MAX_BLOCK
from shardkit.audio.varint import read_varint, write_varint
from shardkit.core.errors import FormatError

VERSION = 1
MAX_SPACING_S = 0.25  # a crop reads half of this too much at either end; in bytes, what the loudness track takes
MAX_POINTS = 1 << 22  # 12 days of audio; bounds what a damaged count can make a reader allocate
_VARIABLE = 1


@dataclass(frozen=True, slots=True)
class SeekTable:
    """Frame starts of a FLAC member.

    Attributes:
        samples: First sample of each point, increasing from 0.
        offsets: Byte of each point, increasing.
        frames: Number of samples of the member.
        end: One past the member's last byte.
        min_block: Smallest block size of the stream, in samples.
        max_block: Largest one.
        variable: Whether frames are numbered by sample.
    """

    samples: NDArray[np.int64]
    offsets: NDArray[np.int64]
    frames: int
    end: int
    min_block: int
    max_block: int
    variable: bool

    @classmethod
    def of(cls, layout: FlacLayout, *, max_spacing_s: float = MAX_SPACING_S) -> Self:
        """Return the table of a scanned stream, with points at most ``max_spacing_s`` or one frame apart."""
        spacing = max(1, int(max_spacing_s * layout.info.sample_rate))
        if layout.variable:
            picks = _spaced(layout.frame_samples, spacing)
        else:
            picks = np.arange(0, layout.frame_samples.size, max(1, spacing // layout.info.max_block))
        return cls(
            samples=layout.frame_samples[picks],
            offsets=layout.frame_bytes[picks],
            frames=layout.info.total_samples,
            end=layout.end,
            min_block=layout.info.min_block,
            max_block=layout.info.max_block,
            variable=layout.variable,
        )

    def byte_range(self, start: int, stop: int) -> tuple[int, int, int]:
        """Return the bytes [lo, hi) that hold samples [start, stop), and the number of the first sample in them."""
        lo, hi, first_sample, _ = self.span(start, stop)
        return lo, hi, first_sample

    def span(self, start: int, stop: int) -> tuple[int, int, int, int]:
        """Return the bytes [lo, hi) that hold samples [start, stop), and the samples [first, after) in them."""
        first = int(self.samples.searchsorted(start, side="right")) - 1
        after = int(self.samples.searchsorted(stop, side="left"))
        if after == self.offsets.size:
            return int(self.offsets[first]), self.end, int(self.samples[first]), self.frames
        return int(self.offsets[first]), int(self.offsets[after]), int(self.samples[first]), int(self.samples[after])

    def stream_info(self, sample_rate: int, channels: int, bit_depth: int) -> StreamInfo:
        """Return the STREAMINFO that lets a decoder read any range of the member."""
        return StreamInfo(self.min_block, self.max_block, sample_rate, channels, bit_depth, 0, bytes(16))

    def to_bytes(self) -> bytes:
        """Return the coded form."""
        num_points = int(self.samples.size)
        parts = [bytes([VERSION, _VARIABLE if self.variable else 0])]
        fields = (self.frames, int(self.offsets[0]), self.min_block, self.max_block, num_points)
        parts += [write_varint(value) for value in fields]
        parts.append(write_column(np.append(self.offsets[1:], self.end) - self.offsets))
        if self.variable:
            parts.append(write_column(np.diff(self.samples)))
        else:
            parts.append(write_varint(int(self.samples[1]) if num_points > 1 else 0))
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the table of a coded form.

        Raises:
            FormatError: The bytes are no seek table that ``to_bytes`` could have written.
        """
        if data[:1] != bytes([VERSION]) or len(data) < 2 or data[1] & ~_VARIABLE:
            raise FormatError(f"seek table begins with {data[:2].hex() or 'nothing'}: version {VERSION} expected")
        position, fields = 2, []
        for _ in range(5):
            value, position = read_varint(data, position)
            fields.append(value)
        frames, offset, min_block, max_block, num_points = fields
        if not 1 <= num_points <= MAX_POINTS or not 1 <= min_block <= max_block <= MAX_BLOCK:
            raise FormatError(f"seek table of {num_points} points, blocks of {min_block} to {max_block} samples")
        sizes, position = read_column(data, position, num_points)
        variable = bool(data[1] & _VARIABLE)
        if variable:
            strides, position = read_column(data, position, num_points - 1)
            least = int(strides.min()) if num_points > 1 else 1
            samples = running_sum(0, strides)
            last = int(samples[-1])
        else:
            least, position = read_varint(data, position)
            last = least * (num_points - 1)
            samples = np.arange(num_points) * (least if last < frames else 0)
        if position != len(data) or sizes.min() < 1 or (num_points > 1 and least < 1):
            raise FormatError(f"seek table of {len(data)} bytes: {position} read, or its points do not increase")
        if last >= frames:
            raise FormatError(f"seek table: its last point is sample {last} of {frames}")
        offsets = running_sum(offset, sizes)
        return cls(samples, offsets[:-1], frames, int(offsets[-1]), min_block, max_block, variable)


def _spaced(samples: NDArray[np.int64], spacing: int) -> NDArray[np.int64]:
    """Return indices from 0 on, each the last one that is within ``spacing`` of the one before, or just the next."""
    picks = [0]
    reach = np.searchsorted(samples, samples + spacing, side="right") - 1
    while picks[-1] < samples.size - 1:
        picks.append(max(picks[-1] + 1, int(reach[picks[-1]])))
    return np.array(picks, np.int64)
