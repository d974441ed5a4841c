"""A GET of a range over connections that urllib3 opened: what follows the first request of each is done here.

Opening (names, TLS, proxies, timeouts) and the first request of a connection are urllib3's. From then on, what it and
``http.client`` do around the system calls takes 300 µs of processor time a request: a long signed URL is taken apart
and put together again, all headers pass an e-mail parser. Here the request is a few bytes that were made once an
object, and of the answer's head the few lines that matter are looked at.

Only the usual answer is read here: a range, or a whole object, of a length that is told. Any other head is
read by ``http.client`` and urllib3, from its first byte: refusals, chunks, folded or contradictory lines, old
versions of HTTP. So there is one judge of what is odd, and it is theirs.
"""

import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPResponse as StandardResponse
from http.client import IncompleteRead
from io import BufferedReader, RawIOBase
from time import monotonic
from typing import Any, Protocol

from urllib3 import HTTPConnectionPool, HTTPHeaderDict, HTTPResponse
from urllib3.connection import HTTPConnection

from shardkit.storage.connections import Target

_FIRST = 16 * 1024  # bytes of the first read; a head is about 1 KB, and one that does not fit is no usual one
_MOST = 1 << 20  # bytes of the others; memory for so many is there while some of them are received
_STATUS = re.compile(r"HTTP/1\.1 (20[06])(?: ([^\r\n]*))?(?=\r\n|\Z)")
_LINES = re.compile(r"(?:\r\n[!-9;-~]+:[^\r\n]*)*")  # none is folded, ends in another way, or has a name with spaces
_WANTED = re.compile(
    r"\n(content-length|content-range|content-encoding|transfer-encoding|connection|etag|last-modified):"
    r"([^\r]*)",
    re.ASCII | re.IGNORECASE,
)
MIN_BYTES_PER_S = 20_000  # a connection that carries less, after some grace, is given up; what arrived is kept
GRACE_S = 20.0
_WHOLE_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_AS_IT_IS: dict[str, Any] = {"preload_content": False, "decode_content": False}
_ONCE: dict[str, Any] = _AS_IT_IS | {
    **{"redirect": False, "retries": False},
    "assert_same_host": False,  # a proxy is asked for the URLs of others
}


class Answer(Protocol):
    """What urllib3's responses are, as far as it is used here."""

    status: int
    reason: str | None

    @property
    def length_remaining(self) -> int | None:
        """Bytes of the body that are still to be read; None: not known."""

    @property
    def headers(self) -> Mapping[str, str]:
        """By names in lower case."""

    def receive(self, amt: int, parts: list[bytes]) -> int:
        """Add the next bytes of the body to ``parts`` as they come and return how many; fewer only at its end."""

    def abort(self) -> None:
        """Have whoever waits for its bytes fail at once; from any thread."""

    def close(self) -> None:
        """Close the connection."""

    def release_conn(self) -> None:
        """Give the connection back, open or closed."""


def ask(target: Target, start: int, stop: int, version: str = "") -> Answer:
    """Ask for the bytes [start, stop) and return the answer, whose body is yet to be read.

    Args:
        target: Where.
        start: First byte.
        stop: The byte after the last.
        version: An ETag; the server shall refuse (412) if the object has another one by now.

    Raises:
        urllib3.exceptions.HTTPError, http.client.HTTPException, OSError: There is none.
    """
    connection = _idle(target.pool)
    if connection is None:
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        if version:
            headers["If-Match"] = version
        return OtherAnswer(target.pool.urlopen("GET", target.path, headers=headers, **_ONCE))
    head = target.head if not version else b"%bIf-Match: %b\r\n" % (target.head, version.encode("latin-1"))
    try:
        connection.sock.sendall(b"%bRange: bytes=%d-%d\r\n\r\n" % (head, start, stop - 1))
        received = connection.sock.recv(_FIRST)
        head, end, rest = received.partition(b"\r\n\r\n")
        found = parse_head(head.decode("latin-1")) if end else None
        if found is None:
            return _other_answer(target.pool, connection, received)
        return UsualAnswer(target.pool, connection, *found, rest)
    except BaseException:
        connection.close()
        _give_back(target.pool, connection)
        raise


