"""What has arrived of a range while it is asked for, by one request or by several.

asked    |--------------------------------|      of version "a"
arrived  |=============|  cut off
asked                  |------------------|      If-Match: "a"
arrived                |==================|      of version "a", or what arrived before is thrown away
"""

from threading import Lock
from typing import Protocol

from shardkit.core.errors import CorruptDataError
from shardkit.storage.answers import WrongAnswerError
from shardkit.storage.location import Location

WHOLE = 1 << 40  # the end of a range that is a whole object, whatever its size


class Abortable(Protocol):
    """An answer under way."""

    def abort(self) -> None:
        """Have whoever reads it fail at once."""


class Cancel:
    """Ends a transfer from another thread."""

    def __init__(self) -> None:
        self._lock = Lock()  # so that a connection which another read has by now is left alone
        self._under_way: Abortable | None = None
        self.is_set = False

    def watch(self, answer: Abortable | None) -> None:
        """Note the answer under way; None: there is none any more."""
        with self._lock:
            self._under_way = answer
            if self.is_set and answer is not None:
                answer.abort()

    def set(self) -> None:
        """End it: its bytes are not wanted any more."""
        with self._lock:
            self.is_set = True
            if self._under_way is not None:
                self._under_way.abort()


class Transfer:
    """One read of the bytes [start, stop) of a location, for one thread.

    Args:
        location: The file.
        start: First byte.
        stop: The byte after the last, ``WHOLE`` for all of it.
        expected_size: Of the whole file, by its index; None: nobody knows.
        cancel: What may end it; None: nothing does.
    """

    __slots__ = ("_doubted", "_parts", "arrived", "cancel", "expected_size", "location", "start", "stop", "version")

    def __init__(
        self, location: Location, start: int, stop: int, expected_size: int | None, cancel: Cancel | None = None
    ) -> None:
        self.location = location
        self.start = start
        self.stop = stop
        self.expected_size = expected_size
        self.arrived = 0  # bytes that are kept
        self.version = ""  # of what is kept, as the server named it
        self.cancel = cancel
        self._parts: list[bytes] = []
        self._doubted: object = None

    @property
    def next(self) -> int:
        """The first byte that is still to be asked for."""
        return self.start + self.arrived

    def keep(self, parts: list[bytes], version: str) -> None:
        """Keep what arrived before a failure; without a version nothing is, since it could be of another one."""
        if version:
            self._parts += parts
            self.arrived += sum(map(len, parts))
            self.version = version

    def drop(self) -> None:
        """Begin anew."""
        self._parts, self.arrived, self.version = [], 0, ""

    def with_rest(self, parts: list[bytes]) -> bytes:
        """Return all bytes, ``parts`` being those that were missing."""
        if not self._parts and len(parts) == 1:
            return parts[0]
        return b"".join([*self._parts, *parts])

    def believes(self, said: object) -> bool:
        """Return whether something odd that an answer says was said by the one before too: then it is so."""
        known, self._doubted = self._doubted == said, said
        return known

    def doubt(self, err: CorruptDataError) -> Exception:
        """Return what to raise for an answer that speaks of another object: the error, once two answers agree."""
        return err if self.believes(str(err)) else WrongAnswerError(str(err))
