"""One sample read by key: its audio or a crop of it, with everything that belongs to the same instant."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardkit.core.checks import is_number
from shardkit.core.errors import CorruptDataError, InputError
from shardkit.format.index import PRIMARY, RESERVED
from shardkit.storage.traffic import Traffic
from shardkit.stream.catalog import Catalog
from shardkit.stream.piece import read_audio, read_member, stem_bounds

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
        audio: Primary audio, (channel, time) float32 in [-1, 1).
        sample_rate: Of ``audio``, in Hz.
        start: First sample of the crop in the stored recording; 0 for the whole.
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
    rate = int(catalog.fields[PRIMARY].sample_rate[row])
    record = catalog.table.drop_columns(["fields"]).slice(row, 1).to_pylist()[0]
    inside = [
        Interval(item["name"], max(item["start"], start) - start, min(item["stop"], stop) - start)
        for item in record["intervals"] or ()
        if item["start"] < stop and item["stop"] > start
    ]
    return Sample(
        key=record["key"],
        audio=read_audio(catalog, PRIMARY, row, start, stop),
        sample_rate=rate,
        start=start,
        labels=tuple(record["labels"] or ()),
        intervals=tuple(inside),
        fields={
            name: _read_field(catalog, name, row, start, stop)
            for name, columns in catalog.fields.items()
            if name != PRIMARY and columns.present[row]
        },
        metadata={name: value for name, value in record.items() if name not in RESERVED},
    )


def _read_field(catalog: Catalog, name: str, row: int, start: int, stop: int) -> Any:
    columns, primary = catalog.fields[name], catalog.fields[PRIMARY]
    rate = int(primary.sample_rate[row])
    if columns.is_audio:
        stem_rate, frames = int(columns.sample_rate[row]), int(columns.frames[row])
        first, last = stem_bounds(start, stop, rate=rate, stem_rate=stem_rate, stem_frames=frames)
        if first == last:
            return Audio(np.zeros((int(columns.channels[row]), 0), dtype=np.float32), stem_rate)
        return Audio(read_audio(catalog, name, row, first, last), stem_rate)
    return read_value(catalog, name, row, start / rate, stop / rate)


def read_value(
    catalog: Catalog, name: str, row: int, start_s: float, stop_s: float, *, traffic: Traffic | None = None
) -> Any:
    """Return a field that is not audio: an array or its rows in [start_s, stop_s), text, parsed JSON, or bytes.

    Raises:
        CorruptDataError: The member is not what its kind says, or its bytes are not those that were packed.
    """
    data = read_member(catalog, name, row, traffic=traffic)
    kind, where = catalog.manifest.fields[name].kind, catalog.place(name, row)
    if kind == "array":
        return load_array(data, catalog.fields[name].hop_s(row), start_s, stop_s, where=where)
    if kind == "binary":
        return data
    try:
        return json.loads(data) if kind == "json" else data.decode()
    except ValueError as err:
        raise CorruptDataError(f"{where}: not {'JSON' if kind == 'json' else 'text in UTF-8'}: {err}") from err


def load_array(data: bytes, hop_s: float | None, start_s: float, stop_s: float, *, where: str) -> NDArray[Any]:
    """Return a ``.npy`` array; with a hop, its rows that overlap [start_s, stop_s).

    Nothing is unpickled: an array of Python objects is an error.
    """
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError) as err:
        raise CorruptDataError(f"{where}: not a plain .npy array: {err}") from err
    if hop_s is not None and array.ndim == 0:
        raise CorruptDataError(f"{where}: an array without axes has no rows each {hop_s:g} s")
    if hop_s is None:
        return array  # type: ignore[no-any-return]
    # A bound that is a whole number of hops must not gain a row through rounding.
    first, last = int(start_s / hop_s + 1e-6), int(-(-(stop_s / hop_s - 1e-6) // 1))
    return array[first:last]  # type: ignore[no-any-return]


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