class UsualAnswer:
    """An answer whose head was read here; ``rest`` is what came with it of the body."""

    def __init__(
        self,
        pool: HTTPConnectionPool,
        connection: HTTPConnection,
        status: int,
        reason: str | None,
        headers: dict[str, str],
        rest: bytes,
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.length_remaining = int(headers["content-length"])
        self._pool = pool
        self._connection = connection
        self._rest = rest

    def receive(self, amt: int, parts: list[bytes]) -> int:
        """Add the next bytes of the body to ``parts`` as they come and return how many; fewer only at its end.

        Raises:
            IncompleteRead: The connection was closed before it.
            OSError: It broke, or nothing came in time.
        """
        wanted = missing = min(amt, self.length_remaining)
        if self._rest:
            parts.append(self._rest[:wanted])
            self._rest = self._rest[wanted:]
            missing -= len(parts[-1])
        if not missing:
            self.length_remaining -= wanted
            return wanted
        deadline = monotonic() + GRACE_S + missing / MIN_BYTES_PER_S
        receive = self._connection.sock.recv
        while True:
            part = receive(min(missing, _MOST))
            if not part:
                raise IncompleteRead(b"", missing)
            parts.append(part)
            missing -= len(part)
            if not missing:
                break
            if monotonic() > deadline:
                raise _too_slow()
        self.length_remaining -= wanted
        return wanted

    def abort(self) -> None:
        """Have whoever waits for its bytes fail at once."""
        _shut(self._connection)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def release_conn(self) -> None:
        """Give the connection back, open or closed."""
        _give_back(self._pool, self._connection)


class OtherAnswer:
    """An answer that http.client and urllib3 read."""

    def __init__(self, response: Any) -> None:
        self.status: int = response.status
        self.reason: str | None = response.reason
        self.headers: Mapping[str, str] = response.headers
        self._response = response

    @property
    def length_remaining(self) -> int | None:
        """Bytes of the body that are still to be read; None: not known."""
        remaining: int | None = self._response.length_remaining
        return remaining

    def receive(self, amt: int, parts: list[bytes]) -> int:
        """Do what ``UsualAnswer.receive`` does."""
        response, received = self._response, 0
        some = getattr(response, "read1", None)  # by one system call; urllib3 has it since 2.3
        deadline = monotonic() + GRACE_S + min(amt, self.length_remaining or amt) / MIN_BYTES_PER_S
        while received < amt:
            part = response.read(min(amt - received, _FIRST)) if some is None else some(min(amt - received, _MOST))
            if not part:
                break
            parts.append(part)
            received += len(part)
            if monotonic() > deadline:
                raise _too_slow()
        return received

    def abort(self) -> None:
        """Have whoever waits for its bytes fail at once."""
        connection = self._response.connection
        if connection is not None:
            _shut(connection)

    def close(self) -> None:
        """Close the connection."""
        self._response.close()

    def release_conn(self) -> None:
        """Give the connection back, open or closed."""
        self._response.release_conn()


def parse_head(text: str) -> tuple[int, str | None, dict[str, str]] | None:
    """Return status, reason and the headers that matter of an answer's head, without the empty line that ends it.

    None: http.client must read it. It is no 200 or 206, its body's length is not told by a Content-Length alone, the
    connection ends with it, or a line that matters is there twice or is none that HTTP/1.1 has today.
    """
    status = _STATUS.match(text)
    if status is None or not _LINES.fullmatch(text, status.end()):
        return None
    found = [(name.lower(), value.strip(" \t")) for name, value in _WANTED.findall(text)]
    headers = dict(found)
    if len(headers) < len(found):
        return None
    if not _WHOLE_NUMBER.fullmatch(headers.get("content-length", "")):
        return None
    if "transfer-encoding" in headers or headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    return int(status[1]), status[2], headers


class _Received(RawIOBase):
    """Where ``http.client`` expects a socket: gives it what was received of an answer, then what follows."""

    def __init__(self, received: bytes, socket: Any) -> None:
        super().__init__()
        self._received = received
        self._following = socket.makefile("rb", buffering=0)  # keeps the socket open when its connection is closed

    def makefile(self, _mode: str) -> BufferedReader:
        return BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]  # Buffer needs Python 3.12
        if not self._received:
            count: int = self._following.readinto(buffer)
            return count
        part, self._received = self._received[: len(buffer)], self._received[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        self._following.close()
        super().close()


def _other_answer(pool: HTTPConnectionPool, connection: HTTPConnection, received: bytes) -> Answer:
    """Return the answer that begins with ``received``, as urllib3 makes it of http.client's."""
    source: Any = _Received(received, connection.sock)
    raw: Any = StandardResponse(source, method="GET")
    try:
        raw.begin()
    except BaseException:
        raw.close()
        raise
    if raw.will_close:
        connection.close()  # as http.client does: what is still to be read stays readable
    response = HTTPResponse(
        raw,
        headers=HTTPHeaderDict(raw.headers.items()),
        status=raw.status,
        version=raw.version,
        reason=raw.reason,
        original_response=raw,
        pool=pool,
        connection=connection,
        request_method="GET",
        **_AS_IT_IS,
    )
    return OtherAnswer(response)


def _too_slow() -> TimeoutError:
    return TimeoutError(f"fewer than {MIN_BYTES_PER_S:,} bytes a second")


def _shut(connection: HTTPConnection) -> None:
    """End a connection under whoever reads from it; it stays theirs to close."""
    with suppress(OSError, AttributeError):  # it is closed by now
        connection.sock.shutdown(socket.SHUT_RDWR)


def _idle(pool: HTTPConnectionPool) -> HTTPConnection | None:
    """Return an open connection, taken out of the pool, after waiting for a place in it; None: one is to be opened."""
    places = pool.pool
    if places is None:
        return None
    connection: HTTPConnection | None = places.get()
    if connection is not None and connection.is_connected:
        return connection
    if connection is not None:
        connection.close()  # the server did; urllib3 opens it again
    _give_back(pool, connection)
    return None


def _give_back(pool: HTTPConnectionPool, connection: HTTPConnection | None) -> None:
    places = pool.pool
    if places is not None:
        places.put(connection, block=False)
    elif connection is not None:
        connection.close()
