"""A proxy that does to the answers of a real HTTP server what networks, load balancers and stores do on bad days.

    client  <->  proxy at 127.0.0.1  <->  rclone serve s3
                   request n: one of ``kinds``, or none

Which request is struck, and how, follows from the seed and the request's number; which request has which number, from
the client's threads. A stretch of ``burst`` requests is struck alike, as by a store that is overloaded.

    unavailable, slow-down   503, the latter with Retry-After
    reset                    the connection is reset in place of an answer
    stall                    the answer stops half-way and stays silent for ``stall_s``
    truncated                the answer ends half-way
    cut-head                 the connection ends within the answer's head
    corrupted                bytes of the body are other ones
    offset, short, long      other bytes than those asked for, which head and length do not hide
    content-range            a Content-Range of another object
    whole                    200 and all of the object, as of a server that ignores ranges
    hang-up                  the request reaches the server, its answer is lost

An outage is no matter of single requests: within ``with proxy.outage():`` every connection is reset.
"""

import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

ANY_REQUEST = ("unavailable", "slow-down", "reset", "stall", "cut-head", "hang-up")
OF_BODIES = ("truncated", "corrupted")  # those of whole objects too
OF_RANGES = ("offset", "short", "long", "content-range", "whole")
KINDS = (*ANY_REQUEST, *OF_BODIES, *OF_RANGES)
_BUSY = b"<Error><Code>%b</Code><Message>Please reduce your request rate.</Message></Error>"
_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Message:
    """A request or an answer: its first line, its other lines, and its body."""

    first: bytes
    lines: list[tuple[bytes, bytes]]
    body: bytes = b""

    def get(self, name: bytes) -> bytes:
        return next((value for known, value in self.lines if known.lower() == name), b"")

    def put(self, name: bytes, value: bytes) -> None:
        self.lines = [line for line in self.lines if line[0].lower() != name.lower()]
        if value:
            self.lines.append((name, value))

    def head(self) -> bytes:
        return b"\r\n".join([self.first, *(b"%b: %b" % line for line in self.lines), b"", b""])


