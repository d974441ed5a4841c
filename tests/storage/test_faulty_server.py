"""What storage does on bad days: resumes, waits as asked, renews credentials, sends parts again, hedges."""

import hashlib
import os
import re
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shardkit.core.errors import AccessError, CorruptDataError, InputError, StorageError
from shardkit.storage import uploads
from shardkit.storage.location import locate
from shardkit.storage.patience import DEFAULTS, patience_of, without_patience
from shardkit.storage.retries import RetryBudget, backoff_s, until
from shardkit.storage.store import list_files, publish, read_bytes, read_range, write_bytes
from shardkit.storage.traffic import Traffic
from tests.storage.fault_proxy import ANY_REQUEST, proxied
from tests.storage.fault_server import Manner, serving
from tests.storage.scripted_server import scripted
from tests.storage.test_direct import AT, GOOD, fresh

DATA = os.urandom(300_000)


@pytest.mark.parametrize("at", AT)
class TestResumption:
    def test_only_what_is_missing_is_asked_for_again(self, at: Any) -> None:
        with serving(DATA, GOOD, Manner(breaks_off_after=100), Manner(breaks_off_after=250), GOOD) as server:
            location, traffic = at(server), Traffic()
            read_range(location, 0, 9, expected_size=len(DATA))
            assert read_range(location, 1000, 2000, expected_size=len(DATA), traffic=traffic) == DATA[1000:2000]
        asked = [(request.range, dict(request.headers).get("If-Match")) for request in server.requests[1:]]
        assert asked == [("bytes=1000-1999", None), ("bytes=1100-1999", '"1"'), ("bytes=1350-1999", '"1"')]
        assert (traffic.requests, traffic.retries) == (1, 2)

    def test_pieces_of_two_versions_are_never_joined(self, at: Any) -> None:
        other = Manner(version='"2"')
        with serving(DATA, Manner(breaks_off_after=100), other) as server:
            assert read_range(at(server), 1000, 2000) == DATA[1000:2000]
        assert [request.range for request in server.requests][-1] == "bytes=1000-1999"  # all of it anew
        told = pytest.raises(CorruptDataError, match="replaced while it was read")
        with serving(DATA, Manner(breaks_off_after=100), other) as server, told:
            read_range(at(server), 1000, 2000, expected_size=len(DATA))

    def test_a_server_that_refuses_another_version_is_asked_anew(self, at: Any) -> None:
        with serving(DATA, Manner(breaks_off_after=100), Manner(status=412), Manner(version='"2"')) as server:
            assert read_range(at(server), 1000, 2000) == DATA[1000:2000]
        assert [request.range for request in server.requests] == [
            "bytes=1000-1999",
            "bytes=1100-1999",
            "bytes=1000-1999",
        ]

    def test_nothing_is_kept_of_what_has_no_version(self, at: Any) -> None:
        with serving(DATA, Manner(version="", breaks_off_after=100), Manner(version="")) as server:
            assert read_range(at(server), 1000, 2000) == DATA[1000:2000]
        assert [request.range for request in server.requests] == ["bytes=1000-1999"] * 2

    def test_one_wrong_word_about_the_size_is_not_believed(self, at: Any) -> None:
        with serving(DATA, Manner(total=7_000_000), GOOD) as server:
            assert read_range(at(server), 1000, 2000, expected_size=len(DATA)) == DATA[1000:2000]

    def test_whole_files_are_resumed_too(self, at: Any) -> None:
        with serving(DATA, Manner(breaks_off_after=100_000), GOOD) as server:
            assert read_bytes(at(server)) == DATA
        assert server.requests[-1].range.startswith("bytes=100000-")


def test_a_body_that_stops_half_way_is_gone_on_with() -> None:
    head = (
        b'HTTP/1.1 206 Partial Content\r\nETag: "a"\r\nContent-Length: %d\r\nContent-Range: bytes %d-%d/300000\r\n\r\n'
    )
    first, rest = head % (1000, 0, 999), head % (400, 600, 999)
    with scripted((first + DATA[:600],), (rest + DATA[600:1000],)) as server:
        began = time.monotonic()
        assert read_range(locate(f"{server.url}/x", {"read_timeout": 0.3}), 0, 1000) == DATA[:1000]
        assert time.monotonic() - began < 15
    assert b"Range: bytes=600-999" in server.requests[1][1]


