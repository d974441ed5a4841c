"""Runs jobs, one for each shard, on the processes of this machine."""

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, TypeVar

from shardkit.core.errors import ShardkitError

PROCESS_BYTES = 256_000_000  # of inputs that are worth a process
_POLL_S = 0.1  # between messages of progress, and looks for them
_state: dict[str, Any] = {}  # of a worker process: its progress queue and stop flag, set once by _start


@dataclass(frozen=True, slots=True)
class Progress:
    """Some inputs done: seconds of audio that came of them, their bytes, and how many they are."""

    duration_s: float
    num_bytes: int
    num_inputs: int = 1

    def __add__(self, other: "Progress") -> "Progress":
        return Progress(
            self.duration_s + other.duration_s, self.num_bytes + other.num_bytes, self.num_inputs + other.num_inputs
        )

    def __sub__(self, other: "Progress") -> "Progress":
        return Progress(
            self.duration_s - other.duration_s, self.num_bytes - other.num_bytes, self.num_inputs - other.num_inputs
        )


NOTHING = Progress(0.0, 0, 0)
Report = Callable[[Progress], None]
Job = TypeVar("Job")
Outcome = TypeVar("Outcome")


class _StoppedError(Exception):
    """Another job failed; this one gives up."""


def run_jobs(
    work: Callable[[Job, Report], Outcome], jobs: Sequence[Job], *, workers: int, report: Report
) -> list[Outcome]:
    """Return the outcome of each job, in the order of the jobs, whatever the number of workers.

    Args:
        work: Does one job; a function of a module, so that other processes find it.
        jobs: Plain values: they are sent to other processes, as the outcomes are sent back.
        workers: Processes; with one, or one job, all is done in this process.
        report: Called in this process with what the jobs report.

    Raises:
        ShardkitError: The first failure; the other jobs are stopped.
    """
    if workers == 1 or len(jobs) <= 1:
        return [work(job, report) for job in jobs]
    # Spawned, not forked: a forked child would inherit threads and open connections to storage.
    context = multiprocessing.get_context("spawn")
    progress: Any = context.Queue()
    stop = context.Event()
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=context, initializer=_start, initargs=(progress, stop)
    )
    futures = [pool.submit(_run, work, job) for job in jobs]
    try:
        _follow(futures, progress, report)
        return [future.result() for future in futures]
    except BrokenProcessPool as err:
        raise ShardkitError("a process died, perhaps for want of memory; run again with fewer --workers") from err
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        progress.close()


def share_out(num_jobs: int, num_bytes: int, workers: int) -> tuple[int, list[int]]:
    """Return how many processes to start for some jobs, and how many threads each job is to use.

    Processes share no lock, but each costs the start of Python and its imports: as much as it takes to pack 50 MB. So
    there is one for each ``PROCESS_BYTES``, and threads for the rest of the workers. The last jobs use those of the
    processes for which no job is left.

    >>> share_out(1, 10**9, 4), share_out(5, 10**7, 4), share_out(9, 10**10, 4)
    ((1, [4]), (1, [4, 4, 4, 4, 4]), (4, [1, 1, 1, 1, 1, 1, 1, 1, 4]))
    """
    processes = max(1, min(workers, num_jobs, num_bytes // PROCESS_BYTES))
    num_last = num_jobs % processes
    threads = [-(-workers // processes)] * (num_jobs - num_last)
    return processes, threads + [-(-workers // num_last)] * num_last if num_last else threads


def _follow(futures: Sequence[Future[Any]], progress: Any, report: Report) -> None:
    """Pass on progress until every job is done; raise the first failure as soon as it happens."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=_POLL_S, return_when=FIRST_COMPLETED)
        _drain(progress, report)
        for future in done:
            future.result()
    _drain(progress, report)


def _drain(progress: Any, report: Report) -> None:
    while True:
        try:
            report(progress.get_nowait())
        except queue.Empty:
            return


def _start(progress: Any, stop: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which sets the stop flag
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _state.update(progress=progress, stop=stop)


def _end_with_parent() -> None:
    """End this process when its parent has gone: a worker that lives on would write into a later run's output."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(work: Callable[[Job, Report], Outcome], job: Job) -> Outcome:
    messages = Messages(_state["progress"].put)

    def report(progress: Progress) -> None:
        if _state["stop"].is_set():
            raise _StoppedError
        messages.add(progress)

    outcome = work(job, report)
    messages.send()
    return outcome


class Messages:
    """Sends progress now and then: a message for each of thousands of short files would take a tenth of the time.

    Args:
        send: Takes what has been added up.
    """

    def __init__(self, send: Callable[[Progress], object]) -> None:
        self._send = send
        self._sum = NOTHING
        self._sent = time.monotonic()

    def add(self, progress: Progress) -> None:
        """Add progress, and send it if some time has passed."""
        self._sum += progress
        if time.monotonic() - self._sent >= _POLL_S:
            self.send()

    def send(self) -> None:
        """Send what has been added since the last time."""
        self._send(self._sum)
        self._sum, self._sent = NOTHING, time.monotonic()
