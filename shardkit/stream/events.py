"""Which events of some recordings are rows, and which recordings have some label: arithmetic over the index."""

from collections.abc import Collection
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shardkit.core.errors import InputError
from shardkit.core.random import check_seed, hash64, key_of
from shardkit.core.spans import Spans, overlapping
from shardkit.format.hashing import member_hash
from shardkit.format.index import PRIMARY
from shardkit.stream.catalog import Catalog, one_chunk
from shardkit.stream.columns import RowColumns, event_names
from shardkit.stream.targets import IntervalRows

Overlapping: TypeAlias = Literal["any", "only", "never"]
OVERLAPPING = ("any", "only", "never")

_Ints = NDArray[np.int64]


def events_of(
    catalog: Catalog, rows: _Ints, names: Collection[str] | None, overlaps: Overlapping
) -> tuple[_Ints, Spans]:
    """Return the events of some recordings, in the order of both.

    What of an event lies behind its recording's end is cut; of one that lies there whole nothing is left.

    Args:
        catalog: The dataset.
        rows: The recordings, each once, (recording,).
        names: Of the events; None: all of them.
        overlaps: ``only`` those that share samples with another event of the recording, whatever its name; ``never``
            those that do not; ``any``.

    Returns:
        The row of the catalog of each event, (event,), and the events.

    Raises:
        InputError: ``overlaps`` is unknown.
    """
    if overlaps not in OVERLAPPING:
        raise InputError(f"events: overlapping {overlaps!r} is unknown; choose {', '.join(OVERLAPPING)}")
    bounds, recordings, numbers = IntervalRows(catalog, catalog.manifest.interval_names).numbered(rows)
    frames = catalog.fields[PRIMARY].frames[rows[recordings]] if len(numbers) else numbers
    starts, stops = np.maximum(bounds[:, 0], 0), np.minimum(bounds[:, 1], frames)
    kept = starts < stops
    spans, recordings = Spans(starts, stops, numbers).take(kept), recordings[kept]
    wanted = np.ones(len(recordings), dtype=bool)
    if names is not None:
        wanted &= _among(event_names(catalog).take(pa.array(spans.numbers)), names)
    if overlaps != "any":
        wanted &= overlapping(recordings, spans.starts, spans.stops) == (overlaps == "only")
    return rows[recordings[wanted]], spans.take(wanted)


def having(catalog: Catalog, names: Collection[str]) -> NDArray[np.bool_]:
    """Return which rows of a catalog have one of some labels, or an event of such a name, (row,)."""
    return _any_of(catalog, "labels", names) | _any_of(catalog, "intervals", names)


def labelled(catalog: Catalog) -> NDArray[np.bool_]:
    """Return which rows of a catalog have a label or an event, (row,)."""
    columns = [one_chunk(catalog.table.column(name)) for name in ("labels", "intervals")]
    return np.logical_or(*(np.asarray(pc.fill_null(pc.list_value_length(column), 0)) > 0 for column in columns))


def kept_by_chance(
    catalog: Catalog, rows: _Ints, spans: Spans | None, labels: Collection[str], *, keep: float, seed: int
) -> NDArray[np.bool_]:
    """Return which rows to keep: those without some labels, and of the others each with a probability.

    A row's number is a hash of the seed and of its key, and for an event of its name and bounds; so what other rows
    there are does not matter.

    Args:
        catalog: The dataset.
        rows: Rows of the catalog, (row,).
        spans: The events that they are; None: whole recordings.
        labels: Of the rows that are thinned out.
        keep: The probability.
        seed: Of the hash.
    """
    column = one_chunk(RowColumns(catalog, rows, spans).column("labels"))
    kept = np.ones(len(rows), dtype=bool)
    head = np.unique(pc.list_parent_indices(column).to_numpy()[_among(pc.list_flatten(column), labels)])
    keys = catalog.table.column("key").take(pa.array(rows[head])).to_pylist()
    words = [np.array([member_hash(key.encode()) for key in keys], dtype=np.uint64)]
    if spans is not None:
        names = event_names(catalog).take(pa.array(spans.numbers[head])).to_pylist()
        words += [np.array([key_of(name) for name in names], dtype=np.uint64)]
        words += [bounds[head].astype(np.uint64) for bounds in (spans.starts, spans.stops)]
    chances = (hash64(check_seed(seed), key_of("thin"), *words) >> np.uint64(11)) * 2.0**-53
    kept[head] = chances < keep
    return kept


def _any_of(catalog: Catalog, column: str, names: Collection[str]) -> NDArray[np.bool_]:
    lists = one_chunk(catalog.table.column(column))
    values = pc.list_flatten(lists)
    hits = _among(values if column == "labels" else values.field("name"), names)
    found = np.zeros(len(lists), dtype=bool)
    found[pc.list_parent_indices(lists).to_numpy()[hits]] = True
    return found


def _among(values: pa.Array, names: Collection[str]) -> NDArray[np.bool_]:
    hits = pc.is_in(values, value_set=pa.array(sorted(names), type=pa.string()))
    return np.asarray(hits.to_numpy(zero_copy_only=False), dtype=bool)
