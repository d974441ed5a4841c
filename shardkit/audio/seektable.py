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
from functools import lru_cache
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from shardkit.audio.columns import MAX_POSITION, Column, read_column, running_sum, write_column
from shardkit.audio.flac import FlacLayout, StreamInfo
from shardkit.audio.flac_header import MAX_BLOCK
from shardkit.audio.varint import read_varint, read_varints, write_varint
from shardkit.core.errors import FormatError

VERSION = 1
MAX_SPACING_S = 0.25  # a crop reads half of this too much at either end; in bytes, what the loudness track takes
MAX_POINTS = 1 << 22  # 12 days of audio; bounds what a damaged count can make a reader allocate
_VARIABLE = 1


class FlacSpan(NamedTuple):
    """Bytes [lo, hi) of a member that hold some samples, and the samples [first, after) that are in them."""

    lo: int
    hi: int
    first: int
    after: int


@dataclass(frozen=True, slots=True)
class SeekTable:
    """Frame starts of a FLAC member.

    A crop reads the table anew and asks it once, so it is kept as it is coded: the sums that are wanted are made then.

    Attributes:
        frames: Number of samples of the member.
        offset: Byte of the first point.
        min_block: Smallest block size of the stream, in samples.
        max_block: Largest one.
        sizes: Bytes from each point to the next, from the last to the end of the member.
        stride: Samples from each point to the next; 0 if they differ.
        starts: First sample of each point, if they differ, increasing from 0; else None.
    """

    frames: int
    offset: int
    min_block: int
    max_block: int
    sizes: Column
    stride: int
    starts: NDArray[np.int64] | None

    @classmethod
    def of(cls, layout: FlacLayout, *, max_spacing_s: float = MAX_SPACING_S) -> Self:
        """Return the table of a scanned stream, with points at most ``max_spacing_s`` or one frame apart."""
        spacing, info = max(1, int(max_spacing_s * layout.info.sample_rate)), layout.info
        step = max(1, spacing // info.max_block)  # frames
        picks = (
            _spaced(layout.frame_samples, spacing) if layout.variable else np.arange(0, layout.frame_samples.size, step)
        )
        bounds = np.empty(len(picks) + 1, np.int64)
        bounds[:-1], bounds[-1] = layout.frame_bytes[picks], layout.end
        return cls(
            frames=info.total_samples,
            offset=int(bounds[0]),
            min_block=info.min_block,
            max_block=info.max_block,
            sizes=Column(len(picks), 0, (bounds[1:] - bounds[:-1]).view(np.uint64)),
            stride=0 if layout.variable else step * info.max_block,
            starts=layout.frame_samples[picks] if layout.variable else None,
        )

    @property
    def variable(self) -> bool:
        """Whether frames are numbered by sample."""
        return self.starts is not None

    @property
    def samples(self) -> NDArray[np.int64]:
        """First sample of each point, increasing from 0."""
        return np.arange(self.sizes.size) * self.stride if self.starts is None else self.starts

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Byte of each point, increasing."""
        return running_sum(self.offset, self.sizes)[:-1]

    @property
    def end(self) -> int:
        """One past the member's last byte."""
        return self.offset + self.sizes.total(0, self.sizes.size)

    def span(self, start: int, stop: int) -> FlacSpan:
        """Return what must be read for samples [start, stop)."""
        count = self.sizes.size
        if self.starts is None:
            first = min(start // self.stride, count - 1)
            after = min(-(-stop // self.stride), count)
            first_sample, after_sample = first * self.stride, after * self.stride
        else:
            first = int(self.starts.searchsorted(start, side="right")) - 1
            after = int(self.starts.searchsorted(stop, side="left"))
            first_sample, after_sample = int(self.starts[first]), int(self.starts[after]) if after < count else 0
        lo = self.offset + self.sizes.total(0, first)
        hi = lo + self.sizes.total(first, after)
        return FlacSpan(lo, hi, first_sample, after_sample if after < count else self.frames)

    def stream_info(self, sample_rate: int, channels: int, bit_depth: int) -> StreamInfo:
        """Return the STREAMINFO that lets a decoder read any range of the member."""
        return _stream_info(self.min_block, self.max_block, sample_rate, channels, bit_depth)

    def to_bytes(self) -> bytes:
        """Return the coded form."""
        count = self.sizes.size
        parts = [bytes([VERSION, _VARIABLE if self.variable else 0])]
        fields = (self.frames, self.offset, self.min_block, self.max_block, count)
        parts += [write_varint(value) for value in fields]
        parts.append(write_column(self.sizes.values()))
        if self.starts is not None:
            parts.append(write_column(np.diff(self.starts)))
        else:
            parts.append(write_varint(self.stride if count > 1 else 0))
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the table of a coded form.

        Raises:
            FormatError: The bytes are no seek table that ``to_bytes`` could have written.
        """
        if data[:1] != bytes([VERSION]) or len(data) < 2 or data[1] & ~_VARIABLE:
            raise FormatError(f"seek table begins with {data[:2].hex() or 'nothing'}: version {VERSION} expected")
        (frames, offset, min_block, max_block, count), position = read_varints(data, 2, 5)
        if not 1 <= count <= MAX_POINTS or not 1 <= min_block <= max_block <= MAX_BLOCK:
            raise FormatError(f"seek table of {count} points, blocks of {min_block} to {max_block} samples")
        sizes, position = read_column(data, position, count)
        starts = None
        if data[1] & _VARIABLE:
            strides, position = read_column(data, position, count - 1)
            starts, stride = running_sum(0, strides), 0
            increase, last = strides.base > 0, int(starts[-1])
        else:
            stride, position = read_varint(data, position)
            increase, last = stride > 0, stride * (count - 1)
            stride = stride or frames
        # The base is the least of the sizes: none of them is nothing.
        if position != len(data) or sizes.base < 1 or offset >= MAX_POSITION or (count > 1 and not increase):
            raise FormatError(f"seek table of {len(data)} bytes: {position} read, or its points do not increase")
        if last >= frames:
            raise FormatError(f"seek table: its last point is sample {last} of {frames}")
        return cls(frames, offset, min_block, max_block, sizes, stride, starts)


@lru_cache(maxsize=256)
def _stream_info(min_block: int, max_block: int, sample_rate: int, channels: int, bit_depth: int) -> StreamInfo:
    return StreamInfo(min_block, max_block, sample_rate, channels, bit_depth, 0, bytes(16))


def _spaced(samples: NDArray[np.int64], spacing: int) -> NDArray[np.int64]:
    """Return indices from 0 on, each the last one that is within ``spacing`` of the one before, or just the next."""
    picks = [0]
    reach = np.searchsorted(samples, samples + spacing, side="right") - 1
    while picks[-1] < samples.size - 1:
        picks.append(max(picks[-1] + 1, int(reach[picks[-1]])))
    return np.array(picks, np.int64)