def test_a_connection_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardkit.storage.exchange.MIN_BYTES_PER_S", 1e6)
    monkeypatch.setattr("shardkit.storage.exchange.GRACE_S", 0.3)
    head = (
        b'HTTP/1.1 206 Partial Content\r\nETag: "a"\r\nContent-Length: 1000\r\nContent-Range: bytes 0-999/1000\r\n\r\n'
    )
    drip = [head, *(DATA[i : i + 1] for i in range(100))]  # one each 50 ms
    with scripted(drip) as server, pytest.raises(StorageError, match="fewer than 1,000,000.0 bytes a second"):
        read_range(locate(f"{server.url}/x", {"read_timeout": 0.3, "tries": 1}), 0, 1000)


@pytest.mark.parametrize(
    "cut",
    [b"HTTP/1.1 206 Partial Content\r\n", b"HTTP/1.1 206 Partial", b"HTTP/1.1 200 OK\r\nServer: x\r\nCont", b"HT"],
)
@pytest.mark.parametrize("kept", [False, True])
def test_a_head_that_is_cut_off_is_asked_for_again(cut: bytes, kept: bool) -> None:
    good = (
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 50\r\nContent-Range: bytes 10-59/300000\r\n\r\n" + DATA[10:60]
    )
    with scripted(*[(good,)] * kept, (cut, b""), (good,)) as server:
        for _ in range(1 + kept):
            assert read_range(locate(f"{server.url}/x"), 10, 60) == DATA[10:60]


def test_retry_after_is_kept_to() -> None:
    busy = b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
    good = (
        b"HTTP/1.1 206 Partial Content\r\nContent-Length: 50\r\nContent-Range: bytes 10-59/300000\r\n\r\n" + DATA[10:60]
    )
    with scripted((busy,), (good,)) as server:
        began = time.monotonic()
        assert read_range(locate(f"{server.url}/x"), 10, 60) == DATA[10:60]
        assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize("at", AT)
def test_giving_up_says_where_how_often_how_long_and_why(at: Any) -> None:
    with serving(DATA, Manner(status=503, error_code="SlowDown")) as server:
        location = at(server, retry_for=0.3)
        with pytest.raises(StorageError) as caught:
            read_range(location, 1000, 2000)
    expected = "can't read bytes 1,000 to 2,000: the store failed at it, several times: SlowDown No. "
    expected = re.escape(expected) + r"\(tried \d+ times in 0\.\d s\); try again later"
    assert str(caught.value).startswith(str(location))
    assert re.search(expected, str(caught.value))


