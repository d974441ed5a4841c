"""Checks of a member's content: decodes it whole and compares with what the index says of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from shardkit.audio import flac, pcm, probe
from shardkit.audio.blocks import read_blocks
from shardkit.audio.decode import AudioMember, byte_range, decode, read_table
from shardkit.audio.facts import AudioFacts
from shardkit.audio.points import PointTable
from shardkit.audio.proof import Proof
from shardkit.audio.seektable import SeekTable
from shardkit.audio.transcode import Encoded, analyse
from shardkit.audio.vorbis_slices import read_setup
from shardkit.core.loudness import ABSOLUTE_GATE_LUFS
from shardkit.format.arrays import check_rows, read_array
from shardkit.format.hashing import member_hash
from shardkit.format.manifest import FieldKind

# Another processor, or another version of a decoder or a filter, may round the other way.
_TRACK_STEPS = 1
_LUFS_TOLERANCE = 0.05
_PEAK_TOLERANCE = {False: 1e-6, True: 1e-3}  # by whether the codec is lossy
_CROP_BLOCKS = 4  # blocks of a recording from which a crop is read
_CROP_S = 0.05


def content_problems(
    kind: FieldKind, entry: Mapping[str, Any], data: bytes, *, labels: Sequence[str] | None
) -> Iterator[str]:
    """Yield what is wrong with the bytes of one member.

    Args:
        kind: Kind of its field.
        entry: What the index says of the member.
        data: Its bytes, which have the recorded hash.
        labels: What a JSON member that shardkit wrote must have as labels; None for any other member.
    """
    try:
        if kind == "audio":
            yield from _audio_problems(entry, data)
        elif kind == "array":
            yield from _array_problems(entry, data)
        elif kind == "json":
            yield from _json_problems(json.loads(data), labels)
        elif kind == "text":
            data.decode()
    except (ValueError, RecursionError) as err:  # what all decoders raise on damage, ours and the standard library's
        yield str(err)


def _array_problems(entry: Mapping[str, Any], data: bytes) -> Iterator[str]:
    """Yield where the index says of an array other than what its own header does."""
    array, layout = read_array(data)
    check_rows(array, entry.get("hop_s"))
    found = None if layout is None else (layout.dtype, list(layout.shape), layout.data_offset)
    told = tuple(entry.get(name) for name in ("dtype", "shape", "data_offset"))
    if told != (found or (None, None, None)):
        yield f"its rows lie as {found}, the index has {told}"


def _json_problems(content: Any, labels: Sequence[str] | None) -> Iterator[str]:
    """Yield where the labels that ``shardkit pack`` wrote twice, for us and for other readers, differ."""
    found = content.get("labels") if isinstance(content, dict) else None
    if labels is not None and found != labels:
        yield f"its labels are {found}, the index has {labels}"


def _audio_problems(entry: Mapping[str, Any], data: bytes) -> Iterator[str]:
    # Packed without loudness: then it may be of a rate at which there is none.
    measured = entry["loudness_track"] is not None or entry["loudness_lufs"] is not None
    encoded = analyse(data, name="decoding", loudness=measured)
    facts = {name: getattr(encoded.facts, name) for name in AudioFacts.__dataclass_fields__}
    differing = [name for name, value in facts.items() if entry[name] != value]
    for name in differing:
        yield f"{name} is {facts[name]}, the index says {entry[name]}"
    yield from _loudness_problems(entry, encoded)
    if not differing:
        yield from _table_problems(entry, encoded, data)
        yield from _crop_problems(entry, encoded.facts, data)


def _loudness_problems(entry: Mapping[str, Any], encoded: Encoded) -> Iterator[str]:
    peak, lufs = entry["peak"], entry["loudness_lufs"]
    if peak is None or not abs(peak - encoded.peak) <= _PEAK_TOLERANCE[encoded.facts.is_lossy] * max(1.0, encoded.peak):
        yield f"its peak is {encoded.peak:.6f}, the index says {peak}"
    stored, measured = (ABSOLUTE_GATE_LUFS if value is None else value for value in (lufs, encoded.lufs))
    if not abs(stored - measured) <= _LUFS_TOLERANCE:
        yield f"its loudness is {encoded.lufs} LUFS, the index says {lufs}"
    if entry["loudness_track"] is None:
        return
    codes = (entry["loudness_track"], encoded.loudness or b"")
    track, again = (np.frombuffer(some, np.uint8).astype(int) for some in codes)
    if len(track) == len(again) and np.abs(track - again).max(initial=0) > _TRACK_STEPS:
        hop = int(np.argmax(np.abs(track - again)))
        yield f"its loudness track differs from its audio, most at {hop / 10:.1f} s: {track[hop]} for {again[hop]}"


def _table_problems(entry: Mapping[str, Any], encoded: Encoded, data: bytes) -> Iterator[str]:
    """Yield a problem if a reader that begins at a point of the stored seek table goes wrong."""
    if entry["seek_table"] in (None, encoded.seek_table):
        return  # none, or just what we would have written
    stored = read_table(entry["seek_table"], encoded.facts.codec)
    if isinstance(stored, SeekTable):
        yield from _frame_problems(stored, data)
    elif isinstance(stored, PointTable):
        yield from _point_problems(stored, encoded.facts, data)
    else:
        yield "its checksums are not those of its samples"


def _frame_problems(stored: SeekTable, data: bytes) -> Iterator[str]:
    layout = flac.scan(data)
    starts = dict(zip(layout.frame_samples.tolist(), layout.frame_bytes.tolist(), strict=True))
    for sample, offset in zip(stored.samples.tolist(), stored.offsets.tolist(), strict=True):
        if starts.get(sample) != offset:
            yield f"its seek table has sample {sample} at byte {offset} of the member, where no such frame starts"
            return


def _point_problems(stored: PointTable, facts: AudioFacts, data: bytes) -> Iterator[str]:
    setup = _setup(stored, data)
    if setup is not None and member_hash(setup) != stored.setup:
        yield f"its seek table needs the decoder setup {stored.setup:016x}, which is not the member's"
        return
    proof = Proof(data, facts, stored, setup)
    for _ in proof.watch(read_blocks(AudioMember(facts, len(data)), data)):
        pass
    if proof.failed_at is not None:
        yield f"samples from {proof.failed_at} on, read by its seek table, differ from those of a full decode"


def _setup(stored: object, data: bytes) -> bytes | None:
    """Return what reading by a table needs beside it."""
    return read_setup(data) if isinstance(stored, PointTable) and stored.setup is not None else None


def _crop_problems(entry: Mapping[str, Any], facts: AudioFacts, data: bytes) -> Iterator[str]:
    """Yield a problem if a crop, read as a stream reads it, is not the slice of a full decode (law L6)."""
    table = entry["seek_table"]
    stored = None if table is None else read_table(table, facts.codec)
    member = AudioMember(facts, len(data), stored, _setup(stored, data))
    length = max(1, min(facts.frames, round(_CROP_S * facts.sample_rate)))
    wanted = {int(start) for start in np.linspace(0, facts.frames - length, _CROP_BLOCKS)}
    position = 0
    for block in read_blocks(probe.inspect(data), data):
        for start in sorted(wanted):
            first, last = start - position, min(start + length - position, len(block))
            if 0 <= first < last:
                stop = position + last
                lo, hi = byte_range(member, start, stop)
                crop = decode(member, data[lo:hi], lo, start, stop)
                if not np.array_equal(crop, pcm.to_float32(block[first:last])):
                    yield f"samples {start} to {stop}, read alone, differ from those of a full decode"
        position += len(block)
