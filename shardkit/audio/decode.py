"""Any part of a recording, bit for bit as a full decode has it (law L6).

    plan   byte_range(member, start, stop)   -> which bytes of the member to fetch
    act    decode(member, data, lo, start, stop)  -> samples (channel, time)

For uncompressed WAV, and for FLAC, MP3 and Vorbis with a seek table, these are about the crop's own bytes; else the
whole member. What is read is checked: WAV by checksums of the index, FLAC and Vorbis by their own.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardkit.audio import flac, pcm, whole
from shardkit.audio.checks import CheckTable
from shardkit.audio.facts import TABLED_CODECS, AudioFacts, reads_ranges
from shardkit.audio.flac_decode import decode_mono, decode_stream, stream_of
from shardkit.audio.flac_header import begins_frame
from shardkit.audio.flac_trim import only_frames
from shardkit.audio.points import PointTable
from shardkit.audio.seektable import SeekTable
from shardkit.audio.slices import read_slice
from shardkit.core.errors import AudioError, FormatError, InputError


@dataclass(slots=True, unsafe_hash=True)  # as facts are
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


class Needed(NamedTuple):
    """What samples of a member need: its bytes [lo, hi), and the samples [first, after) that those bytes hold.

    Of lossy codecs, whose frames lean on those before them, and of members that are read whole, the samples are those
    that were asked for.
    """

    lo: int
    hi: int
    first: int
    after: int


def needed_for(member: AudioMember, start: int, stop: int) -> Needed:
    """Return what samples [start, stop) of a member need.

    Raises:
        InputError: [start, stop) is empty or not within the recording.
        FormatError: What is known of the member contradicts its size.
    """
    facts, table = member.facts, member.seek_table
    if not 0 <= start < stop <= facts.frames:
        raise InputError(f"samples {start} to {stop} of a recording of {facts.frames}: none, or not all there")
    if not member.reads_ranges:
        return Needed(0, member.size, start, stop)
    first, after = start, stop
    if isinstance(table, SeekTable):
        lo, hi, first, after = table.span(start, stop)
    elif isinstance(table, PointTable):
        span = table.span(start, stop)
        lo, hi = span.lo, span.hi
    else:
        if table is not None:
            first, after = table.span(start, stop)
        lo, hi = ((facts.data_offset or 0) + sample * _frame_bytes(facts) for sample in (first, after))
    if not 0 <= lo < hi <= member.size:
        raise FormatError(f"samples {start} to {stop} at bytes {lo} to {hi} of a member of {member.size} bytes")
    return Needed(lo, hi, first, after)


def byte_range(member: AudioMember, start: int, stop: int) -> tuple[int, int]:
    """Return the bytes [lo, hi) of the member that samples [start, stop) need; see ``needed_for``."""
    return needed_for(member, start, stop)[:2]


def decode(
    member: AudioMember,
    data: bytes | memoryview,
    data_start: int,
    start: int,
    stop: int,
    needed: Needed | None = None,
) -> NDArray[np.float32]:
    """Return samples [start, stop), decoded from the bytes that ``byte_range`` names or more.

    Args:
        member: What is known of the member.
        data: Bytes of the member from ``data_start`` on.
        data_start: Offset of ``data`` in the member.
        start: First sample.
        stop: One past the last sample.
        needed: What ``needed_for`` says of these samples, where it is known already.

    Returns:
        PCM, full scale 1, (channel, time), contiguous. Floats keep values beyond full scale.

    Raises:
        InputError: [start, stop) is empty or not within the recording.
        AudioError: The bytes are damaged or too few.
        FormatError: What is known of the member contradicts its size.
    """
    return pcm.to_float32(_decode_native(member, data, data_start, start, stop, needed))


def decode_into(
    out: NDArray[Any],
    member: AudioMember,
    data: bytes | memoryview,
    data_start: int,
    start: int,
    stop: int,
    needed: Needed | None = None,
) -> None:
    """Do what ``decode`` does, into an array of float32 or int16.

    Args:
        out: Where to put the samples, (channel, time). As int16 they have a full scale of 2**15: times 2**-15 they are
            those of float32.
        member: As for ``decode``, and so on.
        data: Bytes of the member from ``data_start`` on.
        data_start: Offset of ``data`` in the member.
        start: First sample.
        stop: One past the last sample.
        needed: What ``needed_for`` says of these samples, where it is known already.

    Raises:
        AudioError: As ``decode``, or int16 can't hold what was recorded.
        InputError, FormatError: As ``decode``.
    """
    facts = member.facts
    if facts.codec == "flac" and facts.channels == 1 and out.dtype == np.float32 and out.flags.c_contiguous:
        needed = needed_for(member, start, stop) if needed is None else needed
        held = _flac_stream(member, _part(data, data_start, start, stop, needed), start, stop, needed)
        try:
            decode_mono(held.stream, held.after - held.first, start - held.first, out[0])
        except AudioError as err:
            raise held.explained(err, needed) from err
        return
    block = _decode_native(member, data, data_start, start, stop, needed)
    if out.dtype == np.int16:
        pcm.to_int16(block, out)
    else:
        pcm.to_float32(block, out)


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
    block = _decode_native(member, data, data_start, start, stop, None)
    return np.array(pcm.right_justify(block, bit_depth).T, order="C")  # a copy: the block may be the caller's bytes


def _decode_native(
    member: AudioMember, data: bytes | memoryview, data_start: int, start: int, stop: int, needed: Needed | None
) -> pcm.Native:
    if needed is None:
        needed = needed_for(member, start, stop)
    part = _part(data, data_start, start, stop, needed)
    facts, table = member.facts, member.seek_table
    if facts.codec == "flac":
        return _decode_flac(member, part, start, stop, needed)
    if isinstance(table, PointTable):
        return read_slice(part, facts, table, member.setup, start, stop)
    if member.reads_ranges:
        return _wav_samples(member, part, start, stop, needed)
    return whole.read_span(data if len(part) == len(data) else part, facts, start, stop)


def _part(data: bytes | memoryview, data_start: int, start: int, stop: int, needed: Needed) -> memoryview:
    """Return of the bytes that were read those that are needed."""
    lo, hi = needed.lo, needed.hi
    if data_start == lo and len(data) == hi - lo:
        return memoryview(data)
    if not data_start <= lo or data_start + len(data) < hi:
        raise AudioError(
            f"samples {start} to {stop} need bytes {lo} to {hi}, "
            f"got {data_start} to {data_start + len(data)}: truncated?"
        )
    return memoryview(data)[lo - data_start : hi - data_start]


def _wav_samples(member: AudioMember, part: memoryview, start: int, stop: int, needed: Needed) -> pcm.Native:
    facts, table, size = member.facts, member.seek_table, _frame_bytes(member.facts)
    if isinstance(table, CheckTable):
        if table.frames != facts.frames:
            raise FormatError(f"WAV of {facts.frames} samples, with checksums of {table.frames}")
        table.check(part, needed.first, size)
        part = part[(start - needed.first) * size : (stop - needed.first) * size]
    return pcm.from_wav(part, facts.sample_format, facts.channels)


def _frame_bytes(facts: AudioFacts) -> int:
    return pcm.WIDTH[facts.sample_format] * facts.channels


class _Held(NamedTuple):
    """A FLAC stream, and the samples [first, after) of the member that are all it has."""

    stream: bytes | memoryview
    first: int
    after: int

    def explained(self, error: AudioError, needed: Needed) -> AudioError:
        return AudioError(f"samples {self.first} to {self.after} at bytes {needed.lo} to {needed.hi}: {error}")


def _decode_flac(member: AudioMember, part: memoryview, start: int, stop: int, needed: Needed) -> pcm.Native:
    held, facts = _flac_stream(member, part, start, stop, needed), member.facts
    first, after = held.first, held.after
    try:
        # All samples of these frames are asked for, the last one's surplus too: only then a short count betrays a bad
        # frame.
        block = decode_stream(held.stream, facts.channels, after - first, facts.bit_depth or 32, for_now=True)
    except AudioError as err:
        raise held.explained(err, needed) from err
    return block[start - first : stop - first]


def _flac_stream(member: AudioMember, part: memoryview, start: int, stop: int, needed: Needed) -> _Held:
    """Return a stream of the frames that samples [start, stop) lie in; it may lie in memory that the next will take."""
    facts, table = member.facts, member.seek_table
    if table is None and stop - start == facts.frames and facts.bit_depth is not None:
        return _Held(part, 0, facts.frames)
    if table is None:
        table = SeekTable.of(flac.scan(part))
        lo, hi, first, after = table.span(start, stop)
        part = part[lo:hi]
    else:
        lo, _, first, after = needed
    if not isinstance(table, SeekTable) or facts.bit_depth is None or table.frames != facts.frames:
        raise FormatError(
            f"FLAC of {facts.frames} samples of {facts.bit_depth} bits, "
            f"with a seek table of {table.frames if isinstance(table, SeekTable) else 'points, not'} samples"
        )
    number = first if table.variable else first // table.max_block
    info = table.stream_info(facts.sample_rate, facts.channels, facts.bit_depth)
    if not begins_frame(part, number, info.sample_rate, info.channels, info.bit_depth, variable=table.variable):
        raise AudioError(f"damaged: no FLAC frame of sample {first} at byte {lo}, or not the member that was indexed")
    if not table.variable:
        part, first, after = only_frames(part, info, (first, after), (start, stop))
    return _Held(stream_of(part, info, after - first), first, after)
