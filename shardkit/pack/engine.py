"""Runs jobs, one for each shard, on the processes of this machine.

This process is one of them: another would take as long to start as packing 50 MB takes.
"""

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
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
        workers: Processes, this one counted; it does jobs on a thread, so that it can report and be interrupted.
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
    num_others = min(workers, len(jobs)) - 1
    others = ProcessPoolExecutor(num_others, mp_context=context, initializer=_start, initargs=(progress, stop))
    here, here_progress = ThreadPoolExecutor(1, thread_name_prefix="shardkit-pack"), queue.SimpleQueue[Progress]()

    def do_here(job: Job) -> Future[Outcome]:
        return here.submit(_do, work, here_progress, stop, job)

    def do_elsewhere(job: Job) -> Future[Outcome]:
        return others.submit(_run, work, job)

    lanes = [do_here, *[do_elsewhere] * num_others]
    try:
        return _follow(jobs, lanes, (progress, here_progress), report)
    except BrokenProcessPool as err:
        raise ShardkitError("a process died, perhaps for want of memory; run again with fewer --workers") from err
    finally:
        stop.set()
        for executor in (others, here):
            executor.shutdown(wait=True, cancel_futures=True)
        progress.close()


def share_out(num_jobs: int, num_bytes: int, workers: int) -> tuple[int, list[int]]:
    """Return how many processes to start for some jobs, and how many threads each job is to use.

    Processes share no lock, but each beside this one costs the start of Python and its imports: as much as it takes to
    pack 50 MB. So there is one for each ``PROCESS_BYTES``, and threads for the rest of the workers. The last jobs use
    those of the processes for which no job is left.

    >>> share_out(1, 10**9, 4), share_out(5, 10**7, 4), share_out(9, 10**10, 4)
    ((1, [4]), (1, [4, 4, 4, 4, 4]), (4, [1, 1, 1, 1, 1, 1, 1, 1, 4]))
    """
    processes = max(1, min(workers, num_jobs, num_bytes // PROCESS_BYTES))
    num_last = num_jobs % processes
    threads = [-(-workers // processes)] * (num_jobs - num_last)
    return processes, threads + [-(-workers // num_last)] * num_last if num_last else threads


def _follow(
    jobs: Sequence[Job],
    lanes: Sequence[Callable[[Job], Future[Outcome]]],
    messages: Sequence[Any],
    report: Report,
) -> list[Outcome]:
    """Give each lane a job, and the next when that is done; raise the first failure as soon as it happens.

    Args:
        jobs: At least as many as lanes.
        lanes: Each starts a job.
        messages: Queues with the lanes' progress, which is passed on.
        report: To whom.
    """
    outcomes: dict[int, Outcome] = {}
    waiting = iter(enumerate(jobs))
    running = {lane(job): (number, lane) for lane, (number, job) in zip(lanes, waiting, strict=False)}
    while running:
        done, _ = wait(running, timeout=_POLL_S, return_when=FIRST_COMPLETED)
        _drain(messages, report)
        for future in done:
            number, lane = running.pop(future)
            outcomes[number] = future.result()
            for number, job in islice(waiting, 1):
                running[lane(job)] = (number, lane)
    _drain(messages, report)
    return [outcomes[number] for number in range(len(jobs))]


def _drain(messages: Sequence[Any], report: Report) -> None:
    for progress in messages:
        with suppress(queue.Empty):
            while True:
                report(progress.get_nowait())


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
    """Do a job in a worker process."""
    return _do(work, _state["progress"], _state["stop"], job)


def _do(work: Callable[[Job, Report], Outcome], progress: Any, stop: Any, job: Job) -> Outcome:
    messages = _Messages(progress)

    def report(progress: Progress) -> None:
        if stop.is_set():
            raise _StoppedError
        messages.add(progress)

    outcome = work(job, report)
    messages.send()
    return outcome


class _Messages:
    """Sends progress now and then: a message for each of thousands of short files would take a tenth of the time."""

    def __init__(self, progress: Any) -> None:
        self._queue = progress
        self._sum = Progress(0.0, 0, 0)
        self._sent = time.monotonic()

    def add(self, progress: Progress) -> None:
        self._sum = Progress(
            self._sum.duration_s + progress.duration_s,
            self._sum.num_bytes + progress.num_bytes,
            self._sum.num_inputs + progress.num_inputs,
        )
        if time.monotonic() - self._sent >= _POLL_S:
            self.send()

    def send(self) -> None:
        self._queue.put(self._sum)
        self._sum, self._sent = Progress(0.0, 0, 0), time.monotonic()
