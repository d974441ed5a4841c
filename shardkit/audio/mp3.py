"""MPEG audio frames: whether bytes are MP3, and how many frames there should be.

mpg123, which libsndfile uses, stops after as many samples as it believes the file to have. It believes the Xing
header, and without one it extrapolates the bit rate of the first frame, which cuts or ends a file of variable bit
rate where it does not end. So a file without a count gets a header that claims enough (``with_count``), and a file
whose count is too small, as two files joined end to end have it, is refused.

Source:
    ISO/IEC 11172-3 and 13818-3, 2.4.1.3 (frame header); the Xing header as LAME writes it (VbrTag.c), VBRI by its
    description in mpg123 (frame header + 32 bytes).
"""

from dataclasses import dataclass

from shardkit.audio.id3 import skip_id3v2
from shardkit.core.errors import AudioError

_KBPS_V1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # Layer III
_KBPS_V2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_V1 = (44100, 48000, 32000)
_RATE_DIVISOR = {3: 1, 2: 2, 0: 4}  # MPEG-1, MPEG-2, MPEG-2.5
_LAYER_III = 1
_MIN_FRAME_BYTES = 24  # 8 kbit/s at 24 kHz
_FRAMES_FLAG = 1


@dataclass(frozen=True, slots=True)
class _Frame:
    """A frame's header. ``side_info`` is the size of what lies between the header and a Xing tag."""

    num_bytes: int
    side_info: int
    version: int
    sample_rate: int


def first_frame(data: bytes | memoryview) -> int | None:
    """Return the offset of the first frame if the data are MP3: two frames in a row, or one that ends the file."""
    start = skip_id3v2(data)
    frame = _frame_at(data, start)
    if frame is None:
        return None
    after = start + frame.num_bytes
    return start if after >= len(data) or _frame_at(data, after) is not None else None


def claimed_frames(data: bytes | memoryview, start: int) -> int | None:
    """Return the number of audio frames that a Xing, Info or VBRI header states, if there is one and it does."""
    frame = _frame_at(data, start)
    if frame is None:
        return None
    body = bytes(data[start : start + 64]).ljust(64, b"\0")
    xing = 4 + frame.side_info
    if body[xing : xing + 4] in {b"Xing", b"Info"} and body[xing + 7] & _FRAMES_FLAG:
        return int.from_bytes(body[xing + 8 : xing + 12], "big") or None
    if body[36:40] == b"VBRI":
        return int.from_bytes(body[50:54], "big") or None
    return None


def check(data: bytes | memoryview) -> None:
    """Raise if more frames follow each other than the header counts: a decoder would leave them out.

    Raises:
        AudioError: Says how many were found and counted.
    """
    start = first_frame(data)
    claimed = None if start is None else claimed_frames(data, start)
    if start is None or claimed is None:
        return
    num_frames = -1  # the header's own frame holds no audio
    while (frame := _frame_at(data, start)) is not None:
        num_frames += 1
        start += frame.num_bytes
        if data[start : start + 3] == b"ID3":
            start = skip_id3v2(data, start)
    if num_frames > claimed + 2:  # some encoders count the header's own frame, or not the last one
        raise AudioError(
            f"its header counts {claimed} MP3 frames, {num_frames} are there: files joined end to end? split them"
        )


def with_count(data: bytes) -> bytes:
    """Return the stream with a header frame that claims more frames than there can be, unless it has a header."""
    start = first_frame(data)
    if start is None or claimed_frames(data, start) is not None:
        return data
    return _count_frame(data[start : start + 4], len(data) // _MIN_FRAME_BYTES + 1) + data[start:]


def _count_frame(header: bytes, num_frames: int) -> bytes:
    """Return a silent frame with a Xing header, of the same kind as ``header``."""
    for bitrate in range(1, 15):
        # No CRC, no padding; rate, mode and version as they are.
        candidate = bytes([header[0], header[1] | 1, bitrate << 4 | header[2] & 0x0D, header[3]])
        frame = _frame_at(candidate, 0)
        if frame is not None and frame.num_bytes >= 4 + frame.side_info + 12:
            body = bytes(frame.side_info) + b"Xing" + bytes([0, 0, 0, _FRAMES_FLAG]) + num_frames.to_bytes(4, "big")
            return (candidate + body).ljust(frame.num_bytes, b"\0")
    raise AudioError(f"damaged: MP3 frame header {header.hex()}")


def _frame_at(data: bytes | memoryview, start: int) -> _Frame | None:
    head = bytes(data[start : start + 4])
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bitrate, rate = head[2] >> 4, head[2] >> 2 & 3
    if version not in _RATE_DIVISOR or layer != _LAYER_III or bitrate in {0, 15} or rate == 3:
        return None  # bit rate 0 is "free format", which no encoder of the field writes
    sample_rate = _RATES_V1[rate] // _RATE_DIVISOR[version]
    mono = head[3] >> 6 == 3
    if version == 3:
        size, side_info = 144_000 * _KBPS_V1[bitrate] // sample_rate, 17 if mono else 32
    else:
        size, side_info = 72_000 * _KBPS_V2[bitrate] // sample_rate, 9 if mono else 17
    return _Frame(size + (head[2] >> 1 & 1), side_info, version, sample_rate)
