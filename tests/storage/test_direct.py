"""Ranges by plain HTTP: what goes over the wire, when fsspec's client is asked, and what wrong answers become."""

import logging
import multiprocessing
import os
import re
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shardkit.core.errors import AccessError, CorruptDataError, NotFoundError, StorageError
from shardkit.storage import store
from shardkit.storage.clients import Client
from shardkit.storage.connections import UnsuitableError
from shardkit.storage.location import Location, locate
from shardkit.storage.patience import DEFAULTS
from shardkit.storage.store import read_range, remove, write_bytes
from tests.storage.fault_server import FaultServer, Manner, serving

DATA = os.urandom(300_000)
GOOD = Manner()
BUSY = Manner(status=503, error_code="SlowDown")
AT: list[Callable[[FaultServer], Location]] = [FaultServer.http, FaultServer.s3]


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardkit.storage.retries.FIRST_WAIT_S", 0.01)
    monkeypatch.setitem(DEFAULTS, "tries", 5)


def fresh() -> dict[str, object]:
    """Return options that give a client of its own."""
    return {"config_kwargs": {"user_agent_extra": str(uuid4())}}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", "-"]
    try:
        made = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as err:
        pytest.skip(f"openssl makes no certificate here: {err}")
    path.write_text(path.read_text() + made.stdout)
    return path


