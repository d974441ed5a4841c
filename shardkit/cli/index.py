"""``shardkit index``."""

import os
from typing import Annotated

import typer

from shardkit.cli.options import AsJson, Hops, OnError, StorageOptions, seconds


def index(
    tars: Annotated[
        list[str], typer.Argument(metavar="TAR... OUTPUT", help="Tars, or folders of tars, then where the index goes.")
    ],
    *,
    split: Annotated[str, typer.Option(metavar="NAME", help="Name of the split they become.")] = "train",
    label: Annotated[
        str | None,
        typer.Option(metavar="FIELD", help="Member with the label (cls), or a key of KEY.json.", show_default="labels"),
    ] = None,
    prefix_keys: Annotated[
        bool, typer.Option("--prefix-keys", help="Put the tar's name in front of keys that occur in several tars.")
    ] = False,
    hop: Hops = None,
    workers: Annotated[int, typer.Option(metavar="N", help="Processes.", show_default="all cores")] = 0,
    on_error: Annotated[OnError, typer.Option(help="A sample that can't be indexed.")] = OnError.fail,
    name: Annotated[str | None, typer.Option(help="The dataset's name.", show_default="OUTPUT's")] = None,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Adopt existing WebDataset tars where they lie: write an index and a manifest, and not a byte of the tars."""
    from shardkit.cli.progress import PackProgress
    from shardkit.cli.summary import print_summary
    from shardkit.pack.adopt import AdoptOptions, adopt
    from shardkit.storage.location import locate
    from shardkit.storage.options import parse_options

    if len(tars) < 2:
        raise typer.BadParameter("give at least one tar, then the output folder", param_hint="TAR... OUTPUT")
    storage = parse_options(storage_option or [])
    *sources, output = [locate(text, storage) for text in tars]
    options = AdoptOptions(
        split=split,
        label=label,
        prefix_keys=prefix_keys,
        on_error=on_error.value,
        workers=workers or os.cpu_count() or 1,
        name=name,
        hops_s=seconds(hop),
    )
    with PackProgress() as progress:
        summary = adopt(sources, output, options=options, start=progress.start, report=progress.report)
    print_summary(summary, as_json=as_json)
