"""Live lines on standard error while a command works; on a terminal only."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from shardkit.core.sizes import format_duration
from shardkit.pack.engine import Progress as Step

_REFRESH_S = 0.1


def _bar(*columns: ProgressColumn) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        *columns,
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while the context lasts; it yields what to call with (done, total)."""
    bar = _bar()
    task = bar.add_task(what, total=None)
    with bar:
        yield lambda done, total: bar.update(task, completed=done, total=total)


class PackProgress:
    """Files, hours, MB/s and time left, as a context manager; use ``start`` once, then ``report`` for each input.

    Args:
        what: What is going on.
    """

    def __init__(self, what: str = "packing") -> None:
        self._bar = _bar(MofNCompleteColumn(), TextColumn("files  {task.fields[audio]}  {task.fields[rate]} "))
        self._task = self._bar.add_task(what, total=None, audio="", rate="")
        self._began = time.monotonic()
        self._seconds = 0.0
        self._bytes = self._files = 0
        self._shown = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def start(self, num_files: int, _num_bytes: int) -> None:
        """Set how much there is to do."""
        self._began = time.monotonic()
        self._bar.update(self._task, total=num_files)

    def report(self, step: Step) -> None:
        """Count one input."""
        self._seconds += step.duration_s
        self._bytes += step.num_bytes
        self._files += step.num_inputs
        now = time.monotonic()
        if now - self._shown < _REFRESH_S:  # thousands of short files a second need no line each
            return
        self._shown = now
        elapsed = max(1e-3, now - self._began)
        rate = f"{self._bytes / elapsed / 1e6:.1f} MB/s"
        self._bar.update(self._task, completed=self._files, audio=format_duration(self._seconds), rate=rate)
