"""Prepares the samples of one shard on several threads, and hands them over in their order.

Encoding, filtering, reading and hashing let other threads run, so threads do for a shard what processes do for many:
without a second start of Python, and without a copy of audio between processes.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

_RUN_INPUTS, _RUN_BYTES = 32, 1 << 20  # handed to a thread at once: short files are done faster than handed over
_AHEAD_RUNS = 4  # a thread, if they are small
_AHEAD_BYTES = 16 << 20  # of inputs that are not written yet, beyond those that the threads work on


class Sized(Protocol):
    """What is prepared: all that matters here is how many bytes it has."""

    @property
    def size(self) -> int:
        """Bytes of the input."""


Item = TypeVar("Item", bound=Sized)
Result = TypeVar("Result")


def in_order(
    inputs: Sequence[Item], work: Callable[[Sequence[Item]], list[Result]], *, threads: int
) -> Generator[tuple[Item, Result], None, None]:
    """Yield each input and what became of it, in the order of the inputs.

    Args:
        inputs: The samples of a shard.
        work: Makes what is to be written of each of a few; called on other threads.
        threads: How many, until this generator ends or is closed; with one, all is done in this thread when asked for.

    Raises:
        Exception: What ``work`` raises, when it is the input's turn; those behind it are given up.
    """
    if threads == 1:
        for run in _runs(inputs):
            yield from zip(run, work(run), strict=True)
        return
    executor = ThreadPoolExecutor(threads, thread_name_prefix="shardkit-pack")
    ahead: deque[tuple[list[Item], Future[list[Result]]]] = deque()
    waiting = 0
    try:
        for run in _runs(inputs):
            while len(ahead) >= threads and (len(ahead) >= threads * _AHEAD_RUNS or waiting >= _AHEAD_BYTES):
                done, future = ahead.popleft()
                waiting -= _size(done)
                yield from zip(done, future.result(), strict=True)
                del future  # and with it the samples, before more are waited for
            ahead.append((run, executor.submit(work, run)))
            waiting += _size(run)
        while ahead:
            done, future = ahead.popleft()
            yield from zip(done, future.result(), strict=True)
            del future
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _runs(inputs: Sequence[Item]) -> Iterator[list[Item]]:
    """Yield the inputs in runs of a few short ones, or one long one."""
    run: list[Item] = []
    for item in inputs:
        run.append(item)
        if len(run) == _RUN_INPUTS or _size(run) >= _RUN_BYTES:
            yield run
            run = []
    if run:
        yield run


def _size(run: Sequence[Sized]) -> int:
    return sum(item.size for item in run)
