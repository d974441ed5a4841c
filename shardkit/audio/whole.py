"""Recordings through libsndfile: lossy codecs, AIFF and compressed WAV.

What "the samples of a recording" are is fixed by one rule, since law L6 needs a full decode to compare with: decode
from the first byte to the last, in one go. Whether a decoder that seeks yields the same bits was tried, codec by codec:

    AIFF, PCM    arithmetic: exact
    Vorbis       libvorbisfile loses its place on the last page, and in streams whose start was trimmed
    Opus         the decoder's state converges but need not become equal (RFC 7845, 4.6)
    MP3          mpg123 differs in the last bit after most seeks, and by much more where the bit reservoir reaches
                 further back than it looks
    ADPCM …      not tried

So AIFF seeks, and the others decode from the first byte up to what is wanted. MP3 and Vorbis with a table of points
(``points``) are cut before they get here (``slices``), and do not seek either.
"""

import io
import os
from collections.abc import Iterator

import numpy as np
import soundfile

from shardkit.audio import mp3
from shardkit.audio.facts import AudioFacts
from shardkit.audio.pcm import Native
from shardkit.core.errors import AudioError

_SKIP_FRAMES = 1 << 16
_MAX_VALUES = 1 << 21  # samples of all channels in a block: a WAV may claim 1,024 channels
_SEEK_FROM = 1 << 17  # decoding up to here takes as long as a seek or two


class SequentialFile(soundfile.SoundFile):  # type: ignore[misc] # soundfile has no annotations
    """A SoundFile that does not seek after each read or write.

    soundfile does so to keep its two positions equal, and a seek changes what MP3 and Opus decode to next.
    """

    def seekable(self) -> bool:
        """Return False, so that reads and writes just go on."""
        return False


def open_whole(data: bytes | memoryview, codec: str) -> SequentialFile:
    """Open a recording that lies in memory.

    Raises:
        AudioError: libsndfile does not take it.
    """
    raw = data if isinstance(data, bytes) else bytes(data)
    return open_stream(mp3.with_count(raw) if codec == "mp3" else raw)


def open_stream(raw: bytes) -> SequentialFile:
    """Open a file that lies in memory, as it is.

    Raises:
        AudioError: libsndfile does not take it.
    """
    try:
        return SequentialFile(_file_of(raw))
    except soundfile.LibsndfileError as err:
        raise AudioError(f"damaged or not decodable: {err.error_string}") from err


def _file_of(raw: bytes) -> int | io.BytesIO:
    """Return a descriptor of some bytes, for libsndfile to read and close, or where there is none such a file object.

    From an object it reads by calling back into Python: beside a thread that is busy there, each call waits for its
    turn, and decoding takes two to five times as long.
    """
    if not hasattr(os, "memfd_create"):  # Linux only
        return io.BytesIO(raw)
    descriptor = os.memfd_create("shardkit", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False, buffering=0) as file:
            written = 0
            while written < len(raw):  # Linux takes at most 2 GiB a call
                written += file.write(memoryview(raw)[written:])
            file.seek(0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def native_dtype(facts: AudioFacts) -> str:
    """Return the dtype that holds the recording's samples without loss."""
    if facts.bit_depth is None:
        return "float64" if facts.sample_format == "f64" else "float32"
    return "int16" if facts.bit_depth <= 16 else "int32"


def read_span(data: bytes | memoryview, facts: AudioFacts, start: int, stop: int) -> Native:
    """Return samples [start, stop) as a native block.

    Raises:
        AudioError: The recording ends before ``stop`` or can't be decoded.
    """
    dtype = native_dtype(facts)
    with open_whole(data, facts.codec) as file:
        if facts.codec == "aiff" and facts.sample_format and start >= _SEEK_FROM:
            _seek(file, start)
        else:
            skip(file, start, dtype)
        block = read_block(file, stop - start, dtype)
    if len(block) != stop - start:
        raise AudioError(f"truncated or damaged: samples {start} to {stop} wanted, {start + len(block)} decoded")
    return block


def read_blocks(data: bytes | memoryview, facts: AudioFacts, num_frames: int) -> Iterator[Native]:
    """Yield all samples from the first to the last in native blocks of up to ``num_frames``, less of many channels."""
    dtype = native_dtype(facts)
    with open_whole(data, facts.codec) as file:
        num_frames = min(num_frames, max(1, _MAX_VALUES // file.channels))
        while len(block := read_block(file, num_frames, dtype)):
            yield block


def skip(file: SequentialFile, num_frames: int, dtype: str) -> None:
    """Decode some frames in vain.

    Raises:
        AudioError: The recording ends before.
    """
    position, most = 0, max(1, _MAX_VALUES // file.channels)
    while position < num_frames:
        skipped = len(read_block(file, min(_SKIP_FRAMES, num_frames - position, most), dtype))
        if not skipped:
            raise AudioError(f"truncated: sample {num_frames} wanted, {position} decoded")
        position += skipped


def read_block(file: SequentialFile, num_frames: int, dtype: str) -> Native:
    """Return up to ``num_frames`` further frames; none at the end.

    Raises:
        AudioError: libsndfile fails.
    """
    try:
        block: Native = file.read(num_frames, dtype=dtype, always_2d=True)
    except soundfile.LibsndfileError as err:
        raise AudioError(f"damaged: {err.error_string}") from err
    return np.asarray(block)


def _seek(file: SequentialFile, sample: int) -> None:
    try:
        file.seek(sample)
    except soundfile.LibsndfileError as err:
        raise AudioError(f"damaged: no way to sample {sample}: {err.error_string}") from err
