"""Threads that read and decode: as many at once as keep storage and processor busy, and no more.

How many requests must be in flight follows from how long one takes: with three milliseconds to a server next door, more
than a few only wait for each other; with fifty to a store far away, a few leave everything idle. Both are measured as
jobs end, the way BBR does for packets:

    limit = cores + 2 · (most jobs a second seen lately) · (seconds a job takes when few run)

That product is what is under way when nothing waits for anything; twice that lets the rate show whether more would
come. What a job takes when few run is looked at every ten seconds, for as long as it takes some jobs to end: when many
run, each waits for the others, and even the shortest of them says nothing.

Source:
    Cardwell, Cheng, Gunn, Yeganeh, Jacobson (2016), "BBR: congestion-based congestion control", for the windowed
    maximum of the rate and for the probing of the round-trip time with few packets in flight.
"""

import atexit
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Self, TypeVar
from weakref import WeakSet

from shardkit.core.errors import InputError
from shardkit.storage.retries import until

T = TypeVar("T")
_Job = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]

_WINDOW = 16  # jobs over which a rate is taken
_KEPT = 12  # windows that are remembered
_PROBE_EVERY_S = 10.0
_LEAVE_S = 3.0  # for jobs under way to end; one that waits for a network is left to itself


class Pace:
    """How many jobs should run at once. For one thread at a time.

    Args:
        cores: Processors that decode beside what is in flight.
        most: The limit is never above.
    """

    def __init__(self, *, cores: int, most: int) -> None:
        self._few, self._most = min(cores, most), most
        self._rates: deque[float] = deque(maxlen=_KEPT)
        self._window: list[float] = []  # when jobs ended
        self._probed: list[float] = []  # what jobs took that ran with few others
        self._probing_since: float | None = None
        self._next_probe = float("-inf")
        self._alone_s = 0.0
        self.limit = self._few

    def note(self, now: float, seconds: float) -> None:
        """Note a job that ended now and took so long."""
        if self._probing_since is None and now >= self._next_probe:
            self._probing_since, self._probed, self.limit = now - seconds * (not self._rates), [], self._few
        self._window.append(now)
        if self._probing_since is not None:
            self._probe(now, seconds)
        elif len(self._window) > _WINDOW:
            self._rates.append(_WINDOW / max(now - self._window[0], 1e-9))
            self._window = [now]
            self._choose()

    def _probe(self, now: float, seconds: float) -> None:
        """Look at jobs that began when few ran; after some of them, go on as before."""
        assert self._probing_since is not None  # noqa: S101  for the type checker
        if now - seconds < self._probing_since:
            return
        self._probed.append(seconds)
        if len(self._probed) >= 2 * self._few:
            self._alone_s = min(self._probed)
            self._probing_since, self._next_probe, self._window = None, now + _PROBE_EVERY_S, [now]
            self._choose()

    def _choose(self) -> None:
        rate = max(self._rates, default=self._few / max(self._alone_s, 1e-9))
        self.limit = max(1, min(self._most, self._few + round(2 * rate * self._alone_s)))


class Workers:
    """Runs jobs on threads, in the order they are given.

    The threads are daemons, so that a program can end though one of them waits for a network; those that don't are
    waited for, when the jobs are left or the program ends. In a forked process there are no threads: what is left of
    an iteration there is dropped without a wait, as locks may be held by those that stayed behind.

    Args:
        threads: How many at once, or a pace that finds out.
        most: Threads there may be.

    Attributes:
        process: Whose threads they are.
    """

    def __init__(self, threads: int | Pace, *, most: int) -> None:
        self._pace = threads
        self._most = most
        self.process = os.getpid()
        self._lock = threading.Lock()
        self._jobs: deque[_Job] = deque()
        self._running = 0
        self._turns = False
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._wake: SimpleQueue[None] = SimpleQueue()  # an item for each idle thread that is to look for jobs
        _open.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Drop the jobs that have not begun, and wait for the others: some seconds, if they hang.

        Without the lock: the garbage collector may call this in a thread that holds it.
        """
        if self.is_inherited or sys.is_finalizing():
            return
        self._closed = True
        with suppress(IndexError):
            while True:
                self._jobs.popleft()[0].cancel()
        others = [thread for thread in self._threads if thread is not threading.current_thread()]
        for _thread in others:
            self._wake.put(None)
        limit = time.monotonic() + _LEAVE_S
        for thread in others:
            thread.join(max(0.0, limit - time.monotonic()))

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked process's copy, of which the threads have stayed behind."""
        return os.getpid() != self.process

    @property
    def limit(self) -> int:
        """How many jobs may run at once."""
        if self._turns:
            return 1
        return self._pace.limit if isinstance(self._pace, Pace) else self._pace

    def take_turns(self, wanted: bool) -> None:
        """Have jobs run one at a time, or not: those that are mostly Python only wait for each other's lock."""
        self._turns = wanted

    def submit(self, run: Callable[..., T], *arguments: Any) -> "Future[T]":
        """Have ``run(*arguments)`` called on a thread, and return what will hold its result."""
        future: Future[T] = Future()
        with self._lock:
            self._jobs.append((future, run, arguments))
            self._start()
        return future

    def _start(self) -> None:
        """Have threads look for jobs that wait; the lock is held."""
        for _ in range(min(len(self._jobs), self.limit - self._running)):
            if self._idle:
                self._idle -= 1
                self._wake.put(None)
            elif len(self._threads) < self._most:
                name = f"shardkit_{len(self._threads)}"
                thread = threading.Thread(target=self._stay, name=name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # a limit of the system: those that there are will do
                    if not self._threads:
                        raise
                    return
                self._threads.append(thread)
            else:
                return
            self._running += 1

    def _next_job(self) -> _Job | None:
        """Return what to do next; None: nothing, or there are more threads than there should be. The lock is held."""
        if self._running > self.limit:
            return None
        try:
            return self._jobs.popleft()
        except IndexError:
            return None

    def _stay(self) -> None:
        """Run jobs whenever there are some, until all is left."""
        with until(lambda: self._closed):
            while self._work():
                self._wake.get()

    def _work(self) -> bool:
        """Run jobs until there are none, or more threads than there should be; return whether to stay."""
        while True:
            with self._lock:
                job = self._next_job()
                if job is None:
                    self._running -= 1
                    self._idle += 1
                    return not self._closed
            future, run, arguments = job
            del job
            if not future.set_running_or_notify_cancel():
                continue
            began = time.perf_counter()
            try:
                result = run(*arguments)
            except BaseException as err:
                future.set_exception(err)
            else:
                future.set_result(result)
                del result
            del future, run, arguments
            if isinstance(self._pace, Pace):
                now = time.perf_counter()
                with self._lock:
                    self._pace.note(now, now - began)
                    self._start()


_open: "WeakSet[Workers]" = WeakSet()


@atexit.register
def _leave_all() -> None:
    """End the threads while they still can: later, daemons are stopped wherever they are."""
    for workers in list(_open):
        workers.__exit__()


def has_ended(job: Future[Any], timeout_s: float | None) -> bool:
    """Return whether a job ends within some seconds; None: wait until it does."""
    with suppress(TimeoutError, CancelledError):
        job.exception(timeout_s)
    return job.done()


def check_process(process: int) -> None:
    """Raise if an iteration of another process is gone on with in a forked copy, whose threads have stayed behind.

    Raises:
        InputError: It is.
    """
    if os.getpid() != process:
        raise InputError(f"this iteration was begun in process {process}, before a fork; iterate anew in the new one")


def available_cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
