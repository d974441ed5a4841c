"""Range reads by plain HTTP over kept-alive connections, at an eighth of an fsspec client's processor time.

s3fs takes 1.2 to 1.8 ms of processor time for a request: an event loop in a thread of its own, a signature, botocore's
hooks. Here s3fs signs a URL once an object (see ``signing``), and ranges of it are plain GETs (see ``exchange``).

fsspec's client stays the authority. Whatever this reader does not know how to take (unusual options, a proxy that
refuses, a redirect, 403, 404) it leaves to that client, whose answer, or error, counts; so credentials, regions and
messages are those of s3fs without being written twice. A host for which that helps again and again is left to it.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from shardkit.core.errors import StorageError
from shardkit.storage.answers import Part, WrongAnswerError, find_part
from shardkit.storage.connections import Target, UnsuitableError
from shardkit.storage.exchange import Answer, ask
from shardkit.storage.faults import TRANSIENT
from shardkit.storage.location import Location
from shardkit.storage.versions import Versions, wrong_size

MAX_DISCARDED = 64 << 20  # bytes before a range, of a server that ignores ranges: about a second of a fast network
_CHUNK = 1 << 20  # read at once of what is thrown away
_MAX_FAILURE = 64 << 10  # bytes read of the body of a refusal
_GIVE_UP_AFTER = 3  # refusals in a row that fsspec's client could do without
_TRANSIENT = frozenset(int(mark) for mark in TRANSIENT if mark.isdigit())
_LOG = logging.getLogger("shardkit")


class Targets(Protocol):
    """Where the bytes of locations are to be asked for."""

    def get(self, location: Location) -> Target:
        """Return where to send a GET; raise whatever, if fsspec's client has to do it."""

    def forget(self, location: Location) -> None:
        """Make a new one the next time."""


class RefusedError(Exception):
    """An HTTP status that is not the range; ``response`` is what botocore's errors carry, which ``faults`` reads."""

    def __init__(self, status: int, reason: str | None, body: bytes) -> None:
        text = body.decode("utf-8", "replace")
        code, message = (re.search(rf"<{tag}>([^<]*)</{tag}>", text) for tag in ("Code", "Message"))
        error = {"Code": code[1] if code else str(status), "Message": message[1] if message else reason or ""}
        super().__init__(f"{error['Code']} {error['Message']}")
        self.response = {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}


class ConnectError(OSError):
    """No connection came about, in asyncio's words, which are those of fsspec's clients."""


class DirectReader:
    """Reads ranges of a client's locations; thread-safe, and made anew after a fork with its client."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._versions = Versions()
        self._refusals: Counter[str] = Counter()  # host or bucket -> in a row
        self._warned: set[str] = set()

    def read(self, location: Location, start: int, stop: int, expected_size: int | None) -> bytes | None:
        """Return the bytes [start, stop), fewer at the end of the object, None: ask fsspec's client.

        Raises:
            CorruptDataError: The object's size is not ``expected_size``, or it was replaced since it was first read.
            StorageError: The server ignores ranges, and too many bytes come before this one.
            Exception: What ``faults`` judges.
        """
        if self._refusals and self._refusals[host_of(location)] >= _GIVE_UP_AFTER:
            return None
        try:
            data = self._read(location, start, stop, expected_size)
        except UnsuitableError:
            data = None
        if data is None:
            self._targets.forget(location)
        elif self._refusals and self._refusals[host_of(location)]:
            self._refusals[host_of(location)] = 0
        return data

    def refused(self, location: Location) -> None:
        """Note that fsspec's client could read what this one left to it."""
        host = host_of(location)
        self._refusals[host] += 1
        if self._refusals[host] == _GIVE_UP_AFTER:
            _LOG.info("%s: ranges are read through fsspec's client from now on, plain requests were refused", host)

    def forget(self, location: Location) -> None:
        """Take no notice of what was known of an object, because this process has written or removed it."""
        self._versions.forget(location)

    def _read(self, location: Location, start: int, stop: int, expected_size: int | None) -> bytes | None:
        try:
            target = self._targets.get(location)
        except Exception as err:  # of s3fs, botocore, urllib3; their own client shall say what is wrong
            raise UnsuitableError from err
        with _translated(target):
            response = ask(target, start, stop)
            try:
                return self._take(location, response, start, stop, expected_size)
            finally:
                _leave(response)

    def _take(
        self, location: Location, response: Answer, start: int, stop: int, expected_size: int | None
    ) -> bytes | None:
        headers = response.headers
        if headers.get("content-encoding", "identity") not in ("", "identity"):
            return None
        part = find_part(response.status, headers.get("content-range"), _length(headers), start, stop)
        if part is None:
            if response.status in _TRANSIENT:
                raise RefusedError(response.status, response.reason, response.read(_MAX_FAILURE))
            return None
        if expected_size is not None and part.total is not None and part.total != expected_size:
            raise wrong_size(location, part.total, expected_size)
        if part.take == 0:
            return b""
        if expected_size is not None:
            self._versions.check(location, expected_size, headers)
        if part.whole:
            self._accept_whole(location, part)
        return _body(response, part, start, stop)

    def _accept_whole(self, location: Location, part: Part) -> None:
        host = host_of(location)
        if part.skip > MAX_DISCARDED:
            raise StorageError(
                f"{location}: the server ignores ranges and would send {part.skip:,} bytes before the ones asked for, "
                f"more than {MAX_DISCARDED:,}; use a server that honours Range, or copy the dataset to local storage"
            )
        if host not in self._warned:
            self._warned.add(host)
            _LOG.warning(
                "%s: the server ignores ranges, so files are fetched from their beginning; that is slow: use a server "
                "that honours Range, or copy the dataset to local storage",
                location,
            )


def host_of(location: Location) -> str:
    """Return the host of an HTTP location, the bucket of one in an object store."""
    return location.path.partition("/")[0].rpartition("@")[2]


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else None


def _body(response: Answer, part: Part, start: int, stop: int) -> bytes:
    skip = part.skip
    while skip:
        passed = len(response.read(min(skip, _CHUNK)))
        if not passed:
            return b""  # the object ends before the range
        skip -= passed
    # One more than wanted, where nothing has said how much there is: too much must not pass for the range.
    data = response.read(part.take if part.exact or part.whole else part.take + 1)
    if len(data) > part.take or (part.exact and len(data) < part.take):
        found = "more than those" if len(data) > part.take else f"{len(data):,} bytes"
        raise WrongAnswerError(f"asked for bytes {start:,} to {stop:,}, was sent {found}")
    return data


def _leave(response: Answer) -> None:
    """Give the connection back: open if all of the answer was read, else closed."""
    if response.length_remaining != 0:
        response.close()
    response.release_conn()


@contextmanager
def _translated(target: Target) -> Iterator[None]:
    """Let pass what ``faults`` knows by its name; the connection errors of urllib3 are all each other's subclasses."""
    try:
        yield
    except TimeoutError as err:
        raise ReadTimeoutError(target.pool, "", "no bytes came in time") from err
    except NameResolutionError:
        raise
    except NewConnectionError:
        raise ConnectError(f"Connect call failed {(target.pool.host, target.pool.port)}") from None
    except (ConnectTimeoutError, ReadTimeoutError, ProtocolError, SSLError):
        raise
    except HTTPError as err:
        raise UnsuitableError from err
