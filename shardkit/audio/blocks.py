"""All samples of a recording, in order, in blocks, without decoding it into memory."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from shardkit.audio import pcm, whole
from shardkit.audio.decode import AudioMember
from shardkit.audio.flac import StreamInfo
from shardkit.audio.flac_decode import decode_frames
from shardkit.audio.seektable import SeekTable
from shardkit.core.errors import AudioError, FormatError

BLOCK_FRAMES = 1 << 18


def read_blocks(member: AudioMember, data: bytes | memoryview) -> Iterator[pcm.Native]:
    """Yield the samples of a whole member in native blocks of about ``BLOCK_FRAMES``.

    FLAC is decoded from the points of its seek table, as a reader does: a table that passes here serves.

    Raises:
        AudioError: The member is damaged; says where.
    """
    if member.facts.codec == "flac":
        return _flac_blocks(member, memoryview(data))
    if member.reads_ranges:
        return _wav_blocks(member, memoryview(data))
    return whole.read_blocks(data, member.facts, BLOCK_FRAMES)


def _flac_blocks(member: AudioMember, data: memoryview) -> Iterator[pcm.Native]:
    facts, table = member.facts, member.seek_table
    if not isinstance(table, SeekTable) or facts.bit_depth is None:
        raise FormatError("a FLAC without a seek table or bit depth")
    info = table.stream_info(facts.sample_rate, facts.channels, facts.bit_depth)
    samples, offsets = np.append(table.samples, table.frames), np.append(table.offsets, table.end)
    point = 0
    while point < len(samples) - 1:
        stop = max(point + 1, int(np.searchsorted(samples, samples[point] + BLOCK_FRAMES, side="right")) - 1)
        try:
            yield decode_frames(data[offsets[point] : offsets[stop]], info, int(samples[stop] - samples[point]))
        except AudioError:
            _locate(data, info, samples[point : stop + 1], offsets[point : stop + 1])
            raise
        point = stop


def _locate(data: memoryview, info: StreamInfo, samples: NDArray[np.int64], offsets: NDArray[np.int64]) -> None:
    """Raise what is wrong with the first of some stretches of frames that does not decode, and where it is."""
    for point in range(len(samples) - 1):
        (start, stop), (lo, hi) = map(int, samples[point : point + 2]), map(int, offsets[point : point + 2])
        try:
            decode_frames(data[lo:hi], info, stop - start)
        except AudioError as err:
            raise AudioError(f"samples {start} to {stop} at bytes {lo} to {hi}: {err}") from err


def _wav_blocks(member: AudioMember, data: memoryview) -> Iterator[pcm.Native]:
    facts = member.facts
    offset, frame_bytes = facts.data_offset or 0, pcm.WIDTH[facts.sample_format] * facts.channels
    for start in range(0, facts.frames, BLOCK_FRAMES):
        stop = min(start + BLOCK_FRAMES, facts.frames)
        raw = data[offset + start * frame_bytes : offset + stop * frame_bytes]
        yield pcm.from_wav(raw, facts.sample_format, facts.channels)
