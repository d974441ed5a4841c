"""Any part of a recording, bit for bit as a full decode has it (law L6).

    plan   byte_range(member, start, stop)   -> which bytes of the member to fetch
    act    decode(member, data, lo, start, stop)  -> samples (channel, time)

For uncompressed WAV, and for FLAC, MP3 and Vorbis with a seek table, these are about the crop's own bytes; else the
whole member. What is read is checked: WAV by checksums of the index, FLAC and Vorbis by their own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardkit.audio import flac, pcm, whole
from shardkit.audio.checks import CheckTable
from shardkit.audio.facts import TABLED_CODECS, AudioFacts, reads_ranges
from shardkit.audio.flac_decode import decode_frames
from shardkit.audio.flac_header import read_frame_header
from shardkit.audio.points import PointTable
from shardkit.audio.seektable import SeekTable
from shardkit.audio.slices import read_slice
from shardkit.core.errors import AudioError, FormatError, InputError


@dataclass(frozen=True, slots=True)
class AudioMember:
    """What a reader knows of an audio member before it reads it.

    Attributes:
        facts: The facts of the recording.
        size: The member's bytes.
        seek_table: Of a FLAC, MP3 or Vorbis; without one it is read whole. Of a WAV: checksums of what is read.
        setup: What the points of a Vorbis need beside its pages; else None.
    """

    facts: AudioFacts
    size: int
    seek_table: SeekTable | PointTable | CheckTable | None = None
    setup: bytes | None = None

    @property
    def reads_ranges(self) -> bool:
        """Whether ``byte_range`` is smaller than the member."""
        return reads_ranges(self.facts, has_seek_table=self.seek_table is not None)


def read_table(coded: bytes, codec: str) -> SeekTable | PointTable | CheckTable:
    """Return the seek table of a coded form, as the index has it; for a WAV, the checksums.

    Raises:
        FormatError: It is not one of such a codec.
    """
    if codec == "wav":
        return CheckTable.from_bytes(coded)
    if codec not in TABLED_CODECS:
        raise FormatError(f"{codec} has no seek table")
    return SeekTable.from_bytes(coded) if codec == "flac" else PointTable.from_bytes(coded)


def byte_range(member: AudioMember, start: int, stop: int) -> tuple[int, int]:
    """Return the bytes [lo, hi) of the member that samples [start, stop) need.

    Raises:
        InputError: [start, stop) is empty or not within the recording.
        FormatError: What is known of the member contradicts its size.
    """
    facts = member.facts
    if not 0 <= start < stop <= facts.frames:
        raise InputError(f"samples {start} to {stop} of a recording of {facts.frames}: none, or not all there")
    if not member.reads_ranges:
        return 0, member.size
    if isinstance(member.seek_table, PointTable):
        span = member.seek_table.span(start, stop)
        lo, hi = span.lo, span.hi
    elif isinstance(member.seek_table, SeekTable):
        lo, hi, _ = member.seek_table.byte_range(start, stop)
    else:
        first, last = (start, stop) if member.seek_table is None else member.seek_table.span(start, stop)
        lo, hi = ((facts.data_offset or 0) + sample * _frame_bytes(facts) for sample in (first, last))
    if not 0 <= lo < hi <= member.size:
        raise FormatError(f"samples {start} to {stop} at bytes {lo} to {hi} of a member of {member.size} bytes")
    return lo, hi


def decode(
    member: AudioMember,
    data: bytes | memoryview,
    data_start: int,
    start: int,
    stop: int,
    *,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return samples [start, stop), decoded from the bytes that ``byte_range`` names or more.

    Args:
        member: What is known of the member.
        data: Bytes of the member from ``data_start`` on.
        data_start: Offset of ``data`` in the member.
        start: First sample.
        stop: One past the last sample.
        out: Where to put the samples, (channel, time); None: into a new, contiguous array.

    Returns:
        PCM, full scale 1, (channel, time). Floats keep values beyond full scale.

    Raises:
        InputError: [start, stop) is empty or not within the recording.
        AudioError: The bytes are damaged or too few.
        FormatError: What is known of the member contradicts its size.
    """
    return pcm.to_float32(_decode_native(member, data, data_start, start, stop), out)


