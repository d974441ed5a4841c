"""FLAC frames to samples, through dr_flac (miniaudio).

dr_flac takes a buffer, lets other threads run while it decodes, and does not seek behind one's back. It checks the
CRC-16 of each frame and leaves out, without a word, a frame that does not match. So exactly the frames that hold the
samples must be given and all of their samples be asked for: then damage is a count that falls short.
"""

import miniaudio
import numpy as np

from shardkit.audio.flac import StreamInfo, slice_header
from shardkit.audio.flac_header import MAX_BLOCK
from shardkit.audio.pcm import Native
from shardkit.core.errors import AudioError

# miniaudio's own functions grow a buffer for as long as frames come, and copy it; dr_flac itself, which they wrap,
# fills a buffer of the size wanted: a fifth faster, and bounded. Its names there are no promise, hence the fallback.
_HAS_DR_FLAC = hasattr(miniaudio.lib, "ma_dr_flac_read_pcm_frames_s32") and hasattr(miniaudio, "ffi")
_MIN_FRAME_BYTES = 9  # header 6, one constant subframe 1 or more, CRC-16 2 (RFC 9639, 9)


def decode_frames(frames: bytes | memoryview, info: StreamInfo, num_samples: int) -> Native:
    """Return the samples of some consecutive frames, as a native block.

    Args:
        frames: Bytes from the start of a frame to the end of one.
        info: Facts of the stream; the totals in it are not used.
        num_samples: How many samples the frames hold.

    Raises:
        AudioError: A frame is damaged or missing.
    """
    if num_samples > len(frames) // _MIN_FRAME_BYTES * info.max_block:
        raise AudioError(f"{len(frames)} bytes of FLAC can't hold {num_samples} samples")
    stream = b"".join([slice_header(info, num_samples), frames])
    return decode_stream(stream, info.channels, num_samples, info.bit_depth)


def decode_stream(stream: bytes | memoryview, channels: int, num_samples: int, bit_depth: int) -> Native:
    """Return all samples of a whole stream, as a native block.

    Args:
        stream: Its bytes.
        channels: How many it has.
        num_samples: How many samples it has.
        bit_depth: Of these.

    Raises:
        AudioError: A frame is damaged or missing, or it is another stream.
    """
    if num_samples > len(stream) // _MIN_FRAME_BYTES * MAX_BLOCK:
        raise AudioError(f"{len(stream)} bytes of FLAC can't hold {num_samples} samples")
    decode = _decode_into_buffer if _HAS_DR_FLAC else _decode_and_copy
    block = decode(stream, channels, num_samples, np.int16 if bit_depth <= 16 else np.int32)
    if len(block) != num_samples:
        raise AudioError(f"damaged FLAC frame: {num_samples} samples expected, {len(block)} decoded")
    return block


def _decode_into_buffer(
    stream: bytes | memoryview, channels: int, num_samples: int, dtype: type[np.signedinteger]
) -> Native:
    lib, ffi = miniaudio.lib, miniaudio.ffi
    decoder = lib.ma_dr_flac_open_memory(ffi.from_buffer(stream), len(stream), ffi.NULL)
    if not decoder:
        raise AudioError("damaged FLAC frame: the first one does not decode")
    try:
        if decoder.channels != channels:
            raise AudioError(f"FLAC of {decoder.channels} channels, {channels} expected")
        block = np.empty((num_samples, channels), dtype)
        if dtype == np.int16:
            read, pointer = lib.ma_dr_flac_read_pcm_frames_s16, "ma_dr_flac_int16 *"
        else:
            read, pointer = lib.ma_dr_flac_read_pcm_frames_s32, "ma_dr_flac_int32 *"
        num_decoded = read(decoder, num_samples, ffi.cast(pointer, ffi.from_buffer(block)))
    finally:
        lib.ma_dr_flac_close(decoder)
    return block[:num_decoded]


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
