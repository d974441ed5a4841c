"""Open files for ranged reads: a bounded number of descriptors, shared by all threads of a process."""

import os
from collections import OrderedDict
from threading import Lock


class OpenFile:
    """One descriptor, what its file was when it was opened, and who uses it: for ``Descriptors`` to count."""

    __slots__ = ("descriptor", "kept", "size", "users", "version")

    def __init__(self, descriptor: int, found: os.stat_result) -> None:
        self.descriptor = descriptor
        self.size = found.st_size
        self.version = _version(found)
        self.users = 0
        self.kept = True


class Descriptors:
    """Keeps the ``capacity`` most recently used files open.

    A descriptor in use is never closed: the number may have been given to another file by the time of the read.
    So up to ``capacity`` plus the number of reading threads are open at any time.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = Lock()
        self._open: OrderedDict[str, OpenFile] = OrderedDict()  # path -> file, least recently used first
        self._in_use: set[OpenFile] = set()

    def borrow(self, path: str, *, current: bool = False) -> OpenFile:
        """Return the open file of ``path``, to be read only; whoever borrows it gives it back.

        Args:
            path: The file.
            current: Whether it must be what is there now; else it may be what was there when it was opened.
        """
        version = _version(os.stat(path)) if current else None  # noqa: PTH116  (a path as text, at a tenth of the cost)
        with self._lock:
            if version is not None and path in self._open and self._open[path].version != version:
                self._retire(self._open.pop(path))
            file = self._open.get(path)
            if file is not None:
                self._open.move_to_end(path)
                self._use(file)
                return file
        # Opened outside the lock: on a network file system this may take long, and others need not wait.
        return self._keep(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def give_back(self, file: OpenFile) -> None:
        """Note that a borrowed file is no longer used."""
        with self._lock:
            file.users -= 1
            if file.users == 0:
                self._in_use.discard(file)
                if not file.kept:
                    os.close(file.descriptor)

    def forget(self, path: str) -> None:
        """Drop ``path``, because the file there was replaced or removed."""
        with self._lock:
            file = self._open.pop(path, None)
            if file is not None:
                self._retire(file)

    def reset_in_child(self) -> None:
        """Start afresh after a fork: close what was inherited.

        Without the lock: a thread that held it at the fork does not exist in this process.
        """
        for file in {*self._open.values(), *self._in_use}:
            os.close(file.descriptor)
        self._lock = Lock()
        self._open = OrderedDict()
        self._in_use = set()

    def _keep(self, path: str, descriptor: int) -> OpenFile:
        found = os.fstat(descriptor)
        with self._lock:
            file = self._open.get(path)
            if file is None:
                file = self._open[path] = OpenFile(descriptor, found)
            else:  # another thread opened the same file meanwhile
                os.close(descriptor)
            self._use(file)
            while len(self._open) > self._capacity:
                self._retire(self._open.popitem(last=False)[1])
            return file

    def _use(self, file: OpenFile) -> None:
        file.users += 1
        self._in_use.add(file)

    def _retire(self, file: OpenFile) -> None:
        file.kept = False
        if file.users == 0:
            os.close(file.descriptor)


def _version(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
