"""``shardkit export``."""

from typing import Annotated

import typer

from shardkit.cli.options import AsJson, DatasetUrl, Split, StorageOptions, local


def export(
    dataset: DatasetUrl,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Local folder; new or empty.")],
    *,
    split: Split = None,
    where: Annotated[
        str | None, typer.Option(metavar="CONDITION", help='Only samples that meet it: "duration_s >= 2".')
    ] = None,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Write the samples back as plain files, byte for byte, with a manifest that packs them again."""
    import json
    from dataclasses import asdict

    from shardkit.cli.progress import progress_bar
    from shardkit.report.export import export as run_export
    from shardkit.storage.options import parse_options
    from shardkit.stream.dataset import open_dataset

    target = local(folder)
    view = open_dataset(dataset, split, storage_options=parse_options(storage_option or []))
    with progress_bar("exporting") as progress:
        summary = run_export(view if where is None else view.where(where), target, progress=progress)
    if as_json:
        typer.echo(json.dumps(asdict(summary), default=str))
    else:
        typer.echo(str(summary))
