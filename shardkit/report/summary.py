"""The description of a dataset as a person reads it: what ``shardkit info`` prints on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shardkit.core.sizes import count, format_duration, format_size

_WIDTH = 100  # columns; wider tables are hard to read across, and don't fit beside an editor
_SHOWN = 20  # labels, columns or intervals; then "… and N more"
_LAYOUTS = {"1": "mono", "2": "stereo"}
_DTYPES = {"<f4": "float32", "<f2": "float16"}
_UNLISTED = {"none": "lossy or float"}  # what a missing bit depth means


def render(description: Mapping[str, Any], console: Console) -> None:
    """Print what ``describe`` returned.

    Args:
        description: The plain values.
        console: Where to print; at most 100 columns of it are used.
    """
    whole, samples = description["dataset"], description["samples"]
    console.print(Text.assemble((description["name"], "bold"), "  ", description["location"]), soft_wrap=True)
    total = count(whole["samples"], "sample")
    amount = total if samples == whole["samples"] else f"{samples:,} of {total}"
    shards = sum(split["shards"] for split in description["splits"].values())
    num_bytes = sum(split["bytes"] for split in description["splits"].values())
    console.print(
        f"{amount}, {format_duration(description['hours'] * 3600)}, {count(shards, 'shard')}, "
        f"{format_size(num_bytes)}, format version {description['format_version']}",
        highlight=False,
    )
    width = min(_WIDTH, console.width)
    for block in (_splits(description), _facts(description), _fields(description)):
        console.print()
        console.print(block, width=width)


def _splits(description: Mapping[str, Any]) -> Table:
    table = _table("split", right=("samples", "audio", "shards", "bytes"))
    for name, split in description["splits"].items():
        audio = format_duration(split["hours"] * 3600)
        table.add_row(Text(name), f"{split['samples']:,}", audio, f"{split['shards']:,}", format_size(split["bytes"]))
    return table


def _facts(description: Mapping[str, Any]) -> Table:
    """Return the lines that have a name and a text."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    depths = {_UNLISTED.get(depth, f"{depth} bit"): count for depth, count in description["bit_depths"].items()}
    labels, total = description["labels"], description["samples"]
    lines = {
        "durations": _durations(description["duration_s"]),
        "loudness": _loudness(description["loudness_lufs"]),
        "rates": _shares({f"{rate} Hz": count for rate, count in description["sample_rates"].items()}, total),
        "channels": _shares(
            {_LAYOUTS.get(n, f"{n} channels"): count for n, count in description["channels"].items()}, total
        ),
        "depths": _shares(depths, total),
        f"labels ({len(labels['counts'])})": _labels(labels),
        "intervals": _intervals(description["intervals"]),
        "columns": _listed([f"{name} ({kind})" for name, kind in description["columns"].items()]),
        "features": _features(description["features"]),
    }
    for name, text in lines.items():
        if text:
            grid.add_row(name, Text(text))
    return grid


def _fields(description: Mapping[str, Any]) -> Table:
    table = _table("field", "kind", right=("samples", "bytes"), left=("members", "crops are read"))
    for name, field in description["fields"].items():
        codecs = field.get("codecs", {})
        members = ", ".join(field["extensions"])
        if "hop_s" in field:
            members += " without a hop" if field["hop_s"] is None else f", hop {format_duration(field['hop_s'])}"
        table.add_row(
            Text(name),
            field["kind"],
            f"{field['samples']:,}",
            format_size(field["bytes"]),
            Text(members),
            "; ".join(_codec(codec, entry) for codec, entry in codecs.items()),
        )
    return table


def _codec(name: str, entry: Mapping[str, int]) -> str:
    """Return how crops of a codec's members are read: from the bytes of their range, or from the whole member."""
    by_range, whole = entry["range_reads"], entry["samples"] - entry["range_reads"]
    if by_range and whole:
        return f"{name}: {by_range:,} by range, {whole:,} whole"
    return f"{name}: {'by range' if by_range else 'whole'}"


def _durations(values: Mapping[str, float | None]) -> str:
    if values["median"] is None:
        return ""
    low, middle, mean, high = (format_duration(values[name] or 0.0) for name in ("min", "median", "mean", "max"))
    return f"median {middle}, mean {mean}, {low} to {high}"


def _loudness(values: Mapping[str, Any]) -> str:
    parts = []
    if values["p50"] is not None:
        parts.append(f"median {values['p50']:.1f} LUFS, 90 % from {values['p5']:.1f} to {values['p95']:.1f} LUFS")
    counted = {"silent": "silent", "unknown": "too quiet to measure", "unmeasured": "not measured"}
    parts += [f"{values[name]:,} {text}" for name, text in counted.items() if values[name]]
    return "; ".join(parts)


def _labels(labels: Mapping[str, Any]) -> str:
    most_first = sorted(labels["counts"].items(), key=lambda pair: -pair[1])
    text = _listed([f"{name}: {count:,}" for name, count in most_first])
    if labels["unlabelled"] and text:
        text += f"; {labels['unlabelled']:,} without a label"
    return text or "none"


def _intervals(intervals: Mapping[str, Mapping[str, Any]]) -> str:
    return _listed(
        [
            f"{name}: {entry['count']:,} in {count(entry['samples'], 'sample')}, "
            f"{format_duration(entry['hours'] * 3600)}"
            for name, entry in intervals.items()
        ],
        separator="; ",
    )


def _features(features: Mapping[str, Any] | None) -> str:
    """Return what computed the features that stand in place of the recordings."""
    if features is None:
        return ""
    options = ", ".join(f"{name}={value}" for name, value in features["config"].items() if name != "kind")
    mixed = "" if features["channels"] is None else f", mixed to {count(features['channels'], 'channel')}"
    made = f"{features['config'].get('kind')}({options}){mixed}, as {_DTYPES.get(features['dtype'], features['dtype'])}"
    return f"{made}; of {features['source']}, by torch {features['torch']} on {features['device']}"


def _shares(counts: Mapping[str, int], total: int) -> str:
    """Return values with their counts, most frequent first; a value that all have stands alone."""
    most_first = sorted(counts.items(), key=lambda pair: -pair[1])
    return _listed([name if count == total else f"{name}: {count:,}" for name, count in most_first])


def _listed(items: Sequence[str], *, separator: str = ", ") -> str:
    more = f" … and {len(items) - _SHOWN:,} more" if len(items) > _SHOWN else ""
    return separator.join(items[:_SHOWN]) + more


def _table(*names: str, right: Sequence[str], left: Sequence[str] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    for name in (*names, *right, *left):
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return table
