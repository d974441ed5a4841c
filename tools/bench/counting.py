"""Counts what storage is asked for: a proxy in front of a real S3 server, or of anything that speaks HTTP.

What a client says of its own reads is one thing; what passes the wire is another, and the latter is also right where
several processes read. Bytes count as they are handed on. The proxy hands requests on unchanged, the Host header among
them, so signatures hold.
"""

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import urlsplit

from tools.s3_server import serve

COUNTS = "/.counts"  # path at which the proxy tells requests and bytes so far, as JSON
_PART_BYTES = 1 << 18


class Reads(NamedTuple):
    """Requests that returned content, and the bytes they returned."""

    requests: int = 0
    bytes: int = 0

    def __add__(self, other: object) -> "Reads":
        if not isinstance(other, Reads):
            return NotImplemented
        return Reads(self.requests + other.requests, self.bytes + other.bytes)


class Counts:
    """Reads by the suffix of what was read: ``.tar``, ``.parquet``, ``.json``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reads: dict[str, Reads] = {}

    def add(self, path: str, num_bytes: int, *, requests: int = 1) -> None:
        """Count one request, or a further part of its answer."""
        suffix = PurePosixPath(path).suffix
        with self._lock:
            self._reads[suffix] = self._reads.get(suffix, Reads()) + Reads(requests, num_bytes)

    def total(self) -> Reads:
        """Return all counts so far together."""
        with self._lock:
            return sum(self._reads.values(), Reads())

    def take(self) -> Mapping[str, Reads]:
        """Return the counts so far, and begin anew."""
        with self._lock:
            reads, self._reads = self._reads, {}
        return reads


@dataclass(frozen=True, slots=True)
class CountedS3:
    """A running S3 server behind a proxy that counts.

    Attributes:
        options: Storage options with which shardkit reads through the proxy.
        uncounted: The same, past it: for timing.
        counts: What the proxy has seen.
    """

    options: dict[str, str]
    uncounted: dict[str, str]
    counts: Counts


def bypass_proxies() -> None:
    """Have this process and its children reach servers of this machine directly, whatever proxy is set."""
    hosts = [host for host in os.environ.get("NO_PROXY", "").split(",") if host]
    os.environ["NO_PROXY"] = ",".join(dict.fromkeys([*hosts, "127.0.0.1"]))


@contextmanager
def counted_s3(folder: Path) -> Iterator[CountedS3]:
    """Serve a folder as S3, its sub-folders the buckets, and count what is read."""
    with serve(folder) as server, counting_proxy(server.url) as (url, counts):
        keys = {"key": server.access_key, "secret": server.secret_key}
        yield CountedS3({"endpoint_url": url, **keys}, {"endpoint_url": server.url, **keys}, counts)


@contextmanager
def counting_proxy(upstream: str) -> Iterator[tuple[str, Counts]]:
    """Give the URL of a proxy to an HTTP server and what it has counted."""
    counts = Counts()
    handler = type("Handler", (_Handler,), {"upstream": urlsplit(upstream).netloc, "counts": counts})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", counts
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # clients keep their connections open for as long as they live
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    upstream: str
    counts: Counts

    def setup(self) -> None:
        super().setup()
        self._connection = HTTPConnection(self.upstream)

    def finish(self) -> None:
        self._connection.close()
        super().finish()

    def do_GET(self) -> None:
        if self.path == COUNTS:
            self._tell(json.dumps(self.counts.total()).encode())
            return
        self._connection.request(self.command, self.path, headers=dict(self.headers))
        answer = self._connection.getresponse()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        if self.command == "HEAD":
            self.end_headers()
            answer.read()
            return
        good, path = answer.status in (200, 206), urlsplit(self.path).path
        if answer.getheader("Content-Length") is None:
            data = answer.read()
            if good:
                self.counts.add(path, len(data))
            self._tell(data, head=False)
            return
        if good:
            self.counts.add(path, 0)
        self.end_headers()
        while data := answer.read(_PART_BYTES):
            if good:  # before the client has it, who may look at the counts at once
                self.counts.add(path, len(data), requests=0)
            self.wfile.write(data)

    def _tell(self, data: bytes, *, head: bool = True) -> None:
        if head:
            self.send_response_only(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_HEAD = do_GET  # noqa: N815  (the base class's naming)

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, HTTPException):  # the client is gone, or a kept connection was closed
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass
