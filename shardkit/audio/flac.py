"""FLAC metadata, and where each frame of a stream lies.

A FLAC frame decodes on its own, so a few frames behind a header decode to exactly their samples. To cut a stream
this way one must know where its frames are. They carry no length; a frame ends where the next one begins, and that is
a byte pattern which also occurs inside frames by chance. What tells a header from chance:

    sync code, 15 bits, and the blocking strategy, one for the whole stream
    rate, channels and bit depth, which must be those of STREAMINFO
    the block size: in a stream of fixed blocks one value, except in the last frame
    the coded number, which must be exactly the next one
    CRC-8 over all of that

Together at least 45 bits, so a false frame is expected once in 10^13 bytes of the first 128 frames and later yet more
rarely; and one would be found when the stream is decoded from these offsets, as packing does with every FLAC.

Source:
    RFC 9639: 8.2 (STREAMINFO), 9.1 (frame header), 9.1.5 (coded number), 9.1.8 (CRC-8).
"""

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from shardkit.audio.flac_header import FrameHeader, coded_number, read_frame_header
from shardkit.audio.id3 import skip_id3v2
from shardkit.core.errors import AudioError

STREAMINFO_BYTES = 34
_STREAMINFO, _LAST_BLOCK, _INVALID_BLOCK = 0, 0x80, 127
_FIXED_SYNC = b"\xff\xf8"
_SYNC = {False: re.compile(rb"\xff\xf8"), True: re.compile(rb"\xff\xf9")}  # 14 bits of sync, a zero, the strategy


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """The STREAMINFO block. ``total_samples`` 0 means not known; an ``md5`` of zeros, not computed."""

    min_block: int
    max_block: int
    sample_rate: int
    channels: int
    bit_depth: int
    total_samples: int
    md5: bytes


@dataclass(frozen=True, slots=True)
class FlacLayout:
    """Where the frames of a stream lie.

    Attributes:
        info: STREAMINFO with ``total_samples``, ``min_block`` and ``max_block`` as the frames have them.
        variable: Whether frames are numbered by sample (variable block size).
        frame_samples: First sample of each frame.
        frame_bytes: First byte of each frame.
        end: One past the last byte.
    """

    info: StreamInfo
    variable: bool
    frame_samples: NDArray[np.int64]
    frame_bytes: NDArray[np.int64]
    end: int


def read_metadata(data: bytes | memoryview) -> tuple[StreamInfo, int]:
    """Return STREAMINFO and the offset of the first frame.

    Raises:
        AudioError: The metadata is damaged or ends early.
    """
    start = skip_id3v2(data)
    if bytes(data[start : start + 4]) != b"fLaC":
        raise AudioError(f"no FLAC stream at byte {start}: 'fLaC' expected")
    position, info, last = start + 4, None, False
    while not last:
        if position + 4 > len(data):
            raise AudioError(f"truncated: FLAC metadata go on at byte {position}, {len(data)} bytes present")
        kind, size = data[position] & 0x7F, int.from_bytes(data[position + 1 : position + 4], "big")
        last = bool(data[position] & _LAST_BLOCK)
        body = position + 4
        position = body + size
        if kind == _INVALID_BLOCK or position > len(data):
            raise AudioError(f"truncated or damaged: FLAC metadata block of {size} bytes at byte {body - 4}")
        if info is None:  # RFC 9639, 8: STREAMINFO must be the first block
            if kind != _STREAMINFO or size != STREAMINFO_BYTES:
                raise AudioError(f"damaged: FLAC metadata at byte {body - 4} do not begin with STREAMINFO")
            info = _read_streaminfo(bytes(data[body:position]))
    if info is None:
        raise AudioError("FLAC without STREAMINFO")
    return info, position


def slice_header(info: StreamInfo, num_samples: int) -> bytes:
    """Return a header that makes some frames of a stream a stream of ``num_samples`` samples.

    Frame sizes and MD5 are zero, which means not known (RFC 9639, 8.2).
    """
    packed = info.sample_rate << 44 | (info.channels - 1) << 41 | (info.bit_depth - 1) << 36 | num_samples
    return (
        b"fLaC"
        + struct.pack(">I", (_LAST_BLOCK | _STREAMINFO) << 24 | STREAMINFO_BYTES)
        + struct.pack(">HH6xQ16x", info.min_block, info.max_block, packed)
    )


