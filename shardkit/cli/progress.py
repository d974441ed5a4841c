"""The live line of ``shardkit pack``: files, hours, MB/s, time left. On a terminal only, on standard error."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from shardkit.core.sizes import format_duration
from shardkit.pack.shard import Progress as Step


class PackProgress:
    """A progress bar that is a context manager; use ``start`` once, then ``report`` for each input."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("packing"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("files  {task.fields[audio]}  {task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
            transient=True,
        )
        self._task = self._bar.add_task("pack", total=None, audio="", rate="")
        self._began = time.monotonic()
        self._seconds = 0.0
        self._bytes = 0

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
        elapsed = max(1e-3, time.monotonic() - self._began)
        self._bar.update(
            self._task,
            advance=1,
            audio=format_duration(self._seconds),
            rate=f"{self._bytes / elapsed / 1e6:.1f} MB/s",
        )
