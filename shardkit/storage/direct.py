"""Range reads by plain HTTP over kept-alive connections, at an eighth of an fsspec client's processor time.

s3fs takes 1.2 to 1.8 ms of processor time for a request: an event loop in a thread of its own, a signature, botocore's
hooks. Here s3fs signs a URL once an object (see ``signing``), and ranges of it are plain GETs (see ``exchange``).

fsspec's client stays the authority. Whatever this reader does not know how to take (unusual options, a proxy that
refuses, a redirect, 403, 404) it leaves to that client, whose answer, or error, counts; so credentials, regions and
messages are those of s3fs without being written twice. A host for which that helps again and again is left to it.
"""

import hashlib
import logging
import re
import time
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

from shardkit.core.errors import CorruptDataError, StorageError
from shardkit.storage.answers import Part, WrongAnswerError, find_part
from shardkit.storage.connections import Target, UnsuitableError
from shardkit.storage.exchange import Answer, ask
from shardkit.storage.faults import TRANSIENT
from shardkit.storage.location import HTTP, Location
from shardkit.storage.transfer import WHOLE, Transfer
from shardkit.storage.versions import Versions, version_of, wrong_size

MAX_DISCARDED = 64 << 20  # bytes before a range, of a server that ignores ranges: about a second of a fast network
_CHUNK = 1 << 20  # read at once of what is thrown away
_MAX_FAILURE = 64 << 10  # bytes read of the body of a refusal
_GIVE_UP_AFTER = 3  # refusals in a row that fsspec's client could do without
_GIVE_UP_FOR_S = 600.0
_REFUSED = frozenset({400, 401, 403})  # what a signed URL that has ended is answered with
_MD5 = re.compile(r"[0-9a-f]{32}")
_TRANSIENT = frozenset(int(mark) for mark in TRANSIENT if mark.isdigit())
_LOG = logging.getLogger("shardkit")


class Targets(Protocol):
    """Where the bytes of locations are to be asked for."""

    def get(self, location: Location) -> Target:
        """Return where to send a GET; raise whatever, if fsspec's client has to do it."""

    def forget(self, location: Location) -> None:
        """Make a new one the next time."""

    def renewed(self, location: Location) -> Target | None:
        """Return where to ask after a refusal; None: that of before is new, or does not get old."""


class RefusedError(Exception):
    """An HTTP status that is not the range; ``response`` is what botocore's errors carry, which ``faults`` reads."""

    def __init__(self, status: int, reason: str | None, body: bytes, headers: Mapping[str, str]) -> None:
        text = body.decode("utf-8", "replace")
        code, message = (re.search(rf"<{tag}>([^<]*)</{tag}>", text) for tag in ("Code", "Message"))
        error = {"Code": code[1] if code else str(status), "Message": message[1] if message else reason or ""}
        super().__init__(f"{error['Code']} {error['Message']}")
        known = {"HTTPStatusCode": status, "HTTPHeaders": headers}
        self.response = {"Error": error, "ResponseMetadata": known}


class ConnectError(OSError):
    """No connection came about, in asyncio's words, which are those of fsspec's clients."""


