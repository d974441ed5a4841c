"""``shardkit info``."""

import typer

from shardkit.cli.options import AsJson, DatasetUrl, Split, StorageOptions


def info(
    dataset: DatasetUrl, *, split: Split = None, storage_option: StorageOptions = None, as_json: AsJson = False
) -> None:
    """Say what a dataset holds: totals, splits, labels, durations, loudness, codecs."""
    import json

    from rich.console import Console

    from shardkit.report.info import describe, render
    from shardkit.storage.options import parse_options
    from shardkit.stream.dataset import open_dataset

    description = describe(open_dataset(dataset, split, storage_options=parse_options(storage_option or [])))
    if as_json:
        typer.echo(json.dumps(description, indent=1, ensure_ascii=False))
    else:
        render(description, Console())
