"""What ``pack`` and ``index`` say when they are done."""

import json

import typer

from shardkit.core.sizes import count, format_duration, format_size
from shardkit.format.manifest import Totals
from shardkit.pack.commit import REPORT_NAME, PackSummary
from shardkit.pack.imported import MISSING_NAME

_SHOWN = 5  # of the files that are not packed; the rest is in the report


def print_summary(summary: PackSummary, *, as_json: bool) -> None:
    """Print what a run did: JSON for programs, a few lines for people."""
    if as_json:
        typer.echo(json.dumps(summary.as_json(), indent=1, ensure_ascii=False))
        return
    size = f"{format_size(summary.totals.bytes)} from {format_size(summary.input_bytes)}"
    typer.echo(f"{summary.output}: {_amount(summary.totals)}, {size}, in {summary.wall_s:.1f} s")
    if len(summary.splits) > 1:
        for name, split in summary.splits.items():
            typer.echo(f"  {name}: {_amount(split)}")
    for note in summary.notes:
        typer.echo(f"  {note}")
    if summary.missing:
        typer.echo(f"  {summary.missing:,} of the files named are missing, listed in {summary.output}/{MISSING_NAME}")
    if summary.clipped_inputs:
        recordings, values = count(summary.clipped_inputs, "recording"), count(summary.clipped_values, "value")
        typer.echo(f"  {recordings} overshot full scale when rounded to integers: {values} clipped")
    if summary.unpacked:
        files = count(len(summary.unpacked), "file")
        typer.echo(f"  {files} not packed, listed in {summary.output}/{REPORT_NAME}:")
        for line in summary.unpacked[:_SHOWN]:
            typer.echo(f"    {line.path}: {line.reason}")
        if len(summary.unpacked) > _SHOWN:
            typer.echo(f"    and {len(summary.unpacked) - _SHOWN:,} more")


def _amount(totals: Totals) -> str:
    shards = count(totals.shards, "shard")
    return f"{count(totals.samples, 'sample')}, {format_duration(totals.duration_s)}, {shards}"
