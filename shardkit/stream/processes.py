"""A stream read by processes of its own: each reads every n-th batch, and they are taken in turn.

    batch     0   1   2   3   4   5   6
    process   0   1   0   1   0   1   0        two processes

A process is asked for each batch, and answers in order with a batch, an error, or None at the end, and with what it
counted since. With the question it learns which memory is its own again. The answer holds all but the large arrays,
which lie in memory that both see (``sharedmemory``). When a batch is late, it is asked over a line of its own what it
is doing (``inspection``).
"""

import gc
import math
import multiprocessing
import os
import pickle
import signal
import socket
import threading
import time
import traceback
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from itertools import cycle
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

from shardkit.core.errors import ShardkitError
from shardkit.stream.batch import Batch
from shardkit.stream.inspection import FarEnd, Line
from shardkit.stream.ledger import News
from shardkit.stream.sharedmemory import Borrower, Lender
from shardkit.stream.stream import Stream
from shardkit.stream.watchdog import Sight, Watch
from shardkit.stream.workers import check_process

_ASKED = 2  # batches that each process is to have ready, beside those that its stream reads ahead
_LOOK_S = 1.0  # between looks whether the process on the other side lives: others may hold copies of its descriptors
_LEAVE_S = 3.0  # for a process to end by itself; one that waits for a network is killed


def read_in_processes(
    stream: Stream, position: int, *, num_processes: int, end: int | None = None, watch: Watch | None = None
) -> Generator[Batch, None, None]:
    """Yield what ``stream.batches(position, end=end, watch=watch)`` does, read by processes.

    They start with the first ``next``, by multiprocessing's default method, and end with the generator, or with the
    process that has it. A batch may be kept for as long as one likes.

    Raises:
        ShardkitError: A process died. What is wrong with a sample or the storage is raised as it was there, in its
            place in the sequence, with its traceback as a note.
    """
    end, step = stream.end_of_iteration(position) if end is None else end, stream.global_batch_size
    watch = stream.new_watch() if watch is None else watch
    process = os.getpid()
    readers: list[_Reader] = []
    try:
        for number in range(num_processes):
            share = (position + number * step, num_processes, end)
            readers.append(_Reader(stream, share, number))
        for reader in readers:  # when all are started: none shall inherit the memory of another
            reader.begin()
        for reader in cycle(readers):
            check_process(process)
            began, watch.look = time.perf_counter(), reader.look
            watch.begin()
            batch, news = reader.take(watch)
            watch.end()
            stream.ledger.add(news)
            if batch is None:
                return
            stream.ledger.counters.delivered([name for name in batch.sources if name], time.perf_counter() - began)
            yield batch
    finally:
        if os.getpid() != process:
            readers.clear()  # in a forked copy they are another's
        for reader in readers:
            reader.stop()
        limit = time.monotonic() + _LEAVE_S
        for reader in readers:
            reader.join(limit)