@pytest.mark.parametrize("at", AT)
class TestWhatAnAnswerMayBe:
    def test_ranges_are_slices_over_one_connection(self, at: Callable[[FaultServer], Location]) -> None:
        with serving(DATA) as server:
            for start, stop in ((0, 1), (7, 200_007), (len(DATA) - 1, len(DATA)), (0, len(DATA))):
                assert read_range(at(server), start, stop, expected_size=len(DATA)) == DATA[start:stop]
            assert len(server.requests) == 4
            assert len({request.port for request in server.requests}) == 1
            assert {request.signed for request in server.requests} <= {"", "query"}

    @pytest.mark.parametrize("chunked", [False, True])
    def test_whole_answers_are_sliced_and_told_once(
        self, at: Callable[[FaultServer], Location], chunked: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        with serving(DATA, Manner(whole=True, chunked=chunked)) as server, caplog.at_level(logging.WARNING, "shardkit"):
            for start, stop in ((0, 10), (250_000, 260_000), (len(DATA) - 5, len(DATA))):
                assert read_range(at(server), start, stop) == DATA[start:stop]
            if not chunked:
                with pytest.raises(CorruptDataError, match=r"got 1 of 6"):
                    read_range(at(server), len(DATA) - 1, len(DATA) + 5)
        told = [record.message for record in caplog.records if "ignores ranges" in record.message]
        assert len(told) == 1
        assert "s3cret" not in told[0]

    def test_too_much_to_throw_away_is_an_error(
        self, at: Callable[[FaultServer], Location], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("shardkit.storage.direct.MAX_DISCARDED", 100_000)
        with serving(DATA, Manner(whole=True)) as server:
            assert read_range(at(server), 100_000, 100_010) == DATA[100_000:100_010]
            with pytest.raises(StorageError, match=r"ignores ranges and would send 100,001 bytes .* honours Range"):
                read_range(at(server), 100_001, 100_010)
            assert len(server.requests) == 2

    @pytest.mark.parametrize(
        "wrong",
        [
            Manner(shifted_by=3),
            Manner(fewer_by=3),
            Manner(more_by=3),
            Manner(more_by=3, silent_shift=True),
            Manner(breaks_off_after=50),
            Manner(breaks_off_after=0),
            BUSY,
        ],
    )
    def test_wrong_answers_are_asked_again_then_told(
        self, at: Callable[[FaultServer], Location], wrong: Manner
    ) -> None:
        with serving(DATA, wrong, wrong, GOOD) as server:
            assert read_range(at(server), 1000, 2000, expected_size=len(DATA)) == DATA[1000:2000]
            assert len(server.requests) == 3
        with serving(DATA, wrong) as server, pytest.raises(StorageError, match="several times") as caught:
            read_range(at(server), 1000, 2000, expected_size=len(DATA))
        assert len(server.requests) == 5
        assert str(caught.value).startswith(str(at(server)))
        assert "s3cret" not in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_other_size_than_the_index_says_is_corrupt_data(self, at: Callable[[FaultServer], Location]) -> None:
        expected = r"has 300,000 bytes, its index says 299,999; .*shardkit verify"
        for start in (5, 299_000, 400_000):
            with serving(DATA) as server, pytest.raises(CorruptDataError, match=expected):
                read_range(at(server), start, start + 10, expected_size=299_999)
            assert len(server.requests) == 2  # one answer alone is not believed
        with serving(DATA, Manner(whole=True)) as server, pytest.raises(CorruptDataError, match=expected):
            read_range(at(server), 5, 10, expected_size=299_999)

    @pytest.mark.parametrize("field", ["version", "modified"])
    def test_object_replaced_on_the_way_is_corrupt_data(
        self, at: Callable[[FaultServer], Location], field: str
    ) -> None:
        old, new = (Manner(**({"version": ""} | {field: text})) for text in ('"old"', '"new"'))
        with serving(DATA, old, old, new) as server:
            for start in (0, 100):
                assert read_range(at(server), start, start + 9, expected_size=len(DATA)) == DATA[start : start + 9]
            with pytest.raises(CorruptDataError, match=r"replaced while it was read: .*old.*, now it is .*new"):
                read_range(at(server), 0, 9, expected_size=len(DATA))
            assert read_range(at(server), 0, 9) == DATA[:9]  # nobody's index says what it should be

    def test_missing_and_refused_end_in_the_words_of_fsspecs_client(
        self, at: Callable[[FaultServer], Location]
    ) -> None:
        with serving(DATA, Manner(status=404, error_code="NoSuchKey")) as server:
            with pytest.raises(NotFoundError, match="nothing is stored there"):
                read_range(at(server), 0, 9)
            assert len(server.requests) == 2
        with serving(DATA, Manner(status=403, error_code="AccessDenied")) as server:
            with pytest.raises(AccessError, match="access was refused"):
                read_range(at(server), 0, 9)
            assert len(server.requests) == 2


class TestS3:
    def test_url_is_signed_once_and_again_before_it_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with serving(DATA) as server:
            location = server.s3(**fresh())
            signatures = self._signatures(monkeypatch, location)
            for _ in range(5):
                read_range(location, 0, 9)
            assert len(signatures) == 1
            later = time.monotonic() + 1300
            monkeypatch.setattr("shardkit.storage.signing.time.monotonic", lambda: later)
            read_range(location, 0, 9)
            assert len(signatures) == 2

    @staticmethod
    def _signatures(monkeypatch: pytest.MonkeyPatch, location: Location) -> list[str]:
        filesystem, made = store._REMOTE._clients.get(location).filesystem, []
        sign = filesystem.sign
        monkeypatch.setattr(filesystem, "sign", lambda url, **words: made.append(url) or sign(url, **words))
        return made

    @pytest.mark.parametrize(
        ("bucket", "region", "host"),
        [
            ("one", "eu-west-1", "one.s3.eu-west-1.amazonaws.com"),
            ("one", "us-east-1", "one.s3.amazonaws.com"),
            ("one", "cn-north-1", "one.s3.cn-north-1.amazonaws.com.cn"),
        ],
    )
    def test_urls_of_aws_name_the_region(
        self, monkeypatch: pytest.MonkeyPatch, bucket: str, region: str, host: str
    ) -> None:
        monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
        options = {"key": "abc", "secret": "abc", "client_kwargs": {"region_name": region}}
        location = locate(f"s3://{bucket}/x.tar", options)
        direct = Client(location).direct
        assert direct is not None
        target = direct._targets.get(location)  # no request is made
        assert (target.pool.scheme, target.pool.host) == ("https", host)
        assert target.path.startswith("/x.tar?X-Amz-Algorithm=AWS4-HMAC-SHA256&")
        assert f"%2F{region}%2F" in target.path
        dotted = direct._targets.get(locate("s3://one.two/x.tar", options))
        assert dotted.pool.host.startswith("s3.")
        assert dotted.path.startswith("/one.two/x.tar?")

    @pytest.mark.parametrize(
        "url", ["s3://arn:aws:s3:::x/y", "s3://b--use1-az4--x-s3/y", "s3://b/a/../y", "s3://b/a/./y", "s3://b/y/.."]
    )
    def test_what_has_no_usual_url_is_left_to_s3fs(self, url: str) -> None:
        location = Location("s3", url.removeprefix("s3://"), locate("s3://b", {"key": "a", "secret": "b"}).options_json)
        direct = Client(location).direct
        assert direct is not None
        with pytest.raises(UnsuitableError):
            direct._targets.get(location)

    def test_url_that_ended_early_is_signed_anew(self) -> None:
        with serving(DATA, GOOD, Manner(status=403, error_code="AccessDenied"), GOOD) as server:
            location = server.s3(**fresh())
            for _ in range(3):
                assert read_range(location, 0, 9) == DATA[:9]
        assert [request.signed for request in server.requests] == ["query", "query", "header", "query"]

    def test_store_that_takes_no_signed_urls_is_left_to_s3fs(self) -> None:
        refusal = Manner(status=400, error_code="UnsupportedAlgorithm")
        with serving(DATA, refusal, GOOD, refusal, GOOD, refusal, GOOD) as server:
            location = server.s3(**fresh())
            for _ in range(6):
                assert read_range(location, 0, 9) == DATA[:9]
        assert [request.signed for request in server.requests] == ["query", "header"] * 3 + ["header"] * 3

    @pytest.mark.parametrize(
        "options",
        [
            {"requester_pays": True},
            {"s3_additional_kwargs": {"SSECustomerAlgorithm": "AES256"}},
            {"config_kwargs": {"tcp_keepalive": True}},
            {"config_kwargs": {"s3": {"use_accelerate_endpoint": False}}},
            {"version_aware": True},
        ],
    )
    def test_unusual_options_are_left_to_s3fs(self, options: dict[str, object]) -> None:
        with serving(DATA) as server:
            assert read_range(server.s3(**options), 0, 9) == DATA[:9]
        assert "query" not in {request.signed for request in server.requests}

    def test_anonymous_reads_are_left_to_s3fs(self) -> None:
        with serving(DATA) as server:
            location = locate("s3://bucket/x", {"endpoint_url": server.url, "anon": True})
            assert read_range(location, 0, 9) == DATA[:9]
        assert [request.signed for request in server.requests] == [""]

    @pytest.mark.parametrize("name", ["with space.tar", "naïve+100%25 #1?&=;.tar"])
    def test_odd_names_are_literal(self, s3: Any, name: str) -> None:
        location = locate(f"{s3.url}/{uuid4()}") / name
        write_bytes(location, DATA)
        assert read_range(location, 5, 50) == DATA[5:50]

    def test_object_that_this_process_replaced_is_read_anew(self, s3: Any) -> None:
        location = locate(f"{s3.url}/{uuid4()}")
        for content in (b"old content", b"new content"):
            write_bytes(location, content)
            assert read_range(location, 0, 3, expected_size=11) == content[:3]
            time.sleep(1.05)  # the server's dates are whole seconds
        remove(location)
        with pytest.raises(NotFoundError):
            read_range(location, 0, 3, expected_size=11)

    def test_object_that_another_process_replaced_is_told(self, s3: Any) -> None:
        name = str(uuid4())
        location = locate(f"{s3.url}/{name}")
        write_bytes(location, DATA)
        assert read_range(location, 0, 3, expected_size=len(DATA)) == DATA[:3]
        time.sleep(1.05)
        (s3.folder / name).write_bytes(DATA[::-1])
        time.sleep(1.05)  # the server looks at its folder once a second
        with pytest.raises(CorruptDataError, match="replaced while it was read"):
            read_range(location, 0, 3, expected_size=len(DATA))
        (s3.folder / name).write_bytes(DATA[:1000])
        time.sleep(1.05)
        with pytest.raises(CorruptDataError, match="has 1,000 bytes, its index says 300,000"):
            read_range(location, 0, 3, expected_size=len(DATA))


class TestConnections:
    @pytest.mark.parametrize("at", AT)
    def test_nothing_secret_is_logged(
        self, at: Callable[[FaultServer], Location], caplog: pytest.LogCaptureFixture
    ) -> None:
        with serving(DATA, BUSY, Manner(breaks_off_after=9), GOOD) as server:
            location = at(server)
            with caplog.at_level(logging.DEBUG, "urllib3"), caplog.at_level(logging.DEBUG, "shardkit"):
                read_range(location, 0, 100)
        assert "x.tar?" in caplog.text
        assert not re.search(r"s3cret|ignature=[^…]|redential=[^…]", caplog.text)

    def test_sixty_four_threads_share_a_bounded_pool(self, s3: Any) -> None:
        location = locate(f"{s3.url}/{uuid4()}")
        write_bytes(location, DATA)

        def read(number: int) -> bool:
            start = number * 97 % 200_000
            return read_range(location, start, start + 5000, expected_size=len(DATA)) == DATA[start : start + 5000]

        with ThreadPoolExecutor(64) as threads:
            assert all(threads.map(read, range(640)))

    def test_pool_keeps_its_slots_through_failures(self) -> None:
        bad = [Manner(breaks_off_after=20), Manner(shifted_by=1), BUSY, Manner(whole=True)]
        with serving(DATA, *(bad * 20), GOOD) as server:
            location = server.s3(config_kwargs={"max_pool_connections": 2, "user_agent_extra": str(uuid4())})
            for _ in range(40):
                assert read_range(location, 10, 1000) == DATA[10:1000]

    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python 3.12: beside threads, as is meant
    def test_fork_amid_reads_shares_no_connection(self) -> None:
        with serving(DATA) as server:
            location, ended = server.s3(**fresh()), threading.Event()

            def read_on() -> bool:
                while not ended.is_set():
                    if read_range(location, 5, 5005) != DATA[5:5005]:
                        return False
                return True

            with ThreadPoolExecutor(4) as threads:
                reading = [threads.submit(read_on) for _ in range(4)]
                try:
                    with multiprocessing.get_context("fork").Pool(2) as pool:
                        got = pool.starmap_async(read_range, [(location, i, i + 9000) for i in range(20)]).get(30)
                finally:
                    ended.set()
                assert got == [DATA[i : i + 9000] for i in range(20)]
                assert all(future.result() for future in reading)

    def test_proxy_of_the_environment_is_used_and_bypassed_as_botocore_does(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("NO_PROXY", "no_proxy", "http_proxy"):
            monkeypatch.delenv(name, raising=False)
        with serving(DATA) as server:
            monkeypatch.setenv("HTTP_PROXY", server.url.replace("//", "//user:p%40ss@"))
            beyond = locate(
                "s3://bucket/x", {"endpoint_url": "http://store.invalid", "key": "a", "secret": "b"} | fresh()
            )
            assert read_range(beyond, 0, 9) == DATA[:9]
            assert server.requests[-1].signed == "query"
            assert server.requests[-1].proxy == "Basic " + b64encode(b"user:p@ss").decode()
            monkeypatch.setenv("NO_PROXY", "store.invalid")
            passed_by = locate(
                "s3://bucket/x", {"endpoint_url": "http://store.invalid", "key": "a", "secret": "b"} | fresh()
            )
            with pytest.raises(StorageError, match=r"no such host: http://store\.invalid"):
                read_range(passed_by, 0, 9)

    @pytest.mark.parametrize("how", ["variable", "option"])
    def test_certificates_are_those_that_botocore_trusts(
        self, certificate: Path, how: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = {"client_kwargs": {"verify": str(certificate)}} if how == "option" else {}
        with serving(DATA, certificate=str(certificate)) as server:
            with pytest.raises(StorageError, match="no TLS connection to https://127"):
                read_range(server.s3(**fresh()), 0, 9)
            if how == "variable":
                monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
            location = server.s3(**fresh(), **client)
            assert read_range(location, 0, 9) == DATA[:9]
            assert [request.signed for request in server.requests] == ["query"]

    def test_certificates_of_plain_https_are_the_systems(
        self, certificate: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with serving(DATA, certificate=str(certificate)) as server:
            with pytest.raises(StorageError, match="no TLS connection to 127"):
                read_range(server.http(), 0, 9)
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            assert read_range(server.http(use_listings_cache=False), 0, 9) == DATA[:9]  # a client of its own

    def test_unverified_tls_is_left_to_s3fs(self, certificate: Path) -> None:
        with serving(DATA, certificate=str(certificate)) as server:
            location = server.s3(**fresh(), client_kwargs={"verify": False})
            assert read_range(location, 0, 9) == DATA[:9]
        assert [request.signed for request in server.requests] == ["header"]


class TestHttp:
    @pytest.mark.parametrize("options", [{"headers": {"X-Token": "a"}}, {"client_kwargs": {"trust_env": False}}])
    def test_unusual_options_are_left_to_fsspec(self, options: dict[str, object]) -> None:
        with serving(DATA) as server:
            assert read_range(server.http(**options), 0, 9) == DATA[:9]
            with pytest.raises(CorruptDataError, match="got 0 of 9"):
                read_range(server.http(**options), 400_000, 400_009)
