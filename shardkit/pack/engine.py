"""Runs shard jobs on the processes of this machine."""

import multiprocessing
import queue
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from shardkit.core.errors import ShardkitError
from shardkit.pack.shard import Progress, ShardJob, ShardOutcome, write_shard

_POLL_S = 0.1
_state: dict[str, Any] = {}  # of a worker process: its progress queue and stop flag, set once by _start


class _StoppedError(Exception):
    """Another job failed; this one gives up."""


def run_jobs(jobs: Sequence[ShardJob], *, workers: int, report: Callable[[Progress], None]) -> list[ShardOutcome]:
    """Return the outcome of each job, in the order of the jobs, whatever the number of workers.

    Raises:
        ShardkitError: The first failure; the other jobs are stopped and leave nothing behind.
    """
    if workers == 1 or len(jobs) <= 1:
        return [write_shard(job, report) for job in jobs]
    # Spawned, not forked: a forked child would inherit threads and open connections to storage.
    context = multiprocessing.get_context("spawn")
    progress: Any = context.Queue()
    stop = context.Event()
    pool = ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=context, initializer=_start, initargs=(progress, stop)
    )
    futures = [pool.submit(_run, job) for job in jobs]
    try:
        _follow(futures, progress, report)
        return [future.result() for future in futures]
    except BrokenProcessPool as err:
        raise ShardkitError(
            "a packing process died, perhaps for want of memory; run again with fewer --workers"
        ) from err
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        progress.close()


def _follow(futures: Sequence[Future[ShardOutcome]], progress: Any, report: Callable[[Progress], None]) -> None:
    """Pass on progress until every job is done; raise the first failure as soon as it happens."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, timeout=_POLL_S, return_when=FIRST_COMPLETED)
        _drain(progress, report)
        for future in done:
            future.result()
    _drain(progress, report)


def _drain(progress: Any, report: Callable[[Progress], None]) -> None:
    while True:
        try:
            report(progress.get_nowait())
        except queue.Empty:
            return


def _start(progress: Any, stop: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which sets the stop flag
    _state.update(progress=progress, stop=stop)


def _run(job: ShardJob) -> ShardOutcome:
    def report(progress: Progress) -> None:
        if _state["stop"].is_set():
            raise _StoppedError
        _state["progress"].put(progress)

    return write_shard(job, report)
