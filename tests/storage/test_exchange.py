"""Requests over connections that are kept: the same request as the first, and the same answer whoever reads it."""

import io
import os
import time
from base64 import b64encode
from http.client import HTTPResponse
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.core.errors import AccessError, CorruptDataError, NotFoundError, ShardkitError, StorageError
from shardkit.storage.exchange import parse_head
from shardkit.storage.location import Location, locate
from shardkit.storage.store import read_range, write_bytes
from tests.storage.fault_server import Manner, serving
from tests.storage.scripted_server import Reply, scripted
from tests.storage.test_direct import AT, BUSY, GOOD, certificate, fresh, quick_retries  # noqa: F401  (fixtures)

DATA = os.urandom(300_000)
BODY = DATA[10:60]
USUAL = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 50\r\nContent-Range: bytes 10-59/300000\r\n\r\n"
NAMES = ["Content-Length", "CONTENT-RANGE", "etag", "Last-Modified", "Connection", "Transfer-Encoding"]
NAMES += ["Content-Encoding", "X-Odd", "Vary", " X", "Content-Length "]
COLONS = [*[": "] * 6, ":", ":\t ", " : ", ""]
VALUES = ["50", "bytes 10-59/300", '"a"', "keep-alive", "close", "chunked", "identity", "é", ""]
ENDS = st.sampled_from([*[""] * 12, " ", "\r", "\n", "\r\n folded"])


def get(location: Location) -> bytes:
    return read_range(location, 10, 60, expected_size=len(DATA))


class TestHead:
    @given(
        status=st.sampled_from(["200 OK", "206 Partial Content", "206", "206 ", "404 Not Found"]),
        version=st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]),
        lines=st.lists(
            st.tuples(st.sampled_from(NAMES), st.sampled_from(COLONS), st.sampled_from(VALUES), ENDS), max_size=5
        ),
    )
    def test_what_is_read_here_http_client_reads_too(
        self, status: str, version: str, lines: list[tuple[str, str, str, str]]
    ) -> None:
        told = [] if any(line[0].lower() == "content-length" for line in lines) else ["Content-Length: 50"]
        text = "\r\n".join([f"{version} {status}", *("".join(line) for line in lines), *told])
        found = parse_head(text)
        if found is None:
            return
        raw = HTTPResponse(_Socket(text.encode("latin-1") + b"\r\n\r\n"), method="GET")  # type: ignore[arg-type]
        raw.begin()
        assert (raw.status, raw.reason) == (found[0], (found[1] or "").strip())
        assert raw.length == int(found[2]["content-length"])
        assert not raw.chunked
        assert not raw.will_close
        for name, value in found[2].items():
            assert [text.strip() for text in raw.headers.get_all(name) or ()] == [value]  # it keeps spaces at the end

    def test_the_usual_is_read_here(self) -> None:
        head = USUAL.decode().removesuffix("\r\n\r\n") + '\r\nETag: "x"\r\nServer: AmazonS3\r\nVary: a\r\nVary: b'
        assert parse_head(head) == (
            206,
            "Partial Content",
            {"content-length": "50", "content-range": "bytes 10-59/300000", "etag": '"x"'},
        )

    @pytest.mark.parametrize(
        "more",
        [
            "Transfer-Encoding: chunked",
            "Connection: close",
            "Content-Length: 50",
            "ETag: a\r\nETag: b",
            "X-Odd: a\r\n folded",
            "X-Odd: a\n",
            "no colon",
        ],
    )
    def test_the_odd_is_left_to_http_client(self, more: str) -> None:
        assert parse_head(USUAL.decode().removesuffix("\r\n\r\n") + "\r\n" + more) is None

    @pytest.mark.parametrize("length", ["", "-1", "+50", "5_0", "50, 50", "٥٠", "0x10"])
    def test_a_length_is_a_whole_number(self, length: str) -> None:
        assert parse_head(f"HTTP/1.1 200 OK\r\nContent-Length: {length}") is None


class _Socket:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


