"""FLAC frames to samples, through dr_flac (miniaudio).

dr_flac takes a buffer, lets other threads run while it decodes, and does not seek behind one's back. It checks the
CRC-16 of each frame and leaves out, without a word, a frame that does not match. So exactly the frames that hold the
samples must be given and all of their samples be asked for: then damage is a count that falls short.
"""

import threading
from typing import Any

import miniaudio
import numpy as np
from numpy.typing import NDArray

from shardkit.audio.flac import StreamInfo, slice_header
from shardkit.audio.flac_header import MAX_BLOCK
from shardkit.audio.pcm import Native, to_float32
from shardkit.core.errors import AudioError

# miniaudio's own functions grow a buffer for as long as frames come, and copy it; dr_flac itself, which they wrap,
# fills a buffer of the size wanted: a fifth faster, and bounded. Its names there are no promise, hence the fallback.
_HAS_DR_FLAC = hasattr(miniaudio.lib, "ma_dr_flac_read_pcm_frames_f32") and hasattr(miniaudio, "ffi")
_MIN_FRAME_BYTES = 9  # header 6, one constant subframe 1 or more, CRC-16 2 (RFC 9639, 9)
_MAX_KEPT = 8 << 20  # bytes that a thread keeps
_memory = threading.local()  # see _room


def stream_of(frames: bytes | memoryview, info: StreamInfo, num_samples: int) -> memoryview:
    """Return some consecutive frames as a stream of their own, in memory that this thread's next will take.

    Args:
        frames: Bytes from the start of a frame to the end of one.
        info: Facts of the stream; the totals in it are not used.
        num_samples: How many samples the frames hold.

    Raises:
        AudioError: So few bytes can't hold them.
    """
    _check_fits(frames, num_samples, info.max_block)
    header = slice_header(info, num_samples)
    stream = _room("stream", len(header) + len(frames)).data
    stream[: len(header)] = header
    stream[len(header) :] = frames
    return stream


def decode_frames(frames: bytes | memoryview, info: StreamInfo, num_samples: int) -> Native:
    """Return the samples of some consecutive frames, as a native block; see ``stream_of``.

    Raises:
        AudioError: A frame is damaged or missing.
    """
    return decode_stream(stream_of(frames, info, num_samples), info.channels, num_samples, info.bit_depth)


def decode_stream(
    stream: bytes | memoryview, channels: int, num_samples: int, bit_depth: int, *, for_now: bool = False
) -> Native:
    """Return all samples of a whole stream, as a native block.

    Args:
        stream: Its bytes.
        channels: How many it has.
        num_samples: How many samples it has.
        bit_depth: Of these.
        for_now: Whether the block is done with before this thread decodes another: it may then lie in memory that the
            next will take.

    Raises:
        AudioError: A frame is damaged or missing, or it is another stream.
    """
    _check_fits(stream, num_samples, MAX_BLOCK)
    dtype: type[np.signedinteger] = np.int16 if bit_depth <= 16 else np.int32
    if _HAS_DR_FLAC:
        size = num_samples * channels * np.dtype(dtype).itemsize
        room = _room("block", size) if for_now else np.empty(size, np.uint8)
        block = _decode_into(room.view(dtype).reshape(num_samples, channels), stream)
    else:
        block = _decode_and_copy(stream, channels, num_samples, dtype)
    if len(block) != num_samples:
        raise _missing(num_samples, len(block))
    return block


