"""Servers that refuse, fail, stall or lie: how fast, and with which words, that becomes an error.

The server here is real HTTP; it answers each request with the next of a list of answers, the last one for ever.
"""

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import pytest

from shardkit.core.errors import AccessError, CorruptDataError, InputError, NotFoundError, ShardkitError, StorageError
from shardkit.storage.location import Location, locate
from shardkit.storage.patience import DEFAULTS
from shardkit.storage.store import (
    check_writable,
    exists,
    is_folder,
    list_files,
    read_bytes,
    read_range,
    size,
    write_bytes,
)

DATA = bytes(range(200))
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class Answer(NamedTuple):
    status: int = 206
    body: bytes = b""
    breaks_off: bool = False


GOOD = Answer(206, DATA)


class Server(NamedTuple):
    url: str
    requests: list[str]


@contextmanager
def serving(*answers: Answer, port: int = 0) -> Iterator[Server]:
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer = answers[min(len(requests), len(answers) - 1)]
            requests.append(f"{self.command} {self.path}")
            body = answer.body
            asked = self.headers.get("Range", "").removeprefix("bytes=")
            if asked and answer.status == 206:
                start, last = asked.split("-")
                body = body[int(start) : int(last) + 1]
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[: len(body) // 2] if answer.breaks_off else body)
            self.close_connection = answer.breaks_off

        do_HEAD = do_GET  # noqa: N815  (the base class's naming)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{server.server_port}", requests)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def s3_at(server: Server, **options: object) -> Location:
    return locate("s3://bucket/x.tar", {"endpoint_url": server.url, "key": "abc", "secret": "abc"} | options)


def http_at(server: Server) -> Location:
    return locate(f"{server.url}/x.tar?signature=s3cret")


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardkit.storage.retries.FIRST_WAIT_S", 0.01)
    monkeypatch.setitem(DEFAULTS, "tries", 5)


@pytest.mark.parametrize("at", [http_at, s3_at])
class TestAnyProtocol:
    def test_range_is_one_request(self, at: Callable[[Server], Location]) -> None:
        with serving(GOOD) as server:
            assert read_range(at(server), 10, 20) == DATA[10:20]
            assert len(server.requests) == 1

    @pytest.mark.parametrize(
        "failure", [Answer(503, SLOW_DOWN), Answer(500), Answer(429), Answer(206, DATA, breaks_off=True)]
    )
    def test_transient_failures_are_tried_again(self, at: Callable[[Server], Location], failure: Answer) -> None:
        with serving(failure, failure, GOOD) as server:
            assert read_range(at(server), 10, 110) == DATA[10:110]
            assert len(server.requests) == 3

    @pytest.mark.parametrize(
        ("status", "error", "message"),
        [
            (404, NotFoundError, "nothing is stored there"),
            (403, AccessError, "access was refused"),
            (401, AccessError, r"credentials were refused \(401\)"),
            (400, StorageError, "can't read(?: bytes 0 to 9)?: "),
        ],
    )
    @pytest.mark.parametrize("read", [lambda location: read_range(location, 0, 9), size])
    def test_lasting_failures_are_told_at_once(
        self,
        at: Callable[[Server], Location],
        status: int,
        error: type[ShardkitError],
        message: str,
        read: Callable[[Location], object],
    ) -> None:
        with serving(Answer(status)) as server, pytest.raises(error, match=message) as caught:
            started = time.monotonic()
            read(at(server))
        assert time.monotonic() - started < 5
        assert len(server.requests) <= 2  # one more looks whether it is a folder, or whether HEAD is what's refused
        assert "s3cret" not in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_store_that_goes_on_failing_is_given_up(self, at: Callable[[Server], Location]) -> None:
        with serving(Answer(503, SLOW_DOWN)) as server:
            with pytest.raises(StorageError, match=r"the store failed at it, several times: (503|SlowDown) .*; try"):
                read_range(at(server), 0, 9)
            assert len(server.requests) == 5

    def test_range_past_the_end_says_how_long_the_file_is(self, at: Callable[[Server], Location]) -> None:
        refused = pytest.raises(CorruptDataError, match="bytes 500 to 600, got 0 of 100: the file has 200 bytes")
        with serving(Answer(416), Answer(200, DATA)) as server, refused:
            read_range(at(server), 500, 600)

    def test_endpoint_that_answered_before_is_waited_for(
        self, at: Callable[[Server], Location], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with serving(GOOD) as server:
            location = at(server)
            read_range(location, 0, 9)
        monkeypatch.setitem(DEFAULTS, "tries", None)
        with ThreadPoolExecutor(1) as threads:
            reading = threads.submit(read_range, location, 10, 20)
            time.sleep(0.3)
            with serving(GOOD, port=int(server.url.rpartition(":")[2])):
                assert reading.result() == DATA[10:20]


class TestHttp:
    def test_whole_files_sizes_and_existence(self) -> None:
        with serving(Answer(200, DATA)) as server:
            location = http_at(server)
            assert (size(location), exists(location), is_folder(location)) == (200, True, False)
            assert read_bytes(location) == DATA

    def test_missing_is_not_there_but_refused_is_an_error(self) -> None:
        with serving(Answer(404)) as server:
            assert not exists(http_at(server))
        with serving(Answer(403)) as server, pytest.raises(AccessError):
            exists(http_at(server))

    def test_failing_lookup_is_tried_again(self) -> None:
        with serving(Answer(503), Answer(503), Answer(503), Answer(200, DATA)) as server:
            assert size(http_at(server)) == 200

    def test_writing_and_listing_are_refused(self, tmp_path: object) -> None:
        location = locate("http://127.0.0.1:9/x")
        for refused in (lambda: write_bytes(location, b"x"), lambda: check_writable(location)):
            with pytest.raises(InputError, match="HTTP is read only"):
                refused()
        with pytest.raises(InputError, match="HTTP has no listing"):
            list_files(location)

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("http://127.0.0.1:9/x", r"can't connect to 127\.0\.0\.1:9: .*check the URL"),
            ("http://no-such-host.invalid/x", r"no such host: no-such-host\.invalid"),
        ],
    )
    @pytest.mark.parametrize("read", [read_bytes, size, exists])
    def test_wrong_host_fails_at_once(self, url: str, message: str, read: Callable[[Location], object]) -> None:
        started = time.monotonic()
        with pytest.raises(StorageError, match=message):
            read(locate(url))
        assert time.monotonic() - started < 5

    def test_tls_where_there_is_none_is_told(self) -> None:
        with serving(GOOD) as server, pytest.raises(StorageError, match="no TLS connection to .* rather than https"):
            read_bytes(locate(server.url.replace("http", "https") + "/x"))


