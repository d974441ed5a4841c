"""``shardkit verify``."""

from typing import Annotated

import typer

from shardkit.cli.options import AsJson, DatasetUrl, StorageOptions


def verify(
    dataset: DatasetUrl,
    *,
    deep: Annotated[bool, typer.Option("--deep", help="Decode every recording too.")] = False,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Check structure and hashes, and with --deep decode everything. Exit code 1 if anything is wrong."""
    import json

    from shardkit.cli.progress import progress_bar
    from shardkit.report.verify import verify as run_verify
    from shardkit.storage.location import locate
    from shardkit.storage.options import parse_options

    with progress_bar("verifying") as progress:
        found = run_verify(locate(dataset, parse_options(storage_option or [])), deep=deep, progress=progress)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=1, ensure_ascii=False))
    else:
        for problem in found.problems:
            typer.echo(str(problem))
        typer.echo(found.summary())
    if found.problems:
        raise typer.Exit(1)
