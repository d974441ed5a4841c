"""``shardkit info``: what a dataset or a view holds, from its index alone; no recording is opened."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shardkit.audio.facts import AudioFacts, reads_ranges
from shardkit.format.index import PRIMARY
from shardkit.report.summary import render
from shardkit.stream.catalog import one_chunk
from shardkit.stream.view import View

__all__ = ["describe", "render"]

_HEAVY = "fields"  # holds seek tables and loudness tracks: taken apart, never copied row by row
_CODEC_FACTS = ("codec", "sample_format", "data_offset", "seek_table")
_LOUDNESS_PERCENTILES = (5, 50, 95)


def describe(view: View) -> dict[str, Any]:
    """Return what there is to know of a view, as plain JSON values.

    Args:
        view: A dataset or a selection of its rows; what the manifest says of the whole is under ``dataset``.

    Returns:
        Counts are of samples unless the name says otherwise; hours are of primary audio; in ``splits``, ``shards`` and
        ``bytes`` are those of the tars that hold a sample of the view.
    """
    catalog, manifest = view.catalog, view.manifest
    light = [name for name in catalog.table.column_names if name != _HEAVY]
    table = catalog.table.select(light).take(pa.array(view.rows)).combine_chunks()
    return {
        "name": manifest.name,
        "location": str(catalog.location),
        "format_version": manifest.version,
        "dataset": manifest.totals.model_dump(),
        "samples": len(view),
        "hours": _hours(table.column("duration_s")),
        "splits": _splits(view, table),
        "duration_s": _durations(table.column("duration_s")),
        "sample_rates": _counts(table.column("sample_rate")),
        "channels": _counts(table.column("channels")),
        "bit_depths": _counts(table.column("bit_depth")),
        "loudness_lufs": _loudness(view, table),
        "labels": _labels(table, manifest.labels),
        "intervals": _intervals(table, manifest.interval_names),
        "columns": dict(manifest.columns),
        "features": None if manifest.features is None else manifest.features.model_dump(mode="json"),
        "fields": {name: _field(view, name) for name in catalog.fields if name in manifest.fields},
    }


def _splits(view: View, table: pa.Table) -> dict[str, dict[str, Any]]:
    shards, shard_of_row = view.catalog.shards, view.catalog.shard_of_row[view.rows]
    seconds = np.nan_to_num(table.column("duration_s").to_numpy())
    found: dict[str, dict[str, Any]] = {}
    for split in view.catalog.splits:
        numbers = [number for number, shard in enumerate(shards) if shard.split == split]
        inside = np.isin(shard_of_row, numbers)
        touched = np.unique(shard_of_row[inside]).tolist()
        found[split] = {
            "samples": int(inside.sum()),
            "shards": len(touched),
            "hours": _rounded(float(seconds[inside].sum()) / 3600),
            "bytes": sum(shards[number].bytes for number in touched),
        }
    return found


def _durations(column: pa.ChunkedArray) -> dict[str, float | None]:
    seconds = _finite(column)
    if not seconds.size:
        return dict.fromkeys(("min", "median", "mean", "max"))
    values = {"min": seconds.min(), "median": np.median(seconds), "mean": seconds.mean(), "max": seconds.max()}
    return {name: _rounded(float(value)) for name, value in values.items()}


def _loudness(view: View, table: pa.Table) -> dict[str, float | int | None]:
    """Return percentiles over what has a loudness; the rest is silence, too quiet for the gate, or was not measured."""
    levels = _finite(table.column("loudness_lufs"))
    measured = view.catalog.fields[PRIMARY].has_loudness[view.rows]
    num_measured = int(np.count_nonzero(measured))
    silent = int(np.count_nonzero(measured & (table.column("peak").to_numpy() == 0.0)))
    percentiles = np.percentile(levels, _LOUDNESS_PERCENTILES) if levels.size else [None] * len(_LOUDNESS_PERCENTILES)
    named = zip(_LOUDNESS_PERCENTILES, percentiles, strict=True)
    return {
        **{f"p{percent}": None if level is None else round(float(level), 2) for percent, level in named},
        "silent": silent,
        "unknown": num_measured - len(levels) - silent,
        "unmeasured": len(table) - num_measured,
    }


def _labels(table: pa.Table, vocabulary: Sequence[str]) -> dict[str, Any]:
    lists = table.column("labels")
    found = _counts(pc.list_flatten(lists))
    return {
        "counts": {name: found.get(name, 0) for name in vocabulary},
        "unlabelled": int(pc.sum(pc.equal(pc.fill_null(pc.list_value_length(lists), 0), 0)).as_py() or 0),
    }


def _intervals(table: pa.Table, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return how many intervals there are of each name, on how many samples, and their hours."""
    column = one_chunk(table.column("intervals"))
    flat, parents = pc.list_flatten(column), pc.list_parent_indices(column).to_numpy()
    rates = pc.fill_null(table.column("sample_rate"), 1).to_numpy()
    frames = pc.subtract(flat.field("stop"), flat.field("start")).to_numpy(zero_copy_only=False)
    seconds = frames / np.maximum(rates, 1)[parents]
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        mine = pc.equal(flat.field("name"), name).to_numpy(zero_copy_only=False).astype(bool)
        found[name] = {
            "count": int(mine.sum()),
            "samples": int(np.unique(parents[mine]).size),
            "hours": _rounded(float(seconds[mine].sum()) / 3600),
        }
    return found


