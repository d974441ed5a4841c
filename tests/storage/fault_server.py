"""A real HTTP server on this machine that answers range requests well, or wrongly in ways that servers have.

It serves one file under any name and answers each request in the next of a list of manners, the last one for ever.
"""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import urlsplit

from shardkit.storage.location import Location, locate


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How to answer: by default as the RFC wants it."""

    status: int | None = None  # None: 206, or 416 past the end
    error_code: str = ""  # of S3, in the body
    whole: bool = False  # ignores Range
    chunked: bool = False  # no Content-Length
    shifted_by: int = 0  # other bytes than asked, and said so
    silent_shift: bool = False  # no Content-Range
    fewer_by: int = 0  # a part of the range, and said so
    more_by: int = 0  # more bytes than asked, and not said so
    breaks_off_after: int | None = None  # closes the connection within the body
    version: str = '"1"'  # ETag
    modified: str = ""  # Last-Modified
    total: int | None = None  # what Content-Range says


class Request(NamedTuple):
    path: str
    signed: str  # "query", "header" or ""
    range: str
    port: int  # of the client, so one a connection
    proxy: str  # credentials for it
    target: str  # as it was sent
    headers: tuple[tuple[str, str], ...]  # all but the range, sorted by name


class FaultServer(NamedTuple):
    url: str
    requests: list[Request]
    valid_key: list[str]  # access keys that are taken, if there are any; others have expired

    def http(self, name: str = "x.tar", **options: object) -> Location:
        return locate(f"{self.url}/{name}?signature=s3cret", options)

    def s3(self, name: str = "x.tar", **options: object) -> Location:
        return locate(f"s3://bucket/{name}", {"endpoint_url": self.url, "key": "abc", "secret": "s3cret"} | options)


@contextmanager
def serving(data: bytes, *manners: Manner, certificate: str | None = None) -> Iterator[FaultServer]:
    """Serve ``data`` at a free port of 127.0.0.1; ``certificate``: a PEM file with a key, for TLS."""
    requests: list[Request] = []
    valid_key: list[str] = []
    lock = threading.Lock()

    class Handler(_Handler):
        content = data

        def manner(self) -> Manner:
            with lock:
                requests.append(self.facts())
                credential = f"{self.path} {self.headers.get('Authorization', '')}"
                if valid_key and not any(f"Credential={key}" in credential for key in valid_key):
                    return Manner(status=403, error_code="ExpiredToken")
                return manners[min(len(requests), len(manners)) - 1] if manners else Manner()

    server = _Server(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        scheme = "http" if certificate is None else "https"
        yield FaultServer(f"{scheme}://127.0.0.1:{server.server_port}", requests, valid_key)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients hang up on wrong answers."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    content = b""

    def manner(self) -> Manner:
        raise NotImplementedError

    def facts(self) -> Request:
        signed = "query" if "X-Amz-Signature=" in self.path else "header" if "Authorization" in self.headers else ""
        proxy = self.headers.get("Proxy-Authorization", "")
        port, asked = self.client_address[1], self.headers.get("Range", "")
        headers = sorted((name, value) for name, value in self.headers.items() if name != "Range")
        return Request(urlsplit(self.path).path, signed, asked, port, proxy, self.path, tuple(headers))

    def do_GET(self) -> None:
        how, size = self.manner(), len(self.content)
        asked = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        start, stop = (int(asked[0]), min(int(asked[2]) + 1, size)) if asked[1] else (0, size)
        total = size if how.total is None else how.total
        if how.status is not None:
            body = f"<Error><Code>{how.error_code}</Code><Message>No.</Message></Error>" if how.error_code else ""
            self._answer(how.status, body.encode(), {}, how)
        elif how.whole or not asked[1]:
            self._answer(200, self.content, {}, how)
        elif start >= size:
            self._answer(416, b"", {"Content-Range": f"bytes */{total}"}, how)
        else:
            start, stop = start + how.shifted_by, stop + how.shifted_by - how.fewer_by
            said = {} if how.silent_shift else {"Content-Range": f"bytes {start}-{stop - 1}/{total}"}
            self._answer(206, self.content[start : stop + how.more_by], said, how)

    do_HEAD = do_GET  # noqa: N815  (the base class's naming)

    def _answer(self, status: int, body: bytes, headers: dict[str, str], how: Manner) -> None:
        self.send_response(status)
        length = {"Transfer-Encoding": "chunked"} if how.chunked else {"Content-Length": str(len(body))}
        named = {"ETag": how.version, "Last-Modified": how.modified}
        for name, value in (headers | length | {name: value for name, value in named.items() if value}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        sent = body if how.breaks_off_after is None else body[: how.breaks_off_after]
        self.close_connection = how.breaks_off_after is not None
        try:
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(sent), sent) if how.chunked else sent)
        except OSError:  # a client that has read enough hangs up
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass
