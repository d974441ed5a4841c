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
_MPEG_1 = 3
_LAYER_III = 1
_MAX_REACH = {3: 511, 2: 255, 0: 255}  # main_data_begin has 9 bits, or 8
_MIN_FRAME_BYTES = 24  # 8 kbit/s at 24 kHz
_FRAMES_FLAG = 1
_FIELD_BYTES = ((1, 4), (2, 4), (4, 100), (8, 4))  # flag and size: frames, bytes, seek points, quality


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame's header.

    Attributes:
        num_bytes: Size of the frame.
        side_info: Size of the side information, which lies between the header and a Xing tag.
        version: 3 for MPEG-1, 2 for MPEG-2, 0 for MPEG-2.5.
        sample_rate: Samples per second.
        checked: Whether a CRC of two bytes follows the header.
    """

    num_bytes: int
    side_info: int
    version: int
    sample_rate: int
    checked: bool

    @property
    def num_granules(self) -> int:
        """Granules of 576 samples in a frame."""
        return 2 if self.version == _MPEG_1 else 1

    @property
    def num_samples(self) -> int:
        """Samples in a frame."""
        return 576 * self.num_granules

    @property
    def kind(self) -> tuple[int, int, int]:
        """What the frames of a file must have in common."""
        return self.version, self.sample_rate, self.side_info


def first_frame(data: bytes | memoryview) -> int | None:
    """Return the offset of the first frame if the data are MP3: two frames in a row, or one that ends the file."""
    start = skip_id3v2(data)
    frame = frame_at(data, start)
    if frame is None:
        return None
    after = start + frame.num_bytes
    return start if after >= len(data) or frame_at(data, after) is not None else None


def claimed_frames(data: bytes | memoryview, start: int) -> int | None:
    """Return the number of audio frames that a Xing, Info or VBRI header states, if there is one and it does."""
    frame = frame_at(data, start)
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
    while (frame := frame_at(data, start)) is not None:
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
    return count_frame(data[start : start + 4], len(data) // _MIN_FRAME_BYTES + 1) + data[start:]


def encoder_delay(data: bytes | memoryview, start: int) -> int:
    """Return how many samples of silence an encoder says it put in front, in the LAME tag behind a Xing header."""
    frame = frame_at(data, start)
    if frame is None:
        return 0
    body = bytes(data[start : start + frame.num_bytes])
    xing = 4 + frame.side_info
    if body[xing : xing + 4] not in {b"Xing", b"Info"}:
        return 0
    tag = xing + 8 + sum(size for flag, size in _FIELD_BYTES if body[xing + 7] & flag)
    return int.from_bytes(body[tag + 21 : tag + 24], "big") >> 12


def main_data(data: bytes | memoryview, start: int, frame: Frame) -> tuple[int, int]:
    """Return how many bytes before its main data a frame's bits begin, and how many bytes of main data it has."""
    side = start + (6 if frame.checked else 4)
    reach = data[side] << 1 | data[side + 1] >> 7 if frame.version == _MPEG_1 else data[side]
    return reach, frame.num_bytes - (side - start) - frame.side_info


def silenced(raw: bytes, reach: int) -> bytes:
    """Return a frame that decodes to silence and passes on its main data and ``reach`` bytes from before."""
    frame = frame_at(raw, 0)
    if frame is None:
        raise AudioError(f"damaged MP3 frame: {raw[:4].hex()}")
    reach = min(reach, _MAX_REACH[frame.version])
    begin = (reach << 7).to_bytes(2, "big") if frame.version == _MPEG_1 else bytes([reach])
    side = 6 if frame.checked else 4
    return raw[:side] + begin.ljust(frame.side_info, b"\0") + raw[side + frame.side_info :]


def count_frame(header: bytes, num_frames: int) -> bytes:
    """Return a silent frame with a Xing header, of the same kind as ``header``.

    Raises:
        AudioError: That is no header.
    """
    for bitrate in range(1, 15):
        # No CRC, no padding; rate, mode and version as they are.
        candidate = bytes([header[0], header[1] | 1, bitrate << 4 | header[2] & 0x0D, header[3]])
        frame = frame_at(candidate, 0)
        if frame is not None and frame.num_bytes >= 4 + frame.side_info + 12:
            body = bytes(frame.side_info) + b"Xing" + bytes([0, 0, 0, _FRAMES_FLAG]) + num_frames.to_bytes(4, "big")
            return (candidate + body).ljust(frame.num_bytes, b"\0")
    raise AudioError(f"damaged: MP3 frame header {header.hex()}")


def frame_at(data: bytes | memoryview, start: int) -> Frame | None:
    """Return what a frame's header says, if one is there."""
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
    return Frame(size + (head[2] >> 1 & 1), side_info, version, sample_rate, not head[1] & 1)