class TestS3:
    def test_bucket_in_another_region_is_told(self) -> None:
        body = b"<Error><Code>IllegalLocationConstraintException</Code><Message>Not from here.</Message></Error>"
        with serving(Answer(400, body)) as server, pytest.raises(StorageError, match="AWS_DEFAULT_REGION"):
            read_bytes(s3_at(server))

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("ExpiredToken", "token has expired"),
            ("RequestTimeTooSkewed", "clock"),
            ("AccessDenied", "access was refused"),
        ],
    )
    @pytest.mark.parametrize("read", [read_bytes, lambda location: read_range(location, 0, 9)])
    def test_refusals_say_why(self, code: str, message: str, read: Callable[[Location], object]) -> None:
        body = f"<Error><Code>{code}</Code><Message>No.</Message></Error>".encode()
        with serving(Answer(403, body)) as server, pytest.raises(AccessError, match=message):
            read(s3_at(server))

    @pytest.mark.parametrize(
        "options", [{"nonsense": 1}, {"client_kwargs": {"nonsense": 1}}, {"config_kwargs": {"nonsense": 1}}]
    )
    def test_unknown_options_are_named(self, options: dict[str, object]) -> None:
        with (
            serving(GOOD) as server,
            pytest.raises(InputError, match="has no option 'nonsense'; check --storage-option"),
        ):
            read_bytes(s3_at(server, **options))

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full queue refuses instead of staying silent")
    def test_host_that_takes_no_connection_is_given_up_at_once(self) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as waiting:
            address = full.getsockname()
            waiting.connect(address)  # nobody accepts it, so the queue is full and further ones get no answer
            location = locate("s3://bucket/x", {"endpoint_url": f"http://127.0.0.1:{address[1]}", "anon": True})
            started = time.monotonic()
            with pytest.raises(
                StorageError, match=r"http://127\.0\.0\.1:[0-9]+ does not answer; check AWS_ENDPOINT_URL"
            ):
                read_bytes(location)
            assert time.monotonic() - started < 5

    def test_silent_server_is_given_up_after_the_read_timeout(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            location = locate(
                "s3://bucket/x",
                {
                    "endpoint_url": f"http://127.0.0.1:{silent.getsockname()[1]}",
                    **{"key": "abc", "secret": "abc", "config_kwargs": {"read_timeout": 0.05}},
                },
            )
            started = time.monotonic()
            with pytest.raises(StorageError, match="several times"):
                read_bytes(location)
            assert time.monotonic() - started < 15
