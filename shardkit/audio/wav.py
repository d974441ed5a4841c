"""RIFF/WAVE: where the PCM of a file lies, and a writer whose bytes depend on the samples alone.

Read: RIFF and RF64, PCM of 8 to 32 bits, floats of 32 and 64, plain and extensible format chunks, any chunks before
and after the data. Other encodings (µ-law, ADPCM …) are told apart and left to libsndfile.

A data chunk longer than the file is a truncated file, with one exception. A program that writes to a pipe can't go
back to put in the size; it writes just below 2**32 (FFmpeg) or 2**31 (SoX, arecord) instead, and a recorder that
was switched off leaves its first header, with 0 in both sizes. There the data run to the end of the file. A size of 0
in a file whose RIFF size is right is an empty recording.

Source:
    Multimedia Programming Interface and Data Specifications 1.0 (IBM and Microsoft, 1991): RIFF, WAVE.
    Multiple Channel Audio Data and WAVE Files (Microsoft, 2007): WAVE_FORMAT_EXTENSIBLE, bits in a container.
    EBU Tech 3306 / ITU-R BS.2088: RF64 and its ds64 chunk.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from shardkit.audio.pcm import WIDTH
from shardkit.core.errors import AudioError

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")  # after the two bytes of the format tag
# Sizes within these 64 KiB stand for "unknown" if the file is not that long.
_UNKNOWN = (range(0x7FFF_0000, 0x8000_0000), range(0xFFFF_0000, 0x1_0000_0000))
_IN_DS64 = 0xFFFF_FFFF
_MAX_RIFF = 0xFFFF_FFFF - 36  # data bytes that leave the RIFF size within 32 bits


@dataclass(frozen=True, slots=True)
class WavLayout:
    """Where the samples of a WAV file lie.

    Attributes:
        sample_format: "u8", "s16", "s24", "s32", "f32" or "f64"; "" if this module can't read the encoding.
        format_tag: The wFormatTag, that of the sub-format if extensible.
        sample_rate: Samples per second.
        channels: Number of channels.
        frames: Whole frames present; 0 if ``sample_format`` is "".
        data_offset: First byte of the data chunk's body.
    """

    sample_format: str
    format_tag: int
    sample_rate: int
    channels: int
    frames: int
    data_offset: int


@dataclass(frozen=True, slots=True)
class _Chunk:
    name: bytes
    body: int
    size: int


def read_layout(data: bytes | memoryview) -> WavLayout:
    """Parse the chunks of a WAV file.

    Raises:
        AudioError: The file is truncated, damaged or has no samples' format.
    """
    form = bytes(data[:12])
    if form[:4] not in {b"RIFF", b"RF64"} or form[8:] != b"WAVE":
        raise AudioError(f"not a WAV file: starts with {form!r}")
    fmt: tuple[str, int, int, int, int] | None = None
    long_size: int | None = None
    for chunk in _chunks(data):
        if chunk.name == b"ds64" and chunk.body + 16 <= len(data):
            (long_size,) = struct.unpack("<Q", bytes(data[chunk.body + 8 : chunk.body + 16]))
        elif chunk.name == b"fmt ":
            fmt = _read_format(bytes(data[chunk.body : chunk.body + chunk.size]), chunk.body)
        elif chunk.name == b"data":
            if fmt is None:
                raise AudioError(f"damaged: WAV data at byte {chunk.body} without a fmt chunk before them")
            size = long_size if chunk.size == _IN_DS64 and long_size is not None else chunk.size
            riff_size = int.from_bytes(form[4:8], "little")
            sample_format, tag, rate, channels, block_align = fmt
            present = _data_bytes(size, riff_size, chunk.body, len(data))
            frames = present // block_align if sample_format else 0
            return WavLayout(sample_format, tag, rate, channels, frames, chunk.body)
    raise AudioError(f"truncated: WAV of {len(data)} bytes without a data chunk")


def write_header(sample_format: str, sample_rate: int, channels: int, data_bytes: int) -> bytes:
    """Return everything of a WAV file that comes before its samples.

    Plain headers where any reader takes them, extensible ones where the format requires it (more than two channels or
    16 bits), RF64 beyond 4 GiB. No optional chunk, no date: equal samples make equal files.
    """
    width = WIDTH[sample_format]
    tag = _FLOAT if sample_format[0] == "f" else _PCM
    block_align = width * channels
    extensible = channels > 2 or (tag == _PCM and width > 2)
    fields = (channels, sample_rate, sample_rate * block_align, block_align, 8 * width)
    if extensible:
        # A channel mask of 0 names no speakers: stems and arrays of microphones have none.
        body = struct.pack("<HHIIHHHHIH", _EXTENSIBLE, *fields, 22, 8 * width, 0, tag) + _GUID_TAIL
    elif tag == _FLOAT:
        body = struct.pack("<HHIIHHH", tag, *fields, 0)
    else:
        body = struct.pack("<HHIIHH", tag, *fields)
    chunks = struct.pack("<4sI", b"fmt ", len(body)) + body
    if tag == _FLOAT or extensible:
        # All but plain PCM need a fact chunk with the number of frames (32 bits; ds64 has the long one).
        frames = min(data_bytes // block_align, _IN_DS64)
        chunks += struct.pack("<4sII", b"fact", 4, frames)
    return _riff(chunks, data_bytes, data_bytes // block_align)


def pad(data_bytes: int) -> bytes:
    """Return the byte that must follow data of an odd size."""
    return b"\0" * (data_bytes & 1)


def _riff(chunks: bytes, data_bytes: int, frames: int) -> bytes:
    riff_size = 4 + len(chunks) + 8 + data_bytes + (data_bytes & 1)
    if data_bytes <= _MAX_RIFF - len(chunks):
        head = struct.pack("<4sI4s", b"RIFF", riff_size, b"WAVE")
        return head + chunks + struct.pack("<4sI", b"data", data_bytes)
    ds64 = struct.pack("<4sIQQQI", b"ds64", 28, riff_size + 36, data_bytes, frames, 0)
    return struct.pack("<4sI4s", b"RF64", _IN_DS64, b"WAVE") + ds64 + chunks + struct.pack("<4sI", b"data", _IN_DS64)


def _chunks(data: bytes | memoryview) -> Iterator[_Chunk]:
    position = 12
    while position + 8 <= len(data):
        name, size = struct.unpack("<4sI", bytes(data[position : position + 8]))
        yield _Chunk(name, position + 8, size)
        position += 8 + size + (size & 1)  # RIFF: bodies are padded to even lengths


def _read_format(body: bytes, start: int) -> tuple[str, int, int, int, int]:
    """Return sample format, format tag, rate, channels and bytes a frame."""
    if len(body) < 16:
        raise AudioError(f"damaged: WAV fmt chunk at byte {start} has {len(body)} bytes, 16 needed")
    tag, channels, sample_rate, _, block_align, bits = struct.unpack_from("<HHIIHH", body)
    if tag == _EXTENSIBLE and len(body) >= 40 and body[26:40] == _GUID_TAIL:
        (tag,) = struct.unpack_from("<H", body, 24)
    if not channels or not sample_rate:
        raise AudioError(f"damaged: WAV fmt chunk at byte {start} says {channels} channels at {sample_rate} Hz")
    sample_format = _sample_format(tag, block_align, channels, bits)
    return sample_format, tag, sample_rate, channels, block_align


def _sample_format(tag: int, block_align: int, channels: int, bits: int) -> str:
    """Return how a sample is stored: integers fill the top bits of a container of whole bytes."""
    width, rest = divmod(block_align, channels)
    if rest or not 0 < bits <= 8 * width:
        return ""
    if tag == _PCM:
        return {1: "u8", 2: "s16", 3: "s24", 4: "s32"}.get(width, "")
    if tag == _FLOAT and bits == 8 * width:
        return {4: "f32", 8: "f64"}.get(width, "")
    return ""


def _data_bytes(size: int, riff_size: int, body: int, num_bytes: int) -> int:
    """Return how many bytes of samples there are, by the sizes in the headers and the length of the file."""
    present = num_bytes - body
    if size <= present:
        never_closed = size == 0 and riff_size + 8 <= body
        return present if never_closed else size
    if any(size in sizes for sizes in _UNKNOWN):
        return present
    raise AudioError(f"truncated: WAV header says {size} bytes of samples, {present} present")
