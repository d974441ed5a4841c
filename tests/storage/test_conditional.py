"""Conditional writes: of several writers at one time one succeeds, locally and on S3 that takes conditions."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import s3fs

from shardkit.storage.location import Location, locate
from shardkit.storage.store import create, list_files, read_bytes, replace, write_bytes
from tests.conftest import S3

WRITERS = 4


@pytest.fixture(scope="module")
def strict_s3() -> Iterator[Location]:
    """A bucket of moto's server, which honours If-None-Match and If-Match, as AWS does and rclone does not."""
    if importlib.util.find_spec("moto") is None:
        pytest.skip("needs moto: pip install 'moto[server]'")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        options = {"endpoint_url": f"http://127.0.0.1:{port}", "key": "abc", "secret": "def"}
        s3fs.S3FileSystem(**options, skip_instance_cache=True).mkdir("strict")
        yield locate("s3://strict/folder", options)
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(params=["local", "S3", "S3 that ignores conditions", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "local":
        return locate(tmp_path / "folder")
    if request.param == "memory":
        return locate(f"memory://conditional/{tmp_path.name}")
    if request.param == "S3":
        return request.getfixturevalue("strict_s3") / tmp_path.name
    server: S3 = request.getfixturevalue("s3")
    return locate(f"{server.url}/conditional/{tmp_path.name}")


def test_only_what_is_as_believed_is_written(folder: Location) -> None:
    place = folder / "a"
    assert create(place, b"1")
    assert not create(place, b"2")
    assert create(place, b"1")  # a request whose answer was lost, once more
    assert not replace(place, b"3", is_old=lambda data: data == b"2")
    assert read_bytes(place) == b"1"
    assert replace(place, b"3", is_old=lambda data: data == b"1")
    assert replace(place, b"3", is_old=lambda data: data == b"1")  # once more
    assert read_bytes(place) == b"3"
    assert list_files(folder) == [("a", 1)]


@pytest.mark.parametrize("kind", ["local", "S3"])
def test_of_writers_at_one_time_one_succeeds(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    root = locate(tmp_path) if kind == "local" else request.getfixturevalue("strict_s3") / tmp_path.name
    barrier = Barrier(WRITERS)
    base = b"of before"

    def both(writer: int, place: Location) -> tuple[bool, bool]:
        mine = bytes([writer]) * 5000
        barrier.wait()
        created = create(place / "new", mine)
        barrier.wait()
        return created, replace(place / "old", mine, is_old=lambda data: data == base)

    with ThreadPoolExecutor(WRITERS) as pool:
        for number in range(8):
            place = root / str(number)
            write_bytes(place / "old", base)
            outcomes = list(pool.map(both, range(WRITERS), [place] * WRITERS))
            for which, name in enumerate(("new", "old")):
                (winner,) = (writer for writer in range(WRITERS) if outcomes[writer][which])
                assert read_bytes(place / name) == bytes([winner]) * 5000


def test_a_file_system_without_links_takes_new_files_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)  # as on exFAT, which can't be mounted here
    assert create(locate(tmp_path / "a"), b"1")
    assert not create(locate(tmp_path / "a"), b"2")
    assert (tmp_path / "a").read_bytes() == b"1"
