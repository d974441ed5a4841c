"""``ReadAhead``: an iterator that runs in a thread, a bounded number of items ahead of who takes them."""

import os
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

from shardkit.stream.watchdog import Watch
from shardkit.stream.workers import check_process

Item = TypeVar("Item")

_JOIN_S = 5.0  # a read that hangs on a network does not hold up who has no more use for it


class ReadAhead(Iterator[Item]):
    """Items made by a thread, in their order, and after them the exception that ended it, if one did.

    The thread starts with the first ``next``. An item is begun only once there is room for it, so no more than
    ``ahead`` of them exist that nobody has taken.

    Args:
        produce: Called in the thread; returns the generator of the items, which is closed there too.
        ahead: Items to have ready, at least 1.
        name: Of the thread.
        watch: Tells when an item takes too long.
    """

    def __init__(
        self, produce: Callable[[], Generator[Item, None, None]], *, ahead: int, name: str, watch: Watch | None = None
    ) -> None:
        self._produce = produce
        self._process = os.getpid()
        self._watch = Watch(None) if watch is None else watch
        self._ahead = ahead
        # Re-entrant, as a Condition's own lock is: the garbage collector may call close() while the lock is held.
        self._changed = threading.Condition()
        self._ready: deque[Item] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._closed = False
        self._taker: int | None = None
        # A daemon, or a program that ends in the middle of an iteration would wait for it before it could be closed.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def num_ready(self) -> int:
        """Items that nobody need wait for."""
        return len(self._ready)

    def __next__(self) -> Item:
        check_process(self._process)
        self._taker = threading.get_ident()
        with self._changed:
            if self._thread.ident is None and not self._closed:
                self._thread.start()
        self._watch.begin()
        self._watch.wait(self._has_come)
        self._watch.end()
        with self._changed:
            if self._ready:
                item = self._ready.popleft()
                self._changed.notify_all()
                return item
            error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopIteration

    def close(self) -> None:
        """Drop what is ready and end the thread. Closing again does nothing.

        Called where the items are taken, it returns when the thread has ended, or after some seconds. The garbage
        collector may call it in any thread, even one that ours waits for while it ends; there it only gives notice.
        """
        if os.getpid() != self._process:  # a forked copy, where the lock may be held by a thread that stayed behind
            return
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()
        if threading.get_ident() == self._taker and self._thread.ident is not None:
            self._thread.join(_JOIN_S)

    def _has_come(self, timeout_s: float | None) -> bool:
        """Return whether there is an item, or an end, within some seconds; None: wait for it."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._ready) or self._ended or self._closed, timeout_s)

    def _run(self) -> None:
        try:
            items = self._produce()
            try:
                while self._wait_for_room():
                    self._put(next(items))
            except StopIteration:
                pass
            finally:
                items.close()
        except BaseException as err:  # whatever it is, it is raised where the items are taken
            # Its frames would keep worker processes until the garbage collector comes, and then hold that up.
            traceback.clear_frames(err.__traceback__)
            self._error = err
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _wait_for_room(self) -> bool:
        """Return True once an item more may be made, False once nobody wants one."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._ready) < self._ahead or self._closed)
            return not self._closed

    def _put(self, item: Item) -> None:
        with self._changed:
            if not self._closed:
                self._ready.append(item)
                self._changed.notify_all()
