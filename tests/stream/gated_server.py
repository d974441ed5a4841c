"""A real HTTP server over a folder that answers ranges, and makes requests for tars wait while its gate is closed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit


class GatedServer(NamedTuple):
    url: str
    gate: threading.Event  # set: open


@contextmanager
def gated(folder: Path) -> Iterator[GatedServer]:
    gate = threading.Event()
    gate.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = folder / urlsplit(self.path).path.lstrip("/")
            if path.suffix == ".tar":
                gate.wait()
            if not path.is_file():
                self.send_error(404)
                return
            data = path.read_bytes()
            start, _, last = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
            stop = min(int(last) + 1, len(data)) if last else len(data)
            body = data[int(start or 0) : stop]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815  (the base class's naming)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Say nothing: clients hang up on stalls."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield GatedServer(f"http://127.0.0.1:{server.server_port}", gate)
    finally:
        gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
