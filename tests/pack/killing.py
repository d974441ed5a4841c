"""Packs that are killed at a chosen instant: ``python -m tests.pack.killing`` reads one command a line, as JSON.

Each is run by a fork of this process, which has imported everything, so that fifty take seconds. An instant is a number
of what the process does to the output's files: with SIGKILL before the n-th opening, renaming, linking or removing,
what is on disk is what a machine leaves that is switched off there.
"""

import itertools
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from shardkit.cli.main import main
from shardkit.pack import engine, finish, run  # noqa: F401  (what the fork would import)
from shardkit.storage import store  # noqa: F401

EVENTS = {"open", "os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.scandir", "os.listdir"}


def die_at(number: int | None, output: str) -> itertools.count:
    """Kill this process group before the given event; return what counts the events."""
    counter = itertools.count()

    def hook(event: str, args: tuple[object, ...]) -> None:
        mine = event in EVENTS and args and isinstance(args[0], str) and args[0].startswith(output)
        if mine and next(counter) == number:
            os.killpg(0, signal.SIGKILL)

    sys.addaudithook(hook)
    return counter


def run_forked(arguments: Sequence[str], output: str, kill_at: int | None) -> tuple[int, int]:
    """Return (exit status as ``os.waitstatus_to_exitcode`` says, number of events) of one command."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        status = 1
        try:
            sys.argv = ["shardkit", *arguments]
            counter = die_at(kill_at, output)
            with Path(os.devnull).open("w") as null, redirect_stdout(null), redirect_stderr(sys.__stderr__):
                main()
            status = 0
        except SystemExit as err:
            status = err.code if isinstance(err.code, int) else 1
        finally:
            os.write(writing, str(next(counter)).encode())
            os._exit(status)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as file:
        text = file.read()
    return os.waitstatus_to_exitcode(status), int(text or 0)


if __name__ == "__main__":
    engine.PROCESS_BYTES = 10**12  # threads alone: other processes would not be killed at their own events
    for line in sys.stdin:
        told = json.loads(line)
        sys.stdout.write(json.dumps(run_forked(told["arguments"], told["output"], told["kill_at"])) + "\n")
        sys.stdout.flush()