class DirectReader:
    """Reads ranges of a client's locations; thread-safe, and made anew after a fork with its client.

    Args:
        targets: Where to ask.
        versions: Of objects that were read before, by a reader whose credentials have ended.
    """

    def __init__(self, targets: Targets, versions: Versions | None = None) -> None:
        self.versions = Versions() if versions is None else versions
        self._targets = targets
        self._refusals: Counter[str] = Counter()  # host or bucket -> in a row
        self._given_up_at: dict[str, float] = {}
        self._warned: set[str] = set()
        self._other_etags: set[str] = set()  # hosts or buckets whose ETags look like an MD5 and are none

    def read(self, transfer: Transfer) -> bytes | None:
        """Return the bytes of a transfer, fewer at the end of the object, None: ask fsspec's client.

        What arrives before a failure is kept in the transfer, and the next call asks for the rest.

        Raises:
            CorruptDataError: The object's size is not the expected one, or it was replaced since it was first read.
            StorageError: The server ignores ranges, and too many bytes come before this one.
            Exception: What ``faults`` judges.
        """
        location = transfer.location
        if self._refusals and self._is_given_up(host_of(location)):
            return None
        try:
            data = self._read(transfer)
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
            self._given_up_at[host] = time.monotonic()
            _LOG.info("%s: ranges are read through fsspec's client for now, plain requests were refused", host)

    def forget(self, location: Location) -> None:
        """Take no notice of what was known of an object, because this process has written or removed it."""
        self.versions.forget(location)

    def _is_given_up(self, host: str) -> bool:
        if self._refusals[host] < _GIVE_UP_AFTER:
            return False
        if time.monotonic() - self._given_up_at.get(host, 0.0) < _GIVE_UP_FOR_S:
            return True
        self._refusals[host] = 0
        return False

    def _read(self, transfer: Transfer) -> bytes | None:
        try:
            target = self._targets.get(transfer.location)
        except Exception as err:  # of s3fs, botocore, urllib3; their own client shall say what is wrong
            raise UnsuitableError from err
        with _translated(target):
            data, status = self._ask(target, transfer)
        if data is None and status in _REFUSED:
            try:
                renewed = self._targets.renewed(transfer.location)
            except Exception as err:  # as above
                raise UnsuitableError from err
            if renewed is not None:
                with _translated(renewed):
                    data, _ = self._ask(renewed, transfer)
        return data

    def _ask(self, target: Target, transfer: Transfer) -> tuple[bytes | None, int]:
        """Return the bytes, None if the answer is one that fsspec's client should get, and the answer's status."""
        # A weak ETag equals none by the rules of If-Match; what comes is compared here too.
        strong = transfer.version if transfer.version[:1] == '"' else ""
        response, cancel = ask(target, transfer.start + transfer.arrived, transfer.stop, strong), transfer.cancel
        try:
            if cancel is not None:
                cancel.watch(response)
            return self._take(transfer, response), response.status
        finally:
            if cancel is not None:
                cancel.watch(None)
            _leave(response)

    def _take(self, transfer: Transfer, response: Answer) -> bytes | None:
        headers, expected_size = response.headers, transfer.expected_size
        if headers.get("content-encoding", "identity") not in ("", "identity"):
            return None
        if response.status == 412:
            transfer.drop()
            raise WrongAnswerError("the object was replaced while it was read")
        part = find_part(response.status, headers.get("content-range"), _length(headers), transfer.next, transfer.stop)
        if part is None:
            if response.status in _TRANSIENT:
                told: list[bytes] = []
                response.receive(_MAX_FAILURE, told)
                raise RefusedError(response.status, response.reason, b"".join(told), headers)
            return None
        if expected_size is not None and part.total is not None and part.total != expected_size:
            raise transfer.doubt(wrong_size(transfer.location, part.total, expected_size))
        if part.take == 0:
            return transfer.with_rest([])
        if expected_size is not None:
            try:
                self.versions.check(transfer.location, expected_size, headers)
            except CorruptDataError as err:
                raise transfer.doubt(err) from None
        if part.whole and transfer.stop != WHOLE:
            self._accept_whole(transfer.location, part)
        data = _body(response, part, transfer)
        return data if transfer.stop != WHOLE else self._checked(data, transfer, headers)

    def _checked(self, data: bytes, transfer: Transfer, headers: Mapping[str, str]) -> bytes:
        """Return a whole object that fits its ETag, where that is its MD5, as of most objects of S3.

        Where it does not, but is the same when it is read again, the store makes its ETags of something else.
        """
        found = _MD5.fullmatch(headers.get("etag", "").strip('"'))
        host = host_of(transfer.location)
        if found is None or transfer.location.protocol in HTTP or host in self._other_etags:
            return data
        digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if digest == found[0]:
            return data
        if not transfer.believes(digest):
            transfer.drop()
            raise WrongAnswerError(f"{len(data):,} bytes do not match their ETag (MD5)")
        self._other_etags.add(host)
        return data

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


def _body(response: Answer, part: Part, transfer: Transfer) -> bytes:
    if transfer.arrived and version_of(response.headers) != transfer.version:
        transfer.drop()
        raise WrongAnswerError("what follows is of another version than what came before")
    skip = part.skip
    while skip:
        passed = response.receive(min(skip, _CHUNK), [])
        if not passed:
            _check_end(response, transfer.location, 0)
            return b""  # the object ends before the range
        skip -= passed
    parts: list[bytes] = []
    # One more than wanted, where nothing has said how much there is: too much must not pass for the range.
    wanted = part.take if part.exact or part.whole else part.take + 1
    try:
        received = response.receive(wanted, parts)
    except BaseException:
        if part.exact:
            transfer.keep(parts, version_of(response.headers))
        raise
    if received > part.take or (part.exact and received < part.take):
        found = "more than those" if received > part.take else f"{received:,} bytes"
        raise WrongAnswerError(f"asked for bytes {transfer.next:,} to {transfer.stop:,}, was sent {found}")
    if not part.exact and received < part.take:
        _check_end(response, transfer.location, received)
    return transfer.with_rest(parts)


def _check_end(response: Answer, location: Location, received: int) -> None:
    """Raise where the end of the connection was the end of a body, and may have come too early.

    A head that was cut off looks so too: what is left of it has no length, and nothing follows. Stores of objects
    always tell a length or send chunks; small web servers may not.
    """
    chunked = "chunked" in response.headers.get("transfer-encoding", "").lower()
    if not chunked and _length(response.headers) is None and (received == 0 or location.protocol not in HTTP):
        raise WrongAnswerError("an answer that tells no length was cut off")


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