class TestKeptConnection:
    @pytest.mark.parametrize("at", AT)
    def test_later_requests_are_those_of_urllib3(self, at: Any) -> None:
        with serving(DATA) as server:
            for _ in range(3):
                assert get(at(server)) == BODY
        assert len({request._replace(range="") for request in server.requests}) == 1
        assert {request.range for request in server.requests} == {"bytes=10-59"}

    @pytest.mark.parametrize("at", AT)
    @pytest.mark.parametrize(
        ("manner", "keeps"),
        [
            (Manner(whole=True), False),
            (Manner(whole=True, chunked=True), False),
            (Manner(chunked=True), False),
            (Manner(silent_shift=True), True),
        ],
    )
    def test_odd_answers_are_taken_too(self, at: Any, manner: Manner, keeps: bool) -> None:
        with serving(DATA, GOOD, manner, GOOD) as server:
            for _ in range(3):
                assert read_range(at(server), 10, 60) == BODY
        ports = [request.port for request in server.requests]
        assert ports[0] == ports[1]
        assert keeps == (ports[1] == ports[2])

    @pytest.mark.parametrize("at", AT)
    @pytest.mark.parametrize(
        "wrong",
        [
            *(Manner(shifted_by=3), Manner(fewer_by=3), Manner(more_by=3), Manner(more_by=3, silent_shift=True)),
            *(Manner(breaks_off_after=8), Manner(breaks_off_after=0), BUSY),
        ],
    )
    def test_wrong_answers_are_asked_again_then_told(self, at: Any, wrong: Manner) -> None:
        with serving(DATA, GOOD, wrong, wrong, GOOD) as server:
            assert get(at(server)) == BODY
            assert get(at(server)) == BODY
        assert len(server.requests) == 4
        with serving(DATA, GOOD, wrong) as server:
            get(at(server))
            with pytest.raises(StorageError, match="several times") as caught:
                get(at(server))
        assert len(server.requests) == 6
        assert "s3cret" not in str(caught.value)

    @pytest.mark.parametrize("at", AT)
    def test_refusals_end_in_the_words_of_fsspecs_client(self, at: Any) -> None:
        for status, code, error in ((404, "NoSuchKey", NotFoundError), (403, "AccessDenied", AccessError)):
            with serving(DATA, GOOD, Manner(status=status, error_code=code)) as server:
                get(at(server))
                with pytest.raises(error):
                    get(at(server))
            assert len(server.requests) == 3

    @pytest.mark.parametrize("at", AT)
    def test_past_the_end_is_told(self, at: Any) -> None:
        with serving(DATA) as server:
            get(at(server))
            with pytest.raises(CorruptDataError, match="got 0 of 9"):
                read_range(at(server), 400_000, 400_009)

    def test_signature_that_ended_early_is_made_anew(self) -> None:
        with serving(DATA, GOOD, GOOD, Manner(status=403, error_code="AccessDenied"), GOOD) as server:
            location = server.s3(**fresh())
            for _ in range(4):
                assert get(location) == BODY
        assert [request.signed for request in server.requests] == ["query", "query", "query", "header", "query"]

    def test_session_token_is_in_each_request(self) -> None:
        with serving(DATA) as server:
            for _ in range(2):
                assert get(server.s3(token="t/+=", **fresh())) == BODY
        assert all("X-Amz-Security-Token=t%2F%2B%3D" in request.target for request in server.requests)

    def test_proxy_gets_whole_urls_and_its_credentials_each_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("NO_PROXY", "no_proxy", "http_proxy"):
            monkeypatch.delenv(name, raising=False)
        with serving(DATA) as server:
            monkeypatch.setenv("HTTP_PROXY", server.url.replace("//", "//user:p%40ss@"))
            options = {"endpoint_url": "http://store.invalid", "key": "a", "secret": "b"}
            for _ in range(3):
                assert (
                    get(locate("s3://bucket/x y", options | {"config_kwargs": {"user_agent_extra": "proxied"}})) == BODY
                )
        assert {request.proxy for request in server.requests} == {"Basic " + b64encode(b"user:p@ss").decode()}
        assert len({request._replace(range="") for request in server.requests}) == 1
        assert server.requests[-1].target.startswith("http://store.invalid/bucket/x%20y?X-Amz-")

    def test_tls_is_kept(self, certificate: Any) -> None:  # noqa: F811
        with serving(DATA, certificate=str(certificate)) as server:
            location = server.s3(**fresh(), client_kwargs={"verify": str(certificate)})
            for start in (0, 5, 100_000):
                assert read_range(location, start, start + 200_000) == DATA[start : start + 200_000]
        assert len({request.port for request in server.requests}) == 1

    @pytest.mark.parametrize("name", ["with space.tar", "naïve+100%25 #1?&=;.tar", "a/b~%7E.tar"])
    def test_odd_names_are_literal(self, s3: Any, name: str) -> None:
        location = Location("s3", f"{s3.url.removeprefix('s3://')}/{uuid4()}/{name}", locate(s3.url).options_json)
        write_bytes(location, DATA)
        for _ in range(3):
            assert get(location) == BODY

    def test_connection_that_the_server_closed_is_opened_again_at_once(self) -> None:
        good = (USUAL + BODY, b"")
        with scripted(good) as server:
            for _ in range(3):
                started = time.monotonic()
                assert get(locate(f"{server.url}/x")) == BODY
                assert time.monotonic() - started < 1
                time.sleep(0.1)
        assert [number for number, _ in server.requests] == [0, 1, 2]

    @pytest.mark.parametrize(
        "reply",
        [
            (USUAL[:30], USUAL[30:], BODY[:20], BODY[20:]),
            (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", USUAL + BODY),
            (b"HTTP/1.1 100 Continue\r\n\r\n" + USUAL + BODY,),
            (USUAL.replace(b"\r\n\r\n", b"\r\nX-Long: " + b"x" * 20_000 + b"\r\n\r\n") + BODY,),
            (USUAL.replace(b"\r\n\r\n", b"\r\nX-Odd: a\r\n b\r\n\r\n") + BODY,),
            (USUAL.replace(b"\r\n", b"\n") + BODY,),
            (USUAL.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + BODY, b""),
            (USUAL.replace(b"HTTP/1.1", b"HTTP/1.0") + BODY, b""),
            (b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 10-59/300000\r\n\r\n" + BODY, b""),
        ],
    )
    def test_heads_in_parts_and_of_other_kinds(self, reply: Reply) -> None:
        with scripted((USUAL + BODY,), reply, (USUAL + BODY,)) as server:
            for _ in range(3):
                assert get(locate(f"{server.url}/x")) == BODY
        assert len(server.requests) == 3
        assert server.requests[0][0] == server.requests[1][0]  # over one connection

    @pytest.mark.parametrize("told", [b"HTTP/1.1|Connection: close", b"HTTP/1.0|X-Odd: a"])
    def test_connection_that_was_to_end_is_not_used_again(self, told: bytes) -> None:
        version, line = told.split(b"|")
        last = USUAL.replace(b"HTTP/1.1", version).replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\n") + BODY
        with scripted((USUAL + BODY,), (last,), (USUAL + BODY,)) as server:  # which does not close it
            for _ in range(3):
                assert get(locate(f"{server.url}/x")) == BODY
        assert [number for number, _ in server.requests] == [0, 0, 1]

    @pytest.mark.parametrize("reply", [(b"SSH-2.0-x\r\n",), (b"",), (USUAL + BODY[:20], b"")])
    def test_answers_that_are_none_are_asked_again(self, reply: Reply) -> None:
        with scripted((USUAL + BODY,), reply, (USUAL + BODY,)) as server:
            for _ in range(2):
                assert get(locate(f"{server.url}/x")) == BODY
        assert [number for number, _ in server.requests] == [0, 0, 1]

    @pytest.mark.parametrize("reply", [(), (USUAL[:30],), (USUAL + BODY[:20],)])
    def test_silence_ends_with_the_timeout(self, reply: Reply) -> None:
        with scripted((USUAL + BODY,), reply) as server:
            location = locate(f"{server.url}/x", {"read_timeout": 0.3, "block_size": 1 + len(reply)})
            assert get(location) == BODY
            started = time.monotonic()
            with pytest.raises(ShardkitError, match="several times: .*timed out"):
                get(location)
        assert 1.4 < time.monotonic() - started < 10
        assert 3 < len(server.requests) <= 6  # a busy machine may be late to see one

    def test_nothing_can_be_put_into_a_request(self) -> None:
        with serving(DATA) as server:
            url = f"{server.url}/a\r\nX-Evil: 1"
            location = Location("http", url.removeprefix("http://"), locate(url).options_json)
            for _ in range(2):
                assert get(location) == BODY
        assert all("X-Evil" not in dict(request.headers) for request in server.requests)
        assert len({request.target for request in server.requests}) == 1
