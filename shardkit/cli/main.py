"""The ``shardkit`` program: registers the commands, prints errors as one line."""

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from shardkit import __version__
from shardkit.cli.bench import bench
from shardkit.cli.cat import cat
from shardkit.cli.export import export
from shardkit.cli.featurize import featurize
from shardkit.cli.index import index
from shardkit.cli.info import info
from shardkit.cli.logs import LogLevel, start_logging
from shardkit.cli.options import Command
from shardkit.cli.pack import pack
from shardkit.cli.synth import synth
from shardkit.cli.verify import verify
from shardkit.core.errors import ShardkitError

INTERRUPTED = 130  # 128 + SIGINT, as shells report it

app = typer.Typer(
    name="shardkit",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS: dict[Callable[..., None], str] = {
    pack: "Pack recordings into shards with an index.",
    index: "Adopt existing WebDataset tars in place.",
    info: "Say what a dataset holds.",
    verify: "Check structure, hashes and, with --deep, audio.",
    cat: "Show one sample, or write a crop of it.",
    featurize: "Compute features once, into shards of their own.",
    export: "Write samples back as plain files.",
    bench: "Measure storage, decoding and the stream; say which limits.",
    synth: "Write a small data set to try things with.",
}
for command, summary in _COMMANDS.items():
    app.command(short_help=summary, cls=Command)(command)


def _show_version(wanted: bool) -> None:  # the signature that typer calls
    if wanted:
        typer.echo(f"shardkit {__version__}")
        raise typer.Exit


@app.callback()
def shardkit(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,  # noqa: ARG001
    log_level: Annotated[
        LogLevel, typer.Option("--log-level", help="Least severe messages to print on stderr.")
    ] = LogLevel.warning,
    log_json: Annotated[bool, typer.Option("--log-json", help="Print messages as lines of JSON.")] = False,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Pack audio recordings into WebDataset shards with an index, and read them back.

    A path may be a local one or a URL (s3://, gs://, http://). Exit code: 0 done, 1 data or storage is at fault,
    2 the request is.
    """
    start_logging(log_level, as_json=log_json)


def main() -> None:
    """Run the command line; the entry point of the ``shardkit`` program."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1  # so that it works after a command too
    try:
        app(arguments)
    except ShardkitError as err:
        if debug:
            raise
        typer.echo(f"shardkit: error: {' '.join(str(err).splitlines())}", err=True)
        sys.exit(err.exit_code)
    except KeyboardInterrupt:
        typer.echo("shardkit: interrupted", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of a pipe has gone; Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