def decode_mono(stream: bytes | memoryview, num_samples: int, start: int, out: NDArray[np.float32]) -> None:
    """Put samples from ``start`` on where they shall go, without a block between: a tenth of decoding is saved.

    Args:
        stream: A whole stream of one channel.
        num_samples: How many samples it has. All of them are decoded, so that damage shows.
        start: The first sample that is wanted.
        out: Where to put them, (time,), contiguous: float32 of full scale 1, as ``to_float32`` makes them.

    Raises:
        AudioError: A frame is damaged or missing, or it is another stream. What ``out`` holds then is unknown.
    """
    if not _HAS_DR_FLAC:
        block = decode_stream(stream, 1, num_samples, 32, for_now=True)
        to_float32(block[start : start + len(out)], out[None])
        return
    _check_fits(stream, num_samples, MAX_BLOCK)
    read, ffi = miniaudio.lib.ma_dr_flac_read_pcm_frames_f32, miniaudio.ffi
    decoder = _opened(stream, 1)
    try:
        found = read(decoder, start, ffi.NULL) if start else 0
        found += read(decoder, len(out), ffi.from_buffer("float[]", out))
        surplus = num_samples - start - len(out)
        if surplus:
            found += read(decoder, surplus, ffi.NULL)
    finally:
        miniaudio.lib.ma_dr_flac_close(decoder)
    if found != num_samples:
        raise _missing(num_samples, found)


def _room(name: str, size: int) -> NDArray[np.uint8]:
    """Return memory of this thread, which it takes again the next time.

    Blocks of some hundred KB go back to the system each time they are freed. Without this, one thread that reads crops
    of 5 s has 94 page faults a crop, and two have none: that depends on how their heaps lie.
    """
    held: NDArray[np.uint8] | None = getattr(_memory, name, None)
    if held is None or held.size < size:
        held = np.empty(size, np.uint8)
        if size <= _MAX_KEPT:
            setattr(_memory, name, held)
    return held[:size]


def _decode_into(block: Native, stream: bytes | memoryview) -> Native:
    """Return as much of a block, (time, channel), as a stream fills."""
    lib, ffi = miniaudio.lib, miniaudio.ffi
    decoder = _opened(stream, block.shape[1])
    try:
        if block.dtype == np.int16:
            read, pointer = lib.ma_dr_flac_read_pcm_frames_s16, "ma_dr_flac_int16 *"
        else:
            read, pointer = lib.ma_dr_flac_read_pcm_frames_s32, "ma_dr_flac_int32 *"
        num_decoded = read(decoder, len(block), ffi.cast(pointer, ffi.from_buffer(block)))
    finally:
        lib.ma_dr_flac_close(decoder)
    return block[:num_decoded]


def _opened(stream: bytes | memoryview, channels: int) -> Any:
    """Return a decoder of a stream, for its user to close."""
    lib, ffi = miniaudio.lib, miniaudio.ffi
    decoder = lib.ma_dr_flac_open_memory(ffi.from_buffer(stream), len(stream), ffi.NULL)
    if not decoder:
        raise AudioError("damaged FLAC frame: the first one does not decode")
    found = decoder.channels
    if found != channels:
        lib.ma_dr_flac_close(decoder)
        raise AudioError(f"FLAC of {found} channels, {channels} expected")
    return decoder


def _check_fits(data: bytes | memoryview, num_samples: int, max_block: int) -> None:
    """Raise unless so many bytes can hold so many samples, before memory is taken for these."""
    if num_samples > len(data) // _MIN_FRAME_BYTES * max_block:
        raise AudioError(f"{len(data)} bytes of FLAC can't hold {num_samples} samples")


def _missing(expected: int, decoded: int) -> AudioError:
    return AudioError(f"damaged FLAC frame: {expected} samples expected, {decoded} decoded")


def _decode_and_copy(
    stream: bytes | memoryview, channels: int, num_samples: int, dtype: type[np.signedinteger]
) -> Native:
    read = miniaudio.flac_read_s16 if dtype == np.int16 else miniaudio.flac_read_s32
    try:
        decoded = read(bytes(stream))
    except miniaudio.DecodeError as err:
        raise AudioError("damaged FLAC frame: the first one does not decode") from err
    if decoded.nchannels != channels:
        raise AudioError(f"FLAC of {decoded.nchannels} channels, {channels} expected")
    return np.frombuffer(decoded.samples, dtype).reshape(-1, channels)[: num_samples + 1]