class TestCredentials:
    def test_those_that_a_file_has_by_now_are_taken(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr("shardkit.storage.clients.RENEW_AFTER_S", 0.0)
        file = tmp_path / "credentials"
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
        text = "[default]\naws_access_key_id = {0}\naws_secret_access_key = {0}\naws_session_token = {0}\n"
        file.write_text(text.format("OLD"))
        with serving(DATA) as server:
            location = locate("s3://bucket/x.tar", {"endpoint_url": server.url} | fresh())
            assert read_range(location, 0, 9) == DATA[:9]
            server.valid_key[:] = ["NEW"]
            renewing = threading.Timer(0.5, file.write_text, [text.format("NEW")])
            renewing.start()
            assert read_range(location, 10, 19) == DATA[10:19]
            renewing.join()
            count = len(server.requests)
            assert read_range(location, 20, 29) == DATA[20:29]
        assert [request.signed for request in server.requests[count:]] == ["query"]  # no way round from now on

    def test_those_that_stay_expired_are_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shardkit.storage.clients.RENEW_AFTER_S", 0.0)
        monkeypatch.setattr("shardkit.storage.retries.EXPIRED_FOR_S", 0.5)
        with serving(DATA) as server:
            location = server.s3(**fresh())
            read_range(location, 0, 9)
            server.valid_key[:] = ["NEW"]
            with pytest.raises(AccessError, match=r"token has expired or is not valid \(tried \d+ times .*; get new"):
                read_range(location, 0, 9)

    def test_a_url_that_has_ended_is_signed_anew_without_s3fs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shardkit.storage.signing.NEW_FOR_S", 0.0)
        with serving(DATA, GOOD, Manner(status=403, error_code="AccessDenied"), GOOD) as server:
            location = server.s3(**fresh())
            for _ in range(3):
                assert read_range(location, 0, 9) == DATA[:9]
        assert [request.signed for request in server.requests] == ["query"] * 4


class TestWrites:
    def test_a_large_file_is_sent_through_faults(
        self, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(uploads, "PART_SIZE", 1 << 20)
        monkeypatch.setattr(uploads, "SMALL", 2 << 20)
        content = os.urandom(1 << 20) * 24 + b"end"
        (tmp_path / "x").write_bytes(content)
        with proxied(s3.endpoint.url, *ANY_REQUEST, share=0.3, seed=5) as proxy:
            target = locate(f"{s3.url}/{uuid4()}", {"endpoint_url": proxy.url, "read_timeout": 1.0})
            publish(tmp_path / "x", target)
        assert sum(proxy.injected.values()) > 3
        assert read_bytes(locate(target.url)) == content

    def test_small_writes_and_listings_too(self, s3: Any) -> None:
        folder = str(uuid4())
        with proxied(s3.endpoint.url, *ANY_REQUEST, share=0.4, seed=7) as proxy:
            target = locate(f"{s3.url}/{folder}", {"endpoint_url": proxy.url, "read_timeout": 1.0})
            for number in range(10):
                write_bytes(target / f"{number}", bytes([number]))
            assert [file.name for file in list_files(target)] == [str(number) for number in range(10)]
        assert sum(proxy.injected.values()) > 3


class TestEtag:
    MD5 = '"' + hashlib.md5(DATA, usedforsecurity=False).hexdigest() + '"'

    def test_whole_objects_are_compared_with_an_etag_that_is_their_md5(self) -> None:
        with scripted(
            *[
                (
                    b"HTTP/1.1 206 Partial Content\r\nETag: %b\r\nContent-Length: 300000\r\n"
                    b"Content-Range: bytes 0-299999/300000\r\n\r\n%b" % (self.MD5.encode(), body),
                )
                for body in (DATA[:7] + b"\0" + DATA[8:] if DATA[7] else DATA[:7] + b"\1" + DATA[8:], DATA)
            ]
        ) as server:
            assert read_bytes(locate("s3://b/x", {"endpoint_url": server.url, "key": "abc", "secret": "abc"})) == DATA
        assert len(server.requests) == 2

    def test_an_etag_of_something_else_costs_one_more_read(self) -> None:
        with serving(DATA, Manner(version='"' + "0" * 32 + '"')) as server:
            for count in (2, 3):
                assert read_bytes(server.s3()) == DATA
                assert len(server.requests) == count


class TestHedging:
    def test_a_slow_tail_is_asked_for_twice(self, s3: Any) -> None:
        name = str(uuid4())
        write_bytes(locate(f"{s3.url}/{name}"), DATA)
        with proxied(s3.endpoint.url, "stall", share=0.05, stall_s=1.5, seed=2) as proxy:
            location = locate(f"{s3.url}/{name}", {"endpoint_url": proxy.url, "hedge": 0.9, "hedge_share": 0.2})
            traffic, sat_out = Traffic(), 0
            for number in range(200):
                began = time.monotonic()
                start = number * 997 % 200_000
                data = read_range(location, start, start + 20_000, expected_size=len(DATA), traffic=traffic)
                assert data == DATA[start : start + 20_000]
                if number < 64:  # it learns what is usual
                    before = proxy.injected["stall"]
                else:
                    sat_out += time.monotonic() - began > 1.4
            stalls = proxy.injected["stall"] - before
        assert 0 < traffic.hedges <= 0.2 * 200 + 1
        assert stalls > 3
        assert sat_out <= stalls / 2  # those whose second request was struck as well

    def test_it_is_off_by_default(self) -> None:
        assert patience_of({}).hedge is None


class TestPatience:
    @pytest.mark.parametrize(
        "options", [{"retry_for": -1}, {"retry_for": "long"}, {"tries": 1.5}, {"hedge": 1}, {"read_timeout": True}]
    )
    def test_values_that_cannot_be_are_told(self, options: dict[str, object]) -> None:
        with pytest.raises(InputError, match=f"storage option {next(iter(options))}="):
            locate("s3://b/x", options)

    def test_fsspec_sees_none_of_it(self) -> None:
        assert without_patience(dict.fromkeys(DEFAULTS, 1) | {"anon": True}) == {"anon": True}

    def test_waits_grow_and_differ(self) -> None:
        assert len({backoff_s(3) for _ in range(10)}) > 5
        assert all(0.1 <= backoff_s(3) <= 0.3 for _ in range(100))
        assert all(5 <= backoff_s(1000) <= 15 for _ in range(100))

    def test_retries_of_a_process_are_bounded(self) -> None:
        budget = RetryBudget()
        waits = [budget.reserve() for _ in range(220)]
        assert waits[10] == 0.0
        assert 15 < waits[-1] < 21  # 20 at once, then 10 a second

    def test_who_is_not_wanted_any_more_does_not_wait(self) -> None:
        ended = threading.Event()
        with serving(DATA, Manner(status=503)) as server:
            threading.Timer(0.3, ended.set).start()
            began = time.monotonic()
            with until(ended.is_set), pytest.raises(StorageError, match="several times"):
                read_range(server.http(), 0, 9)
            assert time.monotonic() - began < 30
