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

    column            base varint, width 1 byte (0 to 6), then each value less base in ``width`` bytes, little-endian

Fixed widths, not a varint a value: on 48 kHz music these take 2.03 bytes a point and varints of second differences
1.95, but a column decodes in one NumPy call, and a crop reads the table each time.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from shardkit.audio.flac import FlacLayout, StreamInfo
from shardkit.audio.flac_header import MAX_BLOCK
from shardkit.audio.varint import read_varint, write_varint
from shardkit.core.errors import FormatError

VERSION = 1
MAX_SPACING_S = 0.25  # a crop reads half of this too much at either end; in bytes, what the loudness track takes
MAX_POINTS = 1 << 22  # 12 days of audio; bounds what a damaged count can make a reader allocate
_VARIABLE = 1
_MAX_WIDTH = 6  # no member has 2**48 bytes


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
        first = int(np.searchsorted(self.samples, start, side="right")) - 1
        after = int(np.searchsorted(self.samples, stop, side="left"))
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
        parts.append(_write_column(np.diff(self.offsets, append=self.end)))
        if self.variable:
            parts.append(_write_column(np.diff(self.samples)))
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
        sizes, position = _read_column(data, position, num_points)
        variable = bool(data[1] & _VARIABLE)
        if variable:
            strides, position = _read_column(data, position, num_points - 1)
        else:
            stride, position = read_varint(data, position)
            strides = np.full(num_points - 1, stride, np.int64)
        if position != len(data) or sizes.min() < 1 or (strides.size and strides.min() < 1):
            raise FormatError(f"seek table of {len(data)} bytes: {position} read, or its points do not increase")
        offsets, samples = _running_sum(offset, sizes), _running_sum(0, strides)
        if samples[-1] >= frames:
            raise FormatError(f"seek table: its last point is sample {samples[-1]} of {frames}")
        return cls(samples, offsets[:-1], frames, int(offsets[-1]), min_block, max_block, variable)


def _spaced(samples: NDArray[np.int64], spacing: int) -> NDArray[np.int64]:
    """Return indices from 0 on, each the last one that is within ``spacing`` of the one before, or just the next."""
    picks = [0]
    reach = np.searchsorted(samples, samples + spacing, side="right") - 1
    while picks[-1] < samples.size - 1:
        picks.append(max(picks[-1] + 1, int(reach[picks[-1]])))
    return np.array(picks, np.int64)


def _running_sum(first: int, steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``first`` and its sums with the steps.

    Raises:
        FormatError: A sum is beyond an int64.
    """
    if first + float(steps.sum(dtype=np.float64)) >= 2.0**62:
        raise FormatError("seek table: positions exceed 2**62")
    return np.cumsum(np.concatenate([[first], steps]), dtype=np.int64)


def _write_column(values: NDArray[np.int64]) -> bytes:
    if not values.size:
        return write_varint(0) + b"\0"
    base = int(values.min())
    width = (int(values.max() - base).bit_length() + 7) // 8
    octets = (values - base).astype("<u8").view(np.uint8).reshape(-1, 8)
    return write_varint(base) + bytes([width]) + octets[:, :width].tobytes()


def _read_column(data: bytes, start: int, count: int) -> tuple[NDArray[np.int64], int]:
    base, start = read_varint(data, start)
    width = data[start] if start < len(data) else _MAX_WIDTH + 1
    stop = start + 1 + width * count
    # The length is checked before anything of that length is made.
    if width > _MAX_WIDTH or stop > len(data):
        raise FormatError(f"seek table of {len(data)} bytes: a column of {count} values does not fit")
    octets = np.zeros((count, 8), np.uint8)
    octets[:, :width] = np.frombuffer(data, np.uint8, width * count, start + 1).reshape(count, width)
    return octets.view("<u8").reshape(count).astype(np.int64) + base, stop
