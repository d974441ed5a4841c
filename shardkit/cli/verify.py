"""``shardkit verify``."""

from typing import Annotated

import typer

from shardkit.cli.options import AsJson, DatasetUrl, StorageOptions


def verify(
    dataset: DatasetUrl,
    *,
    deep: Annotated[bool, typer.Option("--deep", help="Decode every recording too.")] = False,
    report: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write a line of JSON for each problem and note.", show_default=False),
    ] = None,
    workers: Annotated[int, typer.Option(metavar="N", help="Processes.", show_default="all cores")] = 0,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Check structure and hashes, and with --deep decode everything. Exit code 1 if anything is wrong."""
    import json

    from shardkit.cli.progress import progress_bar
    from shardkit.report.problems import REPAIRS
    from shardkit.report.verify import verify as run_verify
    from shardkit.storage.location import locate
    from shardkit.storage.options import parse_options
    from shardkit.storage.store import check_writable, write_bytes

    storage = parse_options(storage_option or [])
    lines_at = None if report is None else locate(report, storage)
    if lines_at is not None:
        check_writable(lines_at.parent)  # before hours of reading
    with progress_bar("verifying") as progress:
        found = run_verify(locate(dataset, storage), deep=deep, workers=workers or None, progress=progress)
    if lines_at is not None:
        write_bytes(lines_at, "".join(f"{line}\n" for line in found.lines()).encode())
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=1, ensure_ascii=False))
    else:
        for problem in found.problems:
            typer.echo(str(problem))
        for note in found.notes:
            typer.echo(f"note: {note}")
        typer.echo(found.summary())
        if any(REPAIRS[problem.kind] for problem in found.problems):
            typer.echo(f"'shardkit repair --dry-run {dataset}' says what of it can be mended")
    if found.problems:
        raise typer.Exit(1)
