"""S3 for real: large uploads, and what goes wrong with endpoints, credentials and buckets."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shardkit.core.errors import AccessError, InputError, NotFoundError, ShardkitError, StorageError
from shardkit.storage.clients import Clients
from shardkit.storage.location import Location, locate
from shardkit.storage.store import (
    check_writable,
    exists,
    list_files,
    publish,
    read_bytes,
    read_range,
    size,
    write_bytes,
)

ACTIONS: dict[str, Callable[[Location], object]] = {
    "read_bytes": read_bytes,
    "read_range": lambda location: read_range(location, 0, 1),
    "size": size,
    "exists": exists,
    "list_files": list_files,
    "write_bytes": lambda location: write_bytes(location, b"x"),
    "check_writable": check_writable,
}
SECONDS = 20  # for an error that takes a moment on an idle machine, and minutes without bounds of our own
NOWHERE = "http://127.0.0.1:9"  # the discard port, where nothing listens
UPLOAD_FOR_EVER = """
import itertools, sys
from shardkit.storage.location import locate
from shardkit.storage.store import publish, write_bytes
for number in itertools.count():
    with open(sys.argv[1], "wb") as file:
        file.write(bytes([number % 256]) * 40_000_000)
    publish(sys.argv[1], locate(sys.argv[2]))
    print(number, flush=True)
"""


def fails(action: str, location: Location) -> tuple[ShardkitError, float]:
    started = time.monotonic()
    with pytest.raises(ShardkitError) as caught:
        ACTIONS[action](location)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(location))
    return caught.value, time.monotonic() - started


def at(s3: Any, **options: object) -> Location:
    return locate(f"{s3.url}/x", options)


@pytest.mark.parametrize("action", ACTIONS)
class TestFailures:
    def test_wrong_port(self, s3: Any, action: str) -> None:
        error, seconds = fails(action, at(s3, endpoint_url=NOWHERE))
        assert isinstance(error, StorageError)
        assert not isinstance(error, AccessError | NotFoundError)
        assert f"can't connect to {NOWHERE}: Connect call failed" in str(error)
        assert "AWS_ENDPOINT_URL or --storage-option endpoint_url=" in str(error)
        assert seconds < SECONDS

    def test_wrong_host(self, s3: Any, action: str) -> None:
        error, seconds = fails(action, at(s3, endpoint_url="http://no-such-host.invalid"))
        assert "no such host: http://no-such-host.invalid; check AWS_ENDPOINT_URL" in str(error)
        assert seconds < SECONDS

    def test_wrong_secret(self, s3: Any, action: str) -> None:
        error, seconds = fails(action, at(s3, key=s3.endpoint.access_key, secret="wrong"))
        assert isinstance(error, AccessError)
        assert "AWS_SECRET_ACCESS_KEY" in str(error)
        assert seconds < SECONDS

    def test_wrong_key(self, s3: Any, action: str) -> None:
        error, seconds = fails(action, at(s3, key="wrong", secret="wrong"))
        assert isinstance(error, AccessError)
        assert "AWS_ACCESS_KEY_ID" in str(error)
        assert seconds < SECONDS

    def test_no_credentials(self, s3: Any, action: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "none"))
        error, seconds = fails(action, at(s3, config_kwargs={"user_agent_extra": str(uuid4())}))  # a client of its own
        assert isinstance(error, AccessError)
        assert "no credentials were found; set AWS_ACCESS_KEY_ID" in str(error)
        assert seconds < SECONDS

    def test_no_such_profile(self, s3: Any, action: str) -> None:
        error, seconds = fails(action, at(s3, profile="nobody"))
        assert isinstance(error, AccessError)
        assert "nobody" in str(error)
        assert seconds < SECONDS

    def test_no_such_bucket(self, s3: Any, action: str) -> None:
        location = locate("s3://no-such-bucket/x")
        if action == "exists":
            assert not exists(location)
            return
        error, seconds = fails(action, location)
        assert isinstance(error, NotFoundError)
        assert f"no bucket 'no-such-bucket' at {s3.endpoint.url}; create it" in str(error)
        assert seconds < SECONDS

    def test_no_bucket_name(self, s3: Any, action: str) -> None:
        error, seconds = fails(action, locate("s3://Not_A:Bucket!/x"))
        assert isinstance(error, InputError)
        assert "not a valid name" in str(error)
        assert seconds < SECONDS

    def test_endpoint_that_is_no_url(self, s3: Any, action: str) -> None:
        error, seconds = fails(action, at(s3, endpoint_url="127.0.0.1:9000"))
        assert isinstance(error, InputError)
        assert "an endpoint is a whole URL" in str(error)
        assert seconds < SECONDS


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_endpoint_of_the_environment_is_used(s3: Any, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv(variable, s3.endpoint.url)
    location = at(s3, config_kwargs={"user_agent_extra": variable})  # a client of its own
    write_bytes(location, b"x")
    assert (s3.folder / "x").read_bytes() == b"x"
    assert read_bytes(location) == b"x"


def test_options_go_before_the_environment(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    location = at(s3, endpoint_url=s3.endpoint.url, key=s3.endpoint.access_key, secret=s3.endpoint.secret_key)
    write_bytes(location, b"y")
    assert read_bytes(location) == b"y"


def test_large_file_is_published_in_parts(s3: Any, tmp_path: Path) -> None:
    source = tmp_path / "shard.tar"
    content = os.urandom(1_000_000) * 70
    source.write_bytes(content)
    target = locate(s3.url) / str(uuid4()) / "shard.tar"
    publish(source, target)
    assert not source.exists()
    assert size(target) == len(content)
    assert read_range(target, 33_554_400, 33_554_500) == content[33_554_400:33_554_500]
    assert read_bytes(target) == content


def test_killed_upload_leaves_the_old_object_or_the_new(s3: Any, tmp_path: Path) -> None:
    target = locate(s3.url) / str(uuid4()) / "shard.tar"
    command = [sys.executable, "-c", UPLOAD_FOR_EVER, str(tmp_path / "shard.tar"), target.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as uploader:
        assert uploader.stdout is not None
        uploader.stdout.readline()
        time.sleep(0.15)
        uploader.send_signal(signal.SIGKILL)
    content = read_bytes(target)
    assert content == content[:1] * 40_000_000
    assert [file.name for file in list_files(target.parent)] == ["shard.tar"]


def test_object_cut_off_behind_the_servers_back_is_told(s3: Any) -> None:
    target = locate(s3.url) / str(uuid4()) / "shard.tar"
    write_bytes(target, bytes(1000))
    os.truncate(s3.folder / target.parent.name / "shard.tar", 500)
    time.sleep(1.1)  # the server looks at its folder once a second
    with pytest.raises(ShardkitError, match=r"bytes 400 to 600, got .* 500 bytes; it was cut off"):
        read_range(target, 400, 600)


def test_one_client_serves_all_locations_of_a_protocol_and_options(s3: Any) -> None:
    clients = Clients()
    assert clients.get(locate(s3.url)) is clients.get(locate(f"{s3.url}/x/y"))
    assert clients.get(locate(s3.url)) is not clients.get(at(s3, requester_pays=True))