def _field(view: View, name: str) -> dict[str, Any]:
    """Return kind, count, bytes and, for audio, codecs of one field over the view's rows."""
    columns, info = view.catalog.fields[name], view.manifest.fields[name]
    rows = view.rows[columns.present[view.rows]]
    found: dict[str, Any] = {
        "kind": info.kind,
        "extensions": list(info.extensions),
        "samples": len(rows),
        "bytes": int(columns.size[rows].sum()),
    }
    if columns.is_audio and columns.stored[rows].any():
        struct = one_chunk(view.catalog.table.column(_HEAVY)).field(name)
        found["codecs"] = _codecs({fact: struct.field(fact) for fact in _CODEC_FACTS}, rows)
    if info.kind == "array" and len(rows):
        found["hop_s"] = columns.hop_s(int(rows[0]))
    return found


def _codecs(facts: Mapping[str, pa.Array], rows: NDArray[np.int64]) -> dict[str, dict[str, Any]]:
    """Return for each codec how many members have it, and how many of them can be read in part."""
    chosen = pa.array(rows)
    distinct = pa.table(
        {
            "codec": facts["codec"].take(chosen),
            "sample_format": facts["sample_format"].take(chosen),
            # Of these two only whether they are there matters.
            "data_offset": facts["data_offset"].is_valid().take(chosen),
            "seek_table": facts["seek_table"].is_valid().take(chosen),
        }
    )
    codecs: dict[str, dict[str, Any]] = {}
    for group in distinct.group_by(list(_CODEC_FACTS), use_threads=False).aggregate([([], "count_all")]).to_pylist():
        entry = codecs.setdefault(group["codec"], {"samples": 0, "range_reads": 0})
        entry["samples"] += group["count_all"]
        if _reads_ranges(group):
            entry["range_reads"] += group["count_all"]
    return dict(sorted(codecs.items()))


def _reads_ranges(group: Mapping[str, Any]) -> bool:
    facts = AudioFacts(
        codec=group["codec"],
        sample_format=group["sample_format"],
        sample_rate=1,
        channels=1,
        frames=0,
        bit_depth=None,
        data_offset=0 if group["data_offset"] else None,
    )
    return reads_ranges(facts, has_seek_table=group["seek_table"])


def _counts(column: pa.Array | pa.ChunkedArray) -> dict[str, int]:
    """Return how often each value occurs, in the order of the values; ``none`` stands for a missing one."""
    counted = pc.value_counts(column)
    pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    ordered = sorted(pairs, key=lambda pair: (pair[0] is None, pair[0] if pair[0] is not None else 0))
    return {"none" if value is None else str(value): count for value, count in ordered}


def _hours(column: pa.ChunkedArray) -> float:
    return _rounded(float(_finite(column).sum()) / 3600)


def _finite(column: pa.ChunkedArray) -> NDArray[np.float64]:
    values = column.drop_null().to_numpy().astype(np.float64)
    return np.asarray(values[np.isfinite(values)])


def _rounded(value: float) -> float:
    """Return a value to six significant digits after the point that matter: JSON needs no noise."""
    return round(value, 6) if math.isfinite(value) else 0.0
