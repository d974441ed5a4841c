"""Runs jobs, one for each shard, on the processes of this machine."""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, TypeVar

from shardkit.core.errors import ShardkitError

_POLL_S = 0.1
_state: dict[str, Any] = {}  # of a worker process: its progress queue and stop flag, set once by _start


@dataclass(frozen=True, slots=True)
class Progress:
    """One input done: seconds of audio that came of it, and its bytes."""

    duration_s: float
    num_bytes: int


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


def job_threads(num_jobs: int, workers: int) -> list[int]:
    """Return how many threads each job is worth, so that there is work for all when fewer jobs are left than workers.

    >>> job_threads(1, 4), job_threads(5, 4), job_threads(8, 4)
    ([4], [1, 1, 1, 1, 4], [1, 1, 1, 1, 1, 1, 1, 1])
    """
    num_last = num_jobs % workers
    return [1] * (num_jobs - num_last) + [-(-workers // num_last)] * num_last if num_last else [1] * num_jobs


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
    def report(progress: Progress) -> None:
        if _state["stop"].is_set():
            raise _StoppedError
        _state["progress"].put(progress)

    return work(job, report)
