"""``shardkit commit``."""

from typing import Annotated

import typer

from shardkit.cli.options import AsJson, StorageOptions


def commit(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="What 'shardkit pack --part' was given.")],
    *,
    storage_option: StorageOptions = None,
    as_json: AsJson = False,
) -> None:
    """Finish a dataset whose parts are all packed: check that every shard is there, then write the manifest.

    Shards that are not there yet are named, with the part that each belongs to.
    """
    from shardkit.cli.summary import print_summary
    from shardkit.pack.finish import commit as run_commit
    from shardkit.storage.location import locate
    from shardkit.storage.options import parse_options

    print_summary(run_commit(locate(output, parse_options(storage_option or []))), as_json=as_json)
