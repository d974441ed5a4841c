"""``shardkit repair``."""

import os
from typing import Annotated

import typer

from shardkit.cli.options import AsJson, DatasetUrl, StorageOptions

_SHOWN = 20  # actions; all of them are in repair.jsonl


def repair(
    dataset: DatasetUrl,
    output: Annotated[
        str | None,
        typer.Argument(
            metavar="OUTPUT",
            help="Folder for a repaired dataset of its own, which names whole shards where they lie.",
            show_default="new parts go beside the old ones",
        ),
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Decode every recording, as verify --deep does.")] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="Keep samples that were changed since they were packed, if they decode.")
    ] = False,
    quarantine: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Where broken samples are kept as they are.", show_default="quarantine in the output"
        ),
    ] = None,
    drop: Annotated[bool, typer.Option("--drop", help="Don't copy broken samples; only list them.")] = False,
    copy: Annotated[bool, typer.Option("--copy", help="Copy whole shards into OUTPUT too.")] = False,
    workers: Annotated[int, typer.Option(metavar="N", help="Processes.", show_default="all cores")] = 0,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Mend what can be mended, beside what is there: nothing but the manifest is replaced, and the old one is kept."""
    import json

    from shardkit.cli.progress import progress_bar
    from shardkit.repair.run import RepairOptions
    from shardkit.repair.run import repair as run_repair
    from shardkit.report.problems import REPAIR_LOG
    from shardkit.storage.location import locate
    from shardkit.storage.options import parse_options

    storage = parse_options(storage_option or [])
    options = RepairOptions(
        output=None if output is None else locate(output, storage),
        copy=copy,
        quarantine=None if quarantine is None else locate(quarantine, storage),
        keep_broken=not drop,
        deep=deep,
        accept=accept,
        dry_run=dry_run,
        workers=workers or os.cpu_count() or 1,
    )
    with progress_bar("checking") as progress:
        done = run_repair(locate(dataset, storage), options, progress=progress)
    if as_json:
        typer.echo(json.dumps(done.as_json(), indent=1, ensure_ascii=False))
        return
    for action in done.actions[:_SHOWN]:
        typer.echo(str(action))
    if len(done.actions) > _SHOWN:
        where = "--json lists all" if dry_run else f"all are in {done.output}/{REPAIR_LOG}"
        typer.echo(f"and {len(done.actions) - _SHOWN:,} more; {where}")
    for note in done.notes:
        typer.echo(f"note: {note}")
    typer.echo(done.summary())
    if done.previous is not None:
        typer.echo(f"the old manifest is kept as {done.output}/{done.previous}")
