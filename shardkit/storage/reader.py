"""A stored file as a Python file object, for libraries that want one: pyarrow, tarfile, zipfile."""

import io
import os
from collections.abc import Callable

Fetch = Callable[[int, int], bytes]


class RangeReader(io.RawIOBase):
    """A read-only, seekable raw file over a function that returns the bytes [start, stop).

    Wrap it in ``io.BufferedReader``, whose buffer is then the read-ahead.
    """

    def __init__(self, name: str, size: int, fetch: Fetch) -> None:
        super().__init__()
        self.name = name  # what file objects call themselves in others' messages
        self._size = size
        self._fetch = fetch
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a byte, which may lie past the end; reading there returns nothing."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"{self.name}: can't seek to byte {base + offset:,}")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # Buffer needs Python 3.12
        """Read into a buffer and return how many bytes that were."""
        view = memoryview(buffer).cast("B")
        data = self._next(len(view))
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """Return the rest by one request; the inherited method asks for 8 KiB at a time."""
        return self._next(max(0, self._size - self._position))

    def _next(self, num_bytes: int) -> bytes:
        start = min(self._position, self._size)
        data = self._fetch(start, min(start + num_bytes, self._size))
        self._position += len(data)
        return data