@dataclass
class FaultProxy:
    """The proxy's address, and what it did so far."""

    upstream: tuple[str, int]
    kinds: Sequence[str]
    share: float
    burst: int
    stall_s: float
    seed: int
    url: str = ""
    requests: int = 0
    injected: Counter[str] = field(default_factory=Counter)
    down: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Reset every connection within the block."""
        self.down.set()
        try:
            yield
        finally:
            self.down.clear()

    def next_fault(self) -> tuple[str, random.Random]:
        """Return what is to be done to the next request, ``""`` for nothing, and randomness for how."""
        with self._lock:
            number = self.requests
            self.requests += 1
        drawn = random.Random(f"{self.seed} {number // self.burst}")  # noqa: S311
        struck = self.kinds and drawn.random() < self.share
        return drawn.choice(list(self.kinds)) if struck else "", random.Random(f"{self.seed} {number} how")  # noqa: S311

    def count(self, kind: str) -> None:
        with self._lock:
            self.injected[kind] += 1


@contextmanager
def proxied(
    upstream: str,
    *kinds: str,
    share: float = 0.2,
    burst: int = 1,
    stall_s: float = 5.0,
    seed: int = 0,
) -> Iterator[FaultProxy]:
    """Stand in front of a server for the time of the ``with`` block.

    Args:
        upstream: Its URL.
        kinds: What may happen to a request.
        share: Part of the requests that are struck.
        burst: Requests in a row that are struck alike.
        stall_s: Silence of a stall.
        seed: Of the schedule.
    """
    there = urlsplit(upstream)
    proxy = FaultProxy((there.hostname or "", there.port or 80), kinds, share, burst, stall_s, seed)
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    listener.settimeout(0.05)
    proxy.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    accepting = threading.Thread(target=_accept, args=(proxy, listener))
    accepting.start()
    try:
        yield proxy
    finally:
        proxy.ended.set()
        accepting.join()
        listener.close()


def _accept(proxy: FaultProxy, listener: socket.socket) -> None:
    while not proxy.ended.is_set():
        with suppress(TimeoutError):
            client, _ = listener.accept()
            threading.Thread(target=_serve, args=(proxy, client), daemon=True).start()


def _serve(proxy: FaultProxy, client: socket.socket) -> None:
    """Pass on the requests of one connection until it ends."""
    with client, suppress(OSError, _EndError):
        client.settimeout(_TIMEOUT_S)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        source = _Source(client)
        with closing(socket.create_connection(proxy.upstream, timeout=_TIMEOUT_S)) as server:
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answers = _Source(server)
            while not proxy.ended.is_set():
                request = source.message(sink=client)
                if proxy.down.is_set():
                    proxy.count("outage")
                    _reset(client)
                kind, chance = proxy.next_fault()
                _exchange(proxy, client, server, answers, request, kind, chance)


def _exchange(
    proxy: FaultProxy,
    client: socket.socket,
    server: socket.socket,
    answers: "_Source",
    request: Message,
    kind: str,
    chance: random.Random,
) -> None:
    """Answer one request, well or otherwise."""
    if kind in ("unavailable", "slow-down"):
        proxy.count(kind)
        code, more = (b"SlowDown", b"Retry-After: 1\r\n") if kind == "slow-down" else (b"ServiceUnavailable", b"")
        body = b"" if request.first.startswith(b"HEAD") else _BUSY % code
        client.sendall(b"HTTP/1.1 503 Busy\r\n%bContent-Length: %d\r\n\r\n%b" % (more, len(body), body))
        return
    if kind == "reset":
        proxy.count(kind)
        _reset(client)
    if kind == "whole" and b"X-Amz-Signature=" in request.first and request.get(b"range"):
        request.put(b"Range", b"")  # no header is signed
    else:
        kind = "" if kind == "whole" else kind
    server.sendall(request.head() + request.body)
    answer = answers.message(has_body=not request.first.startswith(b"HEAD"))
    fits = _fits(kind, request, answer)
    if fits:
        proxy.count(kind)
        _spoil(proxy, client, answer, kind, chance)
    else:
        client.sendall(answer.head() + answer.body)
    if b"close" in (answer.get(b"connection").lower(), request.get(b"connection").lower()):
        raise _EndError


def _fits(kind: str, request: Message, answer: Message) -> bool:
    """Return whether a fault can be done to an answer."""
    if kind in ("stall", "cut-head", "hang-up", "whole"):
        return True
    good = request.first.startswith(b"GET") and answer.first.split()[1] in (b"200", b"206") and len(answer.body) > 8
    if kind in OF_RANGES:
        return good and bool(answer.get(b"content-range"))
    return good and kind in OF_BODIES and bool(request.get(b"range") or b"list-type" not in request.first)


def _spoil(proxy: FaultProxy, client: socket.socket, answer: Message, kind: str, chance: random.Random) -> None:
    """Send an answer as it should not be."""
    if kind == "hang-up":
        raise _EndError
    if kind == "cut-head":
        head = answer.head()
        client.sendall(head[: chance.randrange(1, len(head) - 1)])
        raise _EndError
    if kind in ("stall", "truncated"):
        client.sendall(answer.head() + answer.body[: chance.randrange(len(answer.body) + 1) // 2])
        if kind == "stall":
            proxy.ended.wait(proxy.stall_s)
        raise _EndError
    if kind == "corrupted":
        answer.body = _corrupted(answer.body, chance)
    elif kind in OF_RANGES and kind != "whole":
        _shift(answer, kind, chance)
    client.sendall(answer.head() + answer.body)


def _corrupted(body: bytes, chance: random.Random) -> bytes:
    """Return a body with some bytes that are other ones: single bits, or a stretch of zeros."""
    found = bytearray(body)
    if chance.random() < 0.5:
        for _ in range(chance.randrange(1, 4)):
            found[chance.randrange(len(found))] ^= 1 << chance.randrange(8)
    else:
        at = chance.randrange(len(found))
        stretch = found[at : at + 512]
        found[at : at + 512] = bytes(len(stretch)) if any(stretch) else b"\xff" * len(stretch)
    return bytes(found)


def _shift(answer: Message, kind: str, chance: random.Random) -> None:
    """Make an answer one to another range, or of another length."""
    numbers = re.findall(rb"\d+", answer.get(b"content-range"))
    first, last, total = (int(number) for number in numbers)
    by = chance.randrange(1, len(answer.body) - 1)
    if kind == "offset":
        first, last, answer.body = first + by, last + by, answer.body[by:] + bytes(by)
    elif kind == "short":
        last, answer.body = last - by, answer.body[:-by]
    elif kind == "long":
        answer.body += bytes(by)
    else:
        total += by
    answer.put(b"Content-Range", b"bytes %d-%d/%d" % (first, last, total))
    answer.put(b"Content-Length", b"%d" % len(answer.body))


class _EndError(Exception):
    """The connection is to be closed."""


def _reset(client: socket.socket) -> None:
    """Close a connection so that the other end sees ECONNRESET."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise _EndError


class _Source:
    """Reads messages from a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._data = b""

    def message(self, *, has_body: bool = True, sink: socket.socket | None = None) -> Message:
        """Return the next message; ``sink``: who waits for "100 Continue" before a body is sent."""
        while b"\r\n\r\n" not in self._data:
            self._more()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        parted = (line.partition(b":") for line in lines)
        found = Message(first, [(name, value.strip()) for name, _, value in parted])
        if first.startswith(b"HTTP/1.1 100"):
            return self.message(has_body=has_body)
        if found.get(b"expect").lower() == b"100-continue" and sink is not None:
            found.put(b"Expect", b"")
            sink.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if found.get(b"transfer-encoding").lower() == b"chunked":
            found.body = self._chunks()
            found.put(b"Transfer-Encoding", b"")
            found.put(b"Content-Length", b"%d" % len(found.body))
        elif has_body:
            found.body = self._take(int(found.get(b"content-length") or 0))
        return found

    def _chunks(self) -> bytes:
        parts = []
        while True:
            while b"\r\n" not in self._data:
                self._more()
            size, _, self._data = self._data.partition(b"\r\n")
            parts.append(self._take(int(size.partition(b";")[0], 16)))
            self._take(2)
            if not parts[-1]:
                return b"".join(parts)

    def _take(self, num_bytes: int) -> bytes:
        parts, missing = [self._data[:num_bytes]], num_bytes - len(self._data)
        self._data = self._data[num_bytes:]
        while missing > 0:
            part = self._connection.recv(min(missing, 1 << 20))
            if not part:
                raise _EndError
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _more(self) -> None:
        part = self._connection.recv(1 << 16)
        if not part:
            raise _EndError
        self._data += part
