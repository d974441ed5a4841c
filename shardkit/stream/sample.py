"""One sample read by key: its audio or a crop of it, with everything that belongs to the same instant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardkit.core.checks import is_number
from shardkit.core.errors import InputError
from shardkit.core.sizes import format_size
from shardkit.format.index import PRIMARY, RESERVED
from shardkit.stream.catalog import Catalog
from shardkit.stream.fetch import Fetcher, joined
from shardkit.stream.piece import AudioPiece, Piece, pieces_of

MAX_READ_BYTES = 16_000_000_000  # of decoded samples: 11 hours of stereo at 48 kHz; an index may claim any length
_MAX_S = 1e12  # 30,000 years: times in samples stay integers that floats can hold


@dataclass(frozen=True, slots=True)
class Interval:
    """A named stretch of time, half-open, in samples of the primary audio from the start of what was read."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Audio:
    """PCM of one recording: ``samples`` is (channel, time) float32 in [-1, 1) at ``sample_rate`` Hz."""

    samples: NDArray[np.float32]
    sample_rate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample, or a crop of it.

    Attributes:
        key: Its key.
        audio: Primary audio, (channel, time) float32 in [-1, 1); of no samples in a dataset of features.
        sample_rate: Of ``audio``, in Hz.
        start: First sample of the crop in the stored recording; 0 for the whole.
        stop: The sample after its last.
        labels: Names of its labels.
        intervals: Clipped to the crop and counted from its start.
        fields: Everything else of the sample by name: ``Audio`` for stems and paired targets, arrays, text, parsed
            JSON, or bytes; cropped at the same instant where they have a time axis.
        metadata: The user's columns.
    """

    key: str
    audio: NDArray[np.float32]
    sample_rate: int
    start: int
    stop: int
    labels: tuple[str, ...]
    intervals: tuple[Interval, ...]
    fields: Mapping[str, Any]
    metadata: Mapping[str, Any]


def read_sample(catalog: Catalog, row: int, *, start_s: float = 0.0, duration_s: float | None = None) -> Sample:
    """Return a sample or a crop of it, reading only the bytes that it needs.

    Args:
        catalog: Where it lies.
        row: Which one.
        start_s: Start of the crop, in seconds; rounded to the nearest sample.
        duration_s: Length of the crop, in seconds; None reads to the end. Cut at the end of the recording.

    Raises:
        InputError: The crop starts outside the recording or is empty.
        AudioError, CorruptDataError, StorageError: It can't be read; the message gives shard, key and byte.
    """
    primary = catalog.fields[PRIMARY]
    rate, frames = int(primary.sample_rate[row]), int(primary.frames[row])
    start, stop = _bounds(catalog.key(row), start_s, duration_s, rate=rate, frames=frames)
    return read_section(catalog, row, start, stop)


def read_section(catalog: Catalog, row: int, start: int, stop: int) -> Sample:
    """Return samples [start, stop), at the stored rate, of a recording and of all that is aligned with it.

    Raises:
        AudioError, CorruptDataError, StorageError: It can't be read; the message gives shard, key and byte.
    """
    primary = catalog.fields[PRIMARY]
    num_bytes = 4 * (stop - start) * int(primary.channels[row])
    if num_bytes > MAX_READ_BYTES:
        raise InputError(
            f"key {catalog.key(row)!r}: {format_size(num_bytes)} of samples, {format_size(MAX_READ_BYTES)} are the "
            "most at once; read it in parts, with start_s and duration_s"
        )
    names = [name for name, columns in catalog.fields.items() if columns.present[row]]
    values = _values(pieces_of(catalog, names, row, start, stop))
    record = catalog.table.drop_columns(["fields"]).slice(row, 1).to_pylist()[0]
    inside = [
        Interval(item["name"], max(item["start"], start) - start, min(item["stop"], stop) - start)
        for item in record["intervals"] or ()
        if item["start"] < stop and item["stop"] > start
    ]
    return Sample(
        key=record["key"],
        audio=(values[PRIMARY] if primary.has(row) else _silent_end(catalog, PRIMARY, row)).samples,
        sample_rate=int(primary.sample_rate[row]),
        start=start,
        stop=stop,
        labels=tuple(record["labels"] or ()),
        intervals=tuple(inside),
        fields={
            name: values[name] if name in values else _silent_end(catalog, name, row)
            for name in names
            if name != PRIMARY
        },
        metadata={name: value for name, value in record.items() if name not in RESERVED},
    )


def _values(pieces: Sequence[Piece]) -> dict[str, Any]:
    """Return what some pieces of one sample hold, by field."""
    fetcher = Fetcher()
    values = {}
    for join in joined(enumerate(pieces)):
        data = fetcher.fetch(join)
        for _, piece in join.pieces:
            values[piece.field] = fetcher.deliver(piece, join.slice_of(piece, data), _field_value)
    return values


def _field_value(piece: Piece, data: memoryview) -> Any:
    value = piece.value(data)
    return Audio(value, piece.member.facts.sample_rate) if isinstance(piece, AudioPiece) else value


def _silent_end(catalog: Catalog, name: str, row: int) -> Audio:
    """Return what audio that ends before the crop, or is not there, has in it: nothing."""
    columns = catalog.fields[name]
    return Audio(np.zeros((int(columns.channels[row]), 0), dtype=np.float32), int(columns.sample_rate[row]))


def _bounds(key: str, start_s: float, duration_s: float | None, *, rate: int, frames: int) -> tuple[int, int]:
    for name, value in (("start_s", start_s), ("duration_s", 0.0 if duration_s is None else duration_s)):
        if not is_number(value) or abs(value) > _MAX_S:
            raise InputError(f"key {key!r}: {name} is {value!r}; give a number of seconds")
    start = round(start_s * rate)
    stop = frames if duration_s is None else min(frames, start + round(duration_s * rate))
    if not 0 <= start < frames or stop <= start:
        length = "to its end" if duration_s is None else f"{duration_s:g} s"
        raise InputError(
            f"key {key!r}: a crop from {start_s:g} s, {length}, holds no sample of the recording's {frames / rate:g} s"
        )
    return start, stop
