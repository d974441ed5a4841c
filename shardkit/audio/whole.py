"""Members that are read whole: lossy codecs, AIFF and compressed WAV, through libsndfile.

What "the samples of a recording" are is fixed by one rule, since law L6 needs a full decode to compare with: decode
from the first byte to the last, in one go. Whether a decoder that seeks yields the same bits was tried, codec by codec:

    AIFF, PCM    arithmetic: exact
    Vorbis       a packet needs only the one before it (Vorbis I, 1.3.2), and libvorbisfile decodes that one first:
                 exact, except on the last page, where it loses its place (see ``ogg.seekable_until``), and in
                 streams whose start was trimmed; those are found, and refused, when they are packed
    Opus         the decoder's state converges but need not become equal (RFC 7845, 4.6): not relied on
    MP3          mpg123 differs in the last bit after most seeks, and by much more where the bit reservoir reaches
                 further back than it looks
    ADPCM …      not tried

So long Vorbis and AIFF seek, and the others decode from the start up to what is wanted.
"""

import io
from collections.abc import Iterator

import numpy as np
import soundfile

from shardkit.audio import mp3, ogg
from shardkit.audio.facts import AudioFacts
from shardkit.audio.pcm import Native
from shardkit.core.errors import AudioError

_SKIP_FRAMES = 1 << 16
_SEEK_FROM = 1 << 17  # decoding up to here takes as long as a seek or two
_NUM_TRIALS, _TRIAL_FRAMES = 8, 64


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
    if codec == "mp3":
        raw = mp3.with_count(raw)
    try:
        return SequentialFile(io.BytesIO(raw))
    except soundfile.LibsndfileError as err:
        raise AudioError(f"damaged or not decodable: {err.error_string}") from err


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
        position = min(start, _exact_seek_limit(data, facts)) if start >= _SEEK_FROM else 0
        if position:
            _seek(file, position)
        while position < start:
            skipped = len(read_block(file, min(_SKIP_FRAMES, start - position), dtype))
            if not skipped:
                raise AudioError(f"truncated: sample {start} wanted, {position} decoded")
            position += skipped
        block = read_block(file, stop - start, dtype)
    if len(block) != stop - start:
        raise AudioError(f"truncated or damaged: samples {start} to {stop} wanted, {start + len(block)} decoded")
    return block


def read_blocks(data: bytes | memoryview, facts: AudioFacts, num_frames: int) -> Iterator[Native]:
    """Yield all samples from the first to the last in native blocks of up to ``num_frames``."""
    dtype = native_dtype(facts)
    with open_whole(data, facts.codec) as file:
        while len(block := read_block(file, num_frames, dtype)):
            yield block


def checked_seeks(blocks: Iterator[Native], data: bytes | memoryview, facts: AudioFacts) -> Iterator[Native]:
    """Yield the blocks of a Vorbis recording, and after the last one try whether seeking finds the same samples.

    Raises:
        AudioError: It does not: the pages count other samples than their packets hold.
    """
    frames = facts.frames - _TRIAL_FRAMES
    evenly = {(2 * index + 1) * frames // (2 * _NUM_TRIALS) for index in range(_NUM_TRIALS)}
    doubling = {1 << exponent for exponent in range(_SEEK_FROM.bit_length() - 1, 40)}
    trials = {start for start in evenly | doubling if _SEEK_FROM <= start < frames}
    expected: dict[int, Native] = {}
    first = 0
    for block in blocks:
        stop = first + len(block)
        for start in (trial for trial in trials if first <= trial < stop):
            # A trial that a block ends within is cut short, not left out.
            expected[start] = block[start - first :][:_TRIAL_FRAMES].copy()
        first = stop
        yield block
    for start, samples in sorted(expected.items()):
        if not np.array_equal(read_span(data, facts, start, start + len(samples)), samples):
            raise AudioError(
                f"seeking to sample {start} finds other samples: a trimmed or spliced Vorbis stream; "
                f"choose --codec flac for it"
            )


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


def _exact_seek_limit(data: bytes | memoryview, facts: AudioFacts) -> int:
    """Return the last sample to which a seek is exact; 0: decode from the start."""
    if facts.codec == "aiff" and facts.sample_format:
        return facts.frames
    return ogg.seekable_until(data) if facts.codec == "vorbis" else 0
