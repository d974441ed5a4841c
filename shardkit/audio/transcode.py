"""One recording into what a shard stores of it: bytes, facts, seek table and loudness.

    source -> inspect -> plan -> keep:   decode in blocks ------------------------------> measure
                              -> write:  decode in blocks -> mix, resample, quantise ----> measure, encode

Either way all of it is decoded once, so whatever is truncated or damaged is found here, and in blocks, so memory is
bounded by the bytes in and out, never by the decoded length. Integers that do not change never pass through floats.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from shardkit.audio import flac, pcm, probe
from shardkit.audio.blocks import read_blocks
from shardkit.audio.decode import AudioMember
from shardkit.audio.encode import Encoder, FlacEncoder, WavEncoder
from shardkit.audio.facts import AudioFacts
from shardkit.audio.loudness import Loudness, LoudnessMeter, PeakMeter
from shardkit.audio.options import Plan, TranscodeOptions, plan
from shardkit.audio.proof import MIN_DURATION_S, Proof, find_points
from shardkit.audio.reshape import Reshaper
from shardkit.audio.steps import Steps, run
from shardkit.core.errors import AudioError, InputError
from shardkit.core.sizes import format_size

_EXTENSIONS = {"vorbis": "ogg"}  # others are named as their codec
_BITS = {"u8": 8, "s16": 16, "s24": 24, "s32": 32}


@dataclass(frozen=True, slots=True)
class Encoded:
    """A recording as a shard stores it.

    Attributes:
        data: Bytes of the member.
        extension: Its file name extension, without a dot.
        facts: What it holds.
        seek_table: Coded seek table; None where there is none, and it is read whole.
        setup: What decoding from the table needs beside the member's bytes (Vorbis), else None.
        loudness: Loudness track, one byte each 100 ms; None if it was not to be measured.
        lufs: Integrated loudness; None if nothing passes the gate, or it was not to be measured.
        peak: Largest absolute sample.
        num_clipped: Samples that were beyond full scale when they were rounded to integers.
        source_frames: Samples of the recording as it was found.
    """

    data: bytes
    extension: str
    facts: AudioFacts
    seek_table: bytes | None
    setup: bytes | None
    loudness: bytes | None
    lufs: float | None
    peak: float
    num_clipped: int
    source_frames: int


def transcode(source: Path | bytes | memoryview | BinaryIO, options: TranscodeOptions, *, name: str) -> Encoded:
    """Return a recording as a shard is to store it.

    Output is resampled to round(frames · rate / source rate) samples by soxr (VHQ) and rounded to integers without
    dither; a given source and options make the same bytes each time.

    Args:
        source: A local file, its bytes, or an open binary file.
        options: How to store it.
        name: What messages call it.

    Raises:
        AudioError: It can't be read, or holds what can't be stored as asked.
        InputError: The options exclude each other for this recording.
        StorageError: The file can't be read.
    """
    return run(transcode_steps(source, options, name=name))


def transcode_steps(
    source: Path | bytes | memoryview | BinaryIO, options: TranscodeOptions, *, name: str
) -> Steps[Encoded]:
    """Do what ``transcode`` does, in steps."""
    data = _read(source)
    try:
        member = probe.inspect(data, checks=False)
        probe.check_not_empty(member.facts.frames)
        if member.facts.codec in {"flac", "wav"}:  # whose frames are known; of others their header's word
            _check_decoded(member.facts.frames * member.facts.channels, options)
        decided = plan(member.facts, options)
        if decided.keep:
            return _keep(data, probe.with_checks(member, data), options)
        return (yield from _write(data, member, decided, options))
    except AudioError as err:
        advice = "; copy it again from where it came" if str(err).startswith("truncated") else ""
        raise AudioError(f"{name}: {err}{advice}") from err
    except InputError as err:
        raise InputError(f"{name}: {err}") from err


def analyse(data: bytes | memoryview, *, name: str, loudness: bool = True) -> Encoded:
    """Return what ``transcode`` says of a recording that stays as it is, for members that are adopted in place."""
    return transcode(data, TranscodeOptions(codec="keep", loudness=loudness), name=name)


def _read(source: Path | bytes | memoryview | BinaryIO) -> bytes:
    if isinstance(source, Path):
        return probe.read_file(source)
    return bytes(source) if isinstance(source, bytes | bytearray | memoryview) else source.read()


def _keep(data: bytes, member: AudioMember, options: TranscodeOptions) -> Encoded:
    facts = member.facts
    meter = _meter(facts.sample_rate, facts.channels, options)
    table, setup = find_points(data, facts)
    proof = Proof(data, facts, table, setup)
    blocks = _bounded(read_blocks(member, data), options)
    for block in proof.watch(_checked_md5(blocks, data, facts) if facts.codec == "flac" else blocks):
        meter.feed(block)
    loudness = meter.finish()
    probe.check_count(facts, loudness.frames, data)
    member = replace(member, facts=replace(facts, frames=loudness.frames))
    if proof.table is not None and member.facts.duration_s >= MIN_DURATION_S:  # not what a header claimed
        member = replace(member, seek_table=proof.table, setup=setup)
    return _encoded(data, member, loudness, 0, loudness.frames)


def _bounded(blocks: Iterator[pcm.Native], options: TranscodeOptions) -> Iterator[pcm.Native]:
    """Yield the blocks up to as many as a recording may have."""
    values = 0
    for block in blocks:
        values += block.size
        _check_decoded(values, options)
        yield block


def _check_decoded(values: int, options: TranscodeOptions) -> None:
    if 4 * values > options.max_decoded_bytes:
        raise AudioError(
            f"it decodes to {format_size(4 * values)} or more, {format_size(options.max_decoded_bytes)} are the most; "
            "leave it out, or raise --max-decoded if it is meant to be that long"
        )


def _checked_md5(blocks: Iterator[pcm.Native], data: bytes, facts: AudioFacts) -> Iterator[pcm.Native]:
    """Yield the blocks of a FLAC, and after the last one compare their MD5 with that of STREAMINFO.

    Frames have checksums of their own; this finds what they can't: frames left out, or of another stream.
    """
    info, _ = flac.read_metadata(data)
    digest = hashlib.md5(usedforsecurity=False)
    for block in blocks:
        if any(info.md5):
            digest.update(pcm.flac_md5_bytes(block, info.bit_depth))
        yield block
    if any(info.md5) and digest.digest() != info.md5:
        raise AudioError(
            f"damaged: its {facts.frames} samples have MD5 {digest.hexdigest()}, the FLAC header says {info.md5.hex()}"
        )


def _write(data: bytes, member: AudioMember, decided: Plan, options: TranscodeOptions) -> Steps[Encoded]:
    facts = member.facts
    bit_depth = _BITS.get(decided.sample_format)
    reshaper = Reshaper(facts, sample_rate=decided.sample_rate, channels=decided.channels, bit_depth=bit_depth)
    encoder: Encoder | None = None
    meter = _meter(decided.sample_rate, decided.channels, options)
    try:
        for block in reshaper.run(_bounded(read_blocks(member, data), options)):
            meter.feed(block)
            yield
            encoder = encoder or _encoder(decided, options)
            encoder.write(block)
    except BaseException:
        if encoder is not None:
            encoder.finish()  # left to the garbage collector, libFLAC would write to a file that may be gone by then
        raise
    probe.check_count(facts, reshaper.frames_in, data)
    if encoder is None or not meter.frames:
        raise AudioError(f"nothing is left of its {reshaper.frames_in} samples at {decided.sample_rate} Hz")
    encoded = encoder.finish()
    yield
    loudness = meter.finish()
    yield
    return _encoded(encoded, encoder.describe(encoded), loudness, reshaper.num_clipped, reshaper.frames_in)


def _meter(sample_rate: int, channels: int, options: TranscodeOptions) -> PeakMeter:
    return LoudnessMeter(sample_rate, channels) if options.loudness else PeakMeter()


def _encoder(decided: Plan, options: TranscodeOptions) -> Encoder:
    if decided.codec == "wav":
        return WavEncoder(
            sample_format=decided.sample_format, sample_rate=decided.sample_rate, channels=decided.channels
        )
    return FlacEncoder(
        sample_rate=decided.sample_rate,
        channels=decided.channels,
        bit_depth=_BITS[decided.sample_format],
        level=options.flac_level,
    )


def _encoded(data: bytes, member: AudioMember, loudness: Loudness, num_clipped: int, source_frames: int) -> Encoded:
    codec = member.facts.codec
    return Encoded(
        data=data,
        extension=_EXTENSIONS.get(codec, codec),
        facts=member.facts,
        seek_table=None if member.seek_table is None else member.seek_table.to_bytes(),
        setup=member.setup,
        loudness=loudness.track(),
        lufs=loudness.lufs,
        peak=loudness.peak,
        num_clipped=num_clipped,
        source_frames=source_frames,
    )
