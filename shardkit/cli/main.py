"""The ``shardkit`` program: registers the commands, prints errors as one line."""

import os
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Annotated

import typer

from shardkit import __version__
from shardkit.cli.bench import bench
from shardkit.cli.cat import cat
from shardkit.cli.commit import commit
from shardkit.cli.export import export
from shardkit.cli.featurize import featurize
from shardkit.cli.index import index
from shardkit.cli.info import info
from shardkit.cli.labels import labels
from shardkit.cli.logs import LogLevel, start_logging
from shardkit.cli.options import Command
from shardkit.cli.pack import pack
from shardkit.cli.repair import repair
from shardkit.cli.synth import synth
from shardkit.cli.verify import verify
from shardkit.core.errors import ShardkitError
from shardkit.core.secrets import without_secrets

_MAX_LINE = 4000  # characters of an error
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
    commit: "Finish a dataset that was packed in parts.",
    index: "Adopt existing WebDataset tars in place.",
    info: "Say what a dataset holds.",
    labels: "Count labels and events; as a table, or a picture.",
    verify: "Check structure, hashes and, with --deep, audio.",
    repair: "Mend a damaged dataset, beside what is there.",
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


def _line(text: str) -> str:
    """Return a message in one line, without what would steer a terminal: it may repeat names that others chose."""
    line = "".join(sign if sign.isprintable() else " " for sign in " ".join(text.splitlines()))
    line = without_secrets(line)
    return line if len(line) <= _MAX_LINE else f"{line[: _MAX_LINE // 2]} … {line[-_MAX_LINE // 2 :]}"


def _show_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what Python prints of an error that nobody foresaw, without secrets."""
    print(without_secrets("".join(traceback.format_exception(kind, error, trace))), file=sys.stderr, end="")  # noqa: T201


def main() -> None:
    """Run the command line; the entry point of the ``shardkit`` program."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1  # so that it works after a command too
    try:
        app(arguments)
    except ShardkitError as err:
        if debug:
            sys.excepthook = _show_bug  # here, since typer puts a hook of its own on the way
            raise
        typer.echo(f"shardkit: error: {_line(str(err))}", err=True)
        sys.exit(err.exit_code)
    except KeyboardInterrupt:
        typer.echo("shardkit: interrupted", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of a pipe has gone; Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception:
        sys.excepthook = _show_bug
        raise


if __name__ == "__main__":
    main()