def decode_pcm(
    member: AudioMember, data: bytes | memoryview, data_start: int, start: int, stop: int
) -> NDArray[np.int16] | NDArray[np.int32]:
    """Return samples [start, stop) as the integers that were recorded: 24-bit 1 is 1.

    Arguments and errors are those of ``decode``.

    Returns:
        (channel, time), contiguous: int16 for up to 16 bits, otherwise int32.

    Raises:
        AudioError: The recording holds floats or is lossy.
    """
    bit_depth = member.facts.bit_depth
    if bit_depth is None:
        raise AudioError(f"{member.facts.codec} holds no integer PCM")
    block = _decode_native(member, data, data_start, start, stop)
    return np.array(pcm.right_justify(block, bit_depth).T, order="C")  # a copy: the block may be the caller's bytes


def _decode_native(member: AudioMember, data: bytes | memoryview, data_start: int, start: int, stop: int) -> pcm.Native:
    lo, hi = byte_range(member, start, stop)
    if not data_start <= lo or data_start + len(data) < hi:
        raise AudioError(
            f"samples {start} to {stop} need bytes {lo} to {hi}, "
            f"got {data_start} to {data_start + len(data)}: truncated?"
        )
    needed = memoryview(data)[lo - data_start : hi - data_start]
    facts = member.facts
    if facts.codec == "flac":
        return _decode_flac(member, needed, start, stop)
    if isinstance(member.seek_table, PointTable):
        return read_slice(needed, facts, member.seek_table, member.setup, start, stop)
    if member.reads_ranges:
        return _wav_samples(member, needed, start, stop)
    return whole.read_span(data if len(needed) == len(data) else needed, facts, start, stop)


def _wav_samples(member: AudioMember, needed: memoryview, start: int, stop: int) -> pcm.Native:
    facts, table, size = member.facts, member.seek_table, _frame_bytes(member.facts)
    if isinstance(table, CheckTable):
        if table.frames != facts.frames:
            raise FormatError(f"WAV of {facts.frames} samples, with checksums of {table.frames}")
        first, _ = table.span(start, stop)
        table.check(needed, first, size)
        needed = needed[(start - first) * size : (stop - first) * size]
    return pcm.from_wav(needed, facts.sample_format, facts.channels)


def _frame_bytes(facts: AudioFacts) -> int:
    return pcm.WIDTH[facts.sample_format] * facts.channels


def _decode_flac(member: AudioMember, needed: memoryview, start: int, stop: int) -> pcm.Native:
    facts, table = member.facts, member.seek_table
    if table is None:
        table = SeekTable.of(flac.scan(needed))
    if not isinstance(table, SeekTable) or facts.bit_depth is None or table.frames != facts.frames:
        raise FormatError(
            f"FLAC of {facts.frames} samples of {facts.bit_depth} bits, "
            f"with a seek table of {table.frames if isinstance(table, SeekTable) else 'points, not'} samples"
        )
    lo, hi, first, after = table.span(start, stop)
    info = table.stream_info(facts.sample_rate, facts.channels, facts.bit_depth)
    frames = needed if member.seek_table is not None else needed[lo:hi]
    header = read_frame_header(frames, 0, info.sample_rate, info.channels, info.bit_depth)
    number = first if table.variable else first // info.max_block
    if header is None or header.number != number:
        raise AudioError(f"damaged: no FLAC frame of sample {first} at byte {lo}, or not the member that was indexed")
    try:
        # All frames that were read are decoded, the last one's surplus too: only then a short count betrays a bad one.
        return decode_frames(frames, info, after - first)[start - first : stop - first]
    except AudioError as err:
        raise AudioError(f"samples {first} to {after} at bytes {lo} to {hi}: {err}") from err
