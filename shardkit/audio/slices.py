"""Samples of an MP3 or Vorbis member from the bytes around them, by its table of points."""

from shardkit.audio import mp3_slices, vorbis_slices, whole
from shardkit.audio.facts import AudioFacts
from shardkit.audio.pcm import Native
from shardkit.audio.points import PointTable, Span
from shardkit.core.errors import AudioError, FormatError


def read_slice(
    needed: bytes | memoryview, facts: AudioFacts, table: PointTable, setup: bytes | None, start: int, stop: int
) -> Native:
    """Return samples [start, stop) as a native block, (time, channel).

    Args:
        needed: The bytes that ``table.span`` names, no more and no less.
        facts: Of the member.
        table: Its points.
        setup: What the codec needs beside its frames, if anything.
        start: First sample.
        stop: One past the last sample.

    Raises:
        AudioError: The bytes are damaged, or not those of these samples.
        FormatError: The table is not one of such a member.
    """
    span = table.span(start, stop)
    position = start + table.skip
    try:
        if facts.codec == "mp3":
            return _read_mp3(needed, facts, span, position, stop - start)
        if setup is None:
            raise FormatError(f"{facts.codec} with a seek table, but without its decoder setup")
        return _read_vorbis(needed, facts, span, setup, position, stop - start)
    except AudioError as err:
        raise AudioError(f"samples {start} to {stop} at bytes {span.lo} to {span.hi}: {err}") from err


def _read_mp3(needed: bytes | memoryview, facts: AudioFacts, span: Span, position: int, num_samples: int) -> Native:
    expected = None if span.after is None else span.after - span.first
    piece = mp3_slices.slice_stream(needed, at_start=span.first == 0, num_samples=expected)
    with whole.open_stream(piece.data) as file:
        before = position - span.first - (piece.claims - file.frames)
        if before < 0:
            raise FormatError(f"MP3 with a seek table that skips {position - span.first} samples at its start")
        return _read(file, facts, before, num_samples)


def _read_vorbis(
    needed: bytes | memoryview, facts: AudioFacts, span: Span, setup: bytes, position: int, num_samples: int
) -> Native:
    piece = vorbis_slices.slice_stream(setup, needed)
    with whole.open_stream(piece.data) as file:
        # libsndfile counts what the pages hold from their packets; a table that is wrong by a page would show here.
        if piece.ends is None or piece.ends - file.frames != span.first:
            raise AudioError(f"its pages go on for {file.frames} samples to {piece.ends}, not from {span.first} on")
        return _read(file, facts, position - span.first, num_samples)


def _read(file: whole.SequentialFile, facts: AudioFacts, before: int, num_samples: int) -> Native:
    if (file.samplerate, file.channels) != (facts.sample_rate, facts.channels):
        raise AudioError(
            f"{file.channels} channels at {file.samplerate} Hz, {facts.channels} at {facts.sample_rate} Hz expected"
        )
    dtype = whole.native_dtype(facts)
    whole.skip(file, before, dtype)
    block = whole.read_block(file, num_samples, dtype)
    if len(block) != num_samples:
        raise AudioError(f"truncated or damaged: {num_samples} samples wanted, {len(block)} decoded")
    return block
