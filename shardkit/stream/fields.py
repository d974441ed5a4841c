"""Fields beside the primary audio: which there are, and which arrays are delivered as one array a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shardkit.core.distinct import distinct
from shardkit.core.errors import InputError
from shardkit.core.sizes import format_size
from shardkit.format.arrays import num_rows
from shardkit.format.index import PRIMARY
from shardkit.stream.sources import Source

AudioType = Literal["float32", "int16"]
MAX_INT16_BITS = 16
MAX_ROW_BYTES = 4_000_000_000  # of a recording that is delivered whole, where the memory option allows no more


@dataclass(frozen=True, slots=True)
class RowsShape:
    """What a crop of an array field is in a batch: so many rows of one shape and type.

    ``padding`` is what takes the place of rows that a recording does not have: a row, or a number.
    """

    dtype: str
    shape: tuple[int, ...]
    padding: NDArray[Any] | int = 0


def delivered_fields(sources: Sequence[Source], names: Sequence[str]) -> tuple[str, ...]:
    """Return the fields that are delivered: those asked for, and the features that are there in place of audio."""
    features = sources[0].view.manifest.features
    return tuple(dict.fromkeys([*names, *([] if features is None else [features.field])]))


def check_fields(sources: Sequence[Source], names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the audio fields and the other fields among those asked for.

    Raises:
        InputError: No source has such a field, or it is audio in one and something else in another.
    """
    audio: list[str] = []
    others: list[str] = []
    for name in names:
        kinds = {source.view.manifest.fields[name].kind for source in sources if name in source.view.manifest.fields}
        if not kinds or name == PRIMARY:
            known = dict.fromkeys(field for source in sources for field in source.view.manifest.fields)
            listed = ", ".join(field for field in known if field != PRIMARY)
            raise InputError(f"fields: no source has a field {name!r} beside {PRIMARY!r}; there is {listed or 'none'}")
        if len(kinds) > 1:
            raise InputError(f"fields: {name!r} is {' and '.join(sorted(kinds))} in different sources")
        (audio if kinds == {"audio"} else others).append(name)
    return tuple(audio), tuple(others)


def check_int16(sources: Sequence[Source], names: Sequence[str], *, sample_rate: int, channels: int) -> None:
    """Raise unless all audio is integers of up to 16 bits that are delivered as they were recorded."""
    for source in sources:
        for name in names:
            columns = source.catalog.fields.get(name)
            if columns is None:
                continue
            rows = source.view.rows[columns.present[source.view.rows]]
            depths = distinct(columns.bit_depth[rows])
            found = [f"{depth} bits" if depth >= 0 else "floats or a lossy codec" for depth in depths]
            wrong = [what for what, depth in zip(found, depths, strict=True) if not 0 < depth <= MAX_INT16_BITS]
            wrong += [f"{rate} Hz" for rate in distinct(columns.sample_rate[rows]) if rate != sample_rate]
            wrong += [f"{count} channels" for count in distinct(columns.channels[rows]) if count != channels]
            if wrong:
                raise InputError(
                    f"dtype='int16' delivers recordings of up to 16 bits as they are, but in source {source.name!r} "
                    f"{name!r} has {', '.join(wrong)}; the stream has {channels} channels at {sample_rate} Hz: choose "
                    "dtype='float32'"
                )


def check_lengths(sources: Sequence[Source], *, most_bytes: int) -> None:
    """Raise if a recording that is delivered whole decodes to more than there may be: an index may claim any length.

    Raises:
        InputError: Names the recording and its size.
    """
    for source in sources:
        columns, rows = source.catalog.fields[PRIMARY], source.view.rows
        sizes = 4.0 * columns.frames[rows] * columns.channels[rows]
        if len(sizes) and sizes.max() > most_bytes:
            row = int(rows[sizes.argmax()])
            raise InputError(
                f"source {source.name!r}: key {source.catalog.key(row)!r} decodes to {format_size(int(sizes.max()))}, "
                f"{format_size(most_bytes)} are the most; deliver crops, leave it out, or raise memory="
            )


def row_shapes(sources: Sequence[Source], names: Sequence[str], crop_s: float | None) -> Mapping[str, RowsShape]:
    """Return the fields whose crops all have one shape: arrays of one type, one row and one hop in all recordings."""
    found = {name: _row_shape(sources, name, crop_s) for name in names} if crop_s is not None else {}
    return {name: shape for name, shape in found.items() if shape is not None}


def _row_shape(sources: Sequence[Source], name: str, crop_s: float) -> RowsShape | None:
    seen: set[tuple[str, tuple[int, ...], float]] = set()
    for source in sources:
        columns = source.catalog.fields.get(name)
        if columns is None:
            continue
        if source.view.manifest.fields[name].kind != "array":
            return None
        rows = source.view.rows
        for kind in columns.row_kinds(rows[columns.present[rows]]):
            if kind is None:
                return None
            seen.add(kind)
    if len(seen) != 1:
        return None
    dtype, row_shape, hop_s = seen.pop()
    native = np.dtype(dtype).newbyteorder("=").str
    return RowsShape(native, (num_rows(crop_s, hop_s), *row_shape), _padding(sources[0], name, native))


def _padding(source: Source, name: str, dtype: str) -> NDArray[Any] | int:
    """Return what rows are padded with: features with silence, whose logarithm is far from zero, others with zeros."""
    features = source.view.manifest.features
    return 0 if features is None or features.field != name else np.array(features.silence, dtype)