class _Reader:
    """A process that reads, as its consumer sees it.

    Args:
        stream: What it reads.
        share: Where its first batch begins, which of those from there on are its own, where no batch begins any more:
            the arguments of ``Stream.batches``.
        number: Its place among the processes.
    """

    def __init__(self, stream: Stream, share: tuple[int, int, int | None], number: int) -> None:
        self._name = f"reading process {number}"
        self._connection, theirs = multiprocessing.Pipe()
        self._line = Line()
        self._memory: Borrower | None = None
        with theirs, self._line.other as other:
            arguments = (theirs, other, stream, share, self._name)
            self._process = multiprocessing.Process(
                target=_serve, args=arguments, name=f"shardkit-{number}", daemon=True
            )
            self._process.start()

    def begin(self) -> None:
        """Send what it needs and ask for the first batches."""
        self._memory = Borrower()
        try:
            _send_file(self._connection, self._memory.file)
            for _ in range(_ASKED):
                self._connection.send([])
        except OSError as err:
            raise self._death() from err

    def take(self, watch: Watch) -> tuple[Batch | None, News]:
        """Wait for its next batch, and what was counted since the last; None: there are no more."""
        assert self._memory is not None  # noqa: S101  for the type checker: it was begun
        try:
            watch.wait(self._has_answered)
            data, loans, news = self._connection.recv()
            item = self._memory.loads(data, loans)
            self._connection.send(self._memory.returned())
        except (EOFError, OSError) as err:
            raise self._death() from err
        if isinstance(item, Exception):
            raise item
        batch: Batch | None = item
        return batch, news

    def look(self) -> Sight:
        """Return what it is doing, or why it can't say."""
        return self._line.ask(self._name, self._process.pid)

    def stop(self) -> None:
        """Tell it to end."""
        self._line.close()
        with socket.fromfd(self._connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as channel, suppress(OSError):
            channel.shutdown(socket.SHUT_RDWR)  # closing is not enough: those forked later have copies of this end
        self._connection.close()

    def join(self, limit: float) -> None:
        """Wait until it has ended; at a time of ``time.monotonic`` kill it."""
        self._process.join(max(0.0, limit - time.monotonic()))
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()
        if self._memory is not None:
            self._memory.close()
            self._memory = None  # batches that are kept hold it; an error's traceback, which holds this, need not

    def _has_answered(self, timeout_s: float | None) -> bool:
        limit = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while True:
            alive = self._process.is_alive()  # asked first: it may answer and end between the two
            if self._connection.poll(max(0.0, min(_LOOK_S, limit - time.monotonic()))):
                return True
            if not alive:
                raise EOFError
            if time.monotonic() >= limit:
                return False

    def _death(self) -> ShardkitError:
        self._process.join(_LEAVE_S)
        code = self._process.exitcode
        what = f"{self._name} (pid {self._process.pid})"
        if code is None:
            return ShardkitError(f"{what} closed its connection; see what it printed")
        if code >= 0:
            return ShardkitError(f"{what} ended by itself, with exit code {code}; see what it printed")
        hint = "the system does that when memory is short: give fewer workers, or smaller batches"
        name = signal.Signals(-code).name
        return ShardkitError(f"{what} was killed by {name}" + (f"; {hint}" if name == "SIGKILL" else ""))


def _serve(connection: Connection, line: FarEnd, stream: Stream, share: tuple[int, int, int | None], name: str) -> None:
    """Answer a consumer's questions until it hangs up."""
    gc.freeze()  # what was forked along, perhaps tensors on a GPU, is the consumer's: never to be collected here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the consumer, which ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the consumer's own handler may write a checkpoint
    threading.Thread(target=_end_with, args=(os.getppid(),), name="shardkit-lifeline", daemon=True).start()
    line.answer_in_thread(stream.look)
    with suppress(EOFError, OSError):  # of the connection; those of reading are answers
        lender = _received_lender(connection)
        position, step, end = share
        silent, mark = Watch(None), stream.ledger.mark()
        with closing(stream.batches(position, step=step, end=end, empty=lender.empty, watch=silent)) as batches:
            while True:
                lender.take_back(connection.recv())
                item = _next(batches, name)
                news, mark = stream.ledger.since(mark), stream.ledger.mark()
                connection.send((*lender.dumps(item), news))
                del item


def _next(batches: Iterator[Batch], name: str) -> Batch | Exception | None:
    try:
        return next(batches, None)
    except Exception as err:  # whatever it is, it is raised where the batches are taken
        return _sendable(err, f"raised in {name} (pid {os.getpid()}):\n{traceback.format_exc()}")


def _sendable(error: Exception, note: str) -> Exception:
    """Return an error with a note, or where it can't be pickled, one that says the same."""
    error.add_note(note)
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  our own
    except Exception:  # those of others' classes can be anything
        error = RuntimeError(f"{type(error).__name__}: {error}")
        error.add_note(note)
    return error


def _end_with(parent: int) -> None:
    """End this process when its parent has gone, which a closed connection does not tell if others have copies."""
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)


def _send_file(connection: Any, file: int | None) -> None:
    """Send a descriptor, if there is one, and close it."""
    try:
        connection.send(file is not None)
        if file is not None:
            reduction.send_handle(connection, file, None)
    finally:
        if file is not None:
            os.close(file)


def _received_lender(connection: Any) -> Lender:
    if not connection.recv():
        return Lender(None)
    file = reduction.recv_handle(connection)
    try:
        return Lender(file)
    finally:
        os.close(file)
