"""PCM arrays: one layout inside this package, and the ways in and out of it.

Between modules samples travel as *native blocks*, arrays (time, channel) that lose nothing of any source:

    int16     integers of up to 16 bits, in the top bits (8-bit 1 is 256)
    int32     integers of 17 to 32 bits, in the top bits (24-bit 1 is 256)
    float32, float64

Full scale is the type's own, so that a level never depends on the bit depth. Decoders of the field (libsndfile,
dr_flac) use the same layout.
"""

import sys
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shardkit.core.errors import AudioError

Native: TypeAlias = NDArray[Any]  # one of the four above, (time, channel)

WIDTH = {"u8": 1, "s8": 1, "s16": 2, "s24": 3, "s32": 4, "f32": 4, "f64": 8}  # bytes a sample takes in a file
_FLOAT_DTYPE = {"f32": "<f4", "f64": "<f8"}
_MAX_FLOAT = 2.0**64  # full scale is 1, or 2**31 where floats hold integers; filters must not overflow float32
_CACHED = 1 << 15  # samples that stay in a core's cache from one pass to the next
_LITTLE_ENDIAN = sys.byteorder == "little"
_SCALE = {np.dtype(np.int16): 2.0**-15, np.dtype(np.int32): 2.0**-31}


def from_wav(raw: memoryview, sample_format: str, channels: int) -> Native:
    """Return the native block of little-endian, interleaved PCM as a WAV stores it."""
    if sample_format in _FLOAT_DTYPE:
        return np.frombuffer(raw, _FLOAT_DTYPE[sample_format]).reshape(-1, channels)
    if sample_format == "s16":
        return np.frombuffer(raw, "<i2").reshape(-1, channels)
    if sample_format == "s32":
        return np.frombuffer(raw, "<i4").reshape(-1, channels)
    if sample_format == "u8":
        octets = np.frombuffer(raw, np.uint8)
        # WAV stores 8 bits as unsigned with silence at 128; flipping the top bit subtracts 128.
        return ((octets ^ 0x80).astype(np.int16) << 8).reshape(-1, channels)
    # 24 bits: read four bytes at every third, from the one before on, and clear what is not the sample's own. Seven
    # times as fast as copying the bytes into place.
    shifted = b"".join([b"\0", raw])
    overlapping = np.ndarray((len(raw) // 3,), "<i4", shifted, 0, (3,))
    return (overlapping & -256).reshape(-1, channels)


def to_wav(block: Native, sample_format: str) -> bytes:
    """Return the block as a WAV stores it; the inverse of ``from_wav``.

    Bits below the format's depth must be zero: they are cut, not rounded.
    """
    if sample_format in _FLOAT_DTYPE:
        return block.astype(_FLOAT_DTYPE[sample_format], copy=False).tobytes()
    if sample_format == "u8":
        return ((block >> 8).astype(np.uint8) ^ 0x80).tobytes()
    if sample_format == "s24":
        return np.ascontiguousarray(block, "<i4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    return block.astype("<i2" if sample_format == "s16" else "<i4", copy=False).tobytes()


def to_float32(block: Native, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Return samples in [-1, 1), (channel, time): value / 2**(bits - 1), as soundfile does.

    Args:
        block: (time, channel).
        out: Where to put them, (channel, time); None: into a new, contiguous array.
    """
    if out is None:
        out = np.empty(block.shape[::-1], np.float32)
    scale = _SCALE.get(block.dtype)
    if block.dtype == np.int16 and block.shape[1] == 2 and block.flags.c_contiguous and _LITTLE_ENDIAN:
        _stereo_to_float32(block, out)
    elif scale is None:
        with np.errstate(over="ignore", invalid="ignore"):  # packing has refused what becomes infinite here
            out[...] = block.T
    elif block.dtype == np.int16 and block.size > _CACHED:
        np.multiply(block.T, np.float32(scale), out=out)  # in one pass over memory, by pieces that fit a cache
    else:
        # int32 -> float32 rounds once, as C does; a power of two scales without rounding.
        out[...] = block.T
        out *= np.float32(scale)
    return out


def _stereo_to_float32(block: NDArray[np.int16], out: NDArray[np.float32]) -> None:
    """Do for two channels what ``to_float32`` does, in half the time: strided reads of 16 bits are slow.

    A pair of samples is read as 32 bits, and each of them is moved to, or left in, the upper half.
    """
    pairs = block.view(np.int32).reshape(-1)
    upper = np.empty(len(pairs), np.int32)
    out[0] = np.left_shift(pairs, 16, out=upper)
    out[1] = np.bitwise_and(pairs, -65536, out=upper)
    np.multiply(out, np.float32(2.0**-31), out=out)


def to_int16(block: Native, out: NDArray[np.int16]) -> None:
    """Put integers of up to 16 bits where they shall go, full scale 2**15; times 2**-15 they are ``to_float32``'s.

    Args:
        block: (time, channel).
        out: Where to put them, (channel, time).

    Raises:
        AudioError: The block holds more than 16 bits, or floats.
    """
    if block.dtype != np.int16:
        raise AudioError("samples of more than 16 bits can't be delivered as int16; ask for float32")
    if block.shape[1] == 2 and block.flags.c_contiguous and _LITTLE_ENDIAN:
        pairs = block.view(np.int32).reshape(-1)
        out[0] = pairs  # the lower half
        out[1] = pairs >> 16
    else:
        out[...] = block.T


def full_scale(dtype: np.dtype[Any]) -> float:
    """Return what a sample of a native block has to be divided by to lie in [-1, 1)."""
    return 1.0 / _SCALE.get(dtype, 1.0)


def to_float64(block: Native) -> NDArray[np.float64]:
    """Return samples in [-1, 1) without any rounding, (time, channel)."""
    scale = _SCALE.get(block.dtype)
    return block.astype(np.float64) if scale is None else block * np.float64(scale)


def quantise(samples: NDArray[np.float64], bit_depth: int) -> tuple[Native, int]:
    """Return the native block of the nearest integers of ``bit_depth`` bits, and how many samples were clipped.

    Rounds half to even and adds no dither: the result is a function of the input alone, and what is packed is the
    training input of a model, not a listener's copy.
    """
    full_scale = 2.0 ** (bit_depth - 1)
    rounded = np.rint(samples * full_scale)
    clipped = np.clip(rounded, -full_scale, full_scale - 1.0)
    num_clipped = int(np.count_nonzero(rounded != clipped))
    dtype, bits = (np.int16, 16) if bit_depth <= 16 else (np.int32, 32)
    block: Native = clipped.astype(dtype)
    return block << (bits - bit_depth), num_clipped


def widen(block: Native, bit_depth: int) -> Native:
    """Return a block of integers in the native dtype of ``bit_depth`` bits, which must not be fewer than it has."""
    if bit_depth > 16 and block.dtype == np.int16:
        return block.astype(np.int32) << 16
    return block


def right_justify(block: Native, bit_depth: int) -> Native:
    """Return integers of ``bit_depth`` bits as plain values: 24-bit 1 is 1."""
    shift = 8 * block.dtype.itemsize - bit_depth
    return block >> shift if shift else block


def flac_md5_bytes(block: Native, bit_depth: int) -> bytes:
    """Return the bytes whose MD5 a FLAC header holds.

    Source:
        RFC 9639, 8.2: samples interleaved, little-endian, signed, sign-extended to whole bytes.
    """
    num_bytes = -(-bit_depth // 8)
    plain = np.ascontiguousarray(right_justify(block, bit_depth).astype(f"<i{block.dtype.itemsize}"))
    if num_bytes == plain.dtype.itemsize:
        return plain.tobytes()
    return plain.view(np.uint8).reshape(-1, plain.dtype.itemsize)[:, :num_bytes].tobytes()


def check_finite(block: Native, first_sample: int) -> None:
    """Raise if a float block holds NaN, infinity or what no recording can mean.

    Args:
        block: (time, channel); integers always pass.
        first_sample: Number of the block's first sample in its recording, for the message.

    Raises:
        AudioError: Names the sample and the channel.
    """
    if block.dtype.kind != "f":
        return
    if block.size and not (block.max() <= _MAX_FLOAT and block.min() >= -_MAX_FLOAT):  # NaN compares as false
        sample, channel = np.argwhere(~(np.abs(block) <= _MAX_FLOAT))[0]
        raise AudioError(
            f"sample {first_sample + int(sample)} of channel {int(channel)} is {block[sample, channel]}; "
            f"repair the recording or leave it out"
        )