def scan(data: bytes | memoryview) -> FlacLayout:
    """Find all frames of a stream.

    Raises:
        AudioError: The stream is truncated or damaged; says at which byte and sample.
    """
    info, first_byte = read_metadata(data)
    first = read_frame_header(data, first_byte, info.sample_rate, info.channels, info.bit_depth)
    if first is None or first.number != 0:
        found = "none" if first is None else f"number {first.number}"
        raise AudioError(f"damaged: FLAC frame 0 (sample 0) expected at byte {first_byte}, {found} found")
    headers, starts = _walk(data, first_byte, first, info)
    blocks = np.array([header.block_size for header in headers], np.int64)
    ends = np.cumsum(blocks)
    total = int(ends[-1])
    if info.total_samples not in {0, total}:
        raise AudioError(
            f"truncated or damaged: FLAC header says {info.total_samples} samples, frames hold {total}; "
            f"after the frame at byte {starts[-1]} none goes on with sample {total} ({len(data)} bytes present)"
        )
    return FlacLayout(
        info=replace(info, total_samples=total, min_block=int(blocks.min()), max_block=int(blocks.max())),
        variable=first.variable,
        frame_samples=ends - blocks,
        frame_bytes=np.array(starts, np.int64),
        end=len(data),
    )


def layout_of(data: bytes, writes: Sequence[int]) -> FlacLayout:
    """Return the layout of a stream whose encoder wrote each frame at once, by where its writes began.

    It is that of ``scan``, for a hundredth of the work; what does not fit is scanned.
    """
    info, first_byte = read_metadata(data)
    starts = [start for start in writes if start >= first_byte]
    num_frames = -(-info.total_samples // info.max_block)
    fits = len(starts) == num_frames and starts[0] == first_byte and starts == sorted(starts)
    if not fits or {data[start : start + 2] for start in starts} != {_FIXED_SYNC}:
        return scan(data)
    samples = np.arange(num_frames, dtype=np.int64) * info.max_block
    last = info.total_samples - int(samples[-1])
    return FlacLayout(
        info=replace(info, min_block=last, max_block=info.max_block if num_frames > 1 else last),
        variable=False,
        frame_samples=samples,
        frame_bytes=np.array(starts, np.int64),
        end=len(data),
    )


def _walk(
    data: bytes | memoryview, first_byte: int, first: FrameHeader, info: StreamInfo
) -> tuple[list[FrameHeader], list[int]]:
    """Return the headers and offsets of all frames that continue each other from the first one on."""
    headers, starts = [first], [first_byte]
    next_sample = first.block_size
    expected = coded_number(next_sample if first.variable else 1)
    for match in _SYNC[first.variable].finditer(data, first_byte + first.num_bytes):
        byte = match.start()
        if bytes(data[byte + 4 : byte + 4 + len(expected)]) != expected:
            continue
        header = read_frame_header(data, byte, info.sample_rate, info.channels, info.bit_depth)
        if header is None or not _may_follow(header, first, next_sample, info.total_samples):
            continue
        headers.append(header)
        starts.append(byte)
        next_sample += header.block_size
        expected = coded_number(next_sample if first.variable else len(headers))
    return headers, starts


def _may_follow(header: FrameHeader, first: FrameHeader, sample: int, total_samples: int) -> bool:
    """Return whether a frame at ``sample`` may have this block size: in fixed blocking only the last one is shorter."""
    if total_samples and sample + header.block_size > total_samples:
        return False
    if first.variable or header.block_size == first.block_size:
        return True
    return header.block_size < first.block_size and total_samples in {0, sample + header.block_size}


def _read_streaminfo(body: bytes) -> StreamInfo:
    min_block, max_block = struct.unpack_from(">HH", body)
    packed = int.from_bytes(body[10:18], "big")
    info = StreamInfo(
        min_block=min_block,
        max_block=max_block,
        sample_rate=packed >> 44,
        channels=(packed >> 41 & 0x7) + 1,
        bit_depth=(packed >> 36 & 0x1F) + 1,
        total_samples=packed & 0xF_FFFF_FFFF,
        md5=body[18:34],
    )
    if not info.sample_rate or info.bit_depth < 4:
        raise AudioError(f"damaged: STREAMINFO says {info.sample_rate} Hz, {info.bit_depth} bits")
    return info
