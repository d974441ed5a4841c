"""Which of the FLAC frames that were read hold the samples that are wanted.

Points of a seek table lie a few frames apart, so that the bytes of a crop begin and end with frames it does not need.
A frame tells its number in its header, so those that are needed are found by looking for them.
"""

from shardkit.audio.flac import StreamInfo
from shardkit.audio.flac_header import read_frame_header

_REACH = 1 << 16  # bytes from either end in which to look; a quarter of a second of 24-bit stereo at 96 kHz
_PREFIX_BYTES = 3  # sync code, blocking, block size and rate: the same in all frames but the last


def only_frames(
    data: memoryview, info: StreamInfo, held: tuple[int, int], wanted: tuple[int, int]
) -> tuple[memoryview, int, int]:
    """Return frames of fixed size without those at either end that hold nothing wanted.

    Args:
        data: Frames, from the start of the first to the end of the last.
        info: Of the stream.
        held: The samples that they hold, the first of them at the start of a frame.
        wanted: Some of these samples.

    Returns:
        The frames that are left, and the samples [first, after) that they hold. A frame that is not found is no
        error: then there is more left than needed.
    """
    (first, after), (start, stop) = held, wanted
    block, prefix = info.max_block, bytes(data[:_PREFIX_BYTES])
    begin, end = start // block, -(-stop // block)  # numbers of frames
    if end * block < after:
        tail = bytes(data[-_REACH:])
        at = len(tail)
        while (at := tail.rfind(prefix, 0, at + _PREFIX_BYTES - 1)) > 0:
            number = _number(tail, at, info)
            if number == end:
                data, after = data[: len(data) - len(tail) + at], end * block
            if number is not None and number <= end:
                break
    if begin * block > first:
        head = bytes(data[:_REACH])
        at = 0
        while (at := head.find(prefix, at + 1)) > 0:
            number = _number(head, at, info)
            if number == begin:
                data, first = data[at:], begin * block
            if number is not None and number >= begin:
                break
    return data, first, after


def _number(data: bytes, at: int, info: StreamInfo) -> int | None:
    header = read_frame_header(data, at, info.sample_rate, info.channels, info.bit_depth)
    return None if header is None else header.number
