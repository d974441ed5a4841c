"""Starts one measurement in a system's environment, watches the memory of all its processes, and ends them all."""

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.bench.systems.processes import memory, session

ROOT = Path(__file__).parents[3]
LIMIT_S = 240.0  # of one process that measures; far beyond what it takes
_WATCH_S = 0.1
_WATCH_SHARE = 20  # looking at memory takes the kernel time: at most a twentieth of one core


class RunError(Exception):
    """A measurement failed; the message is the last line that it wrote."""


def run(
    python: Path, request: Mapping[str, Any], *, environment: Mapping[str, str] | None = None, limit_s: float = LIMIT_S
) -> dict[str, Any]:
    """Return what a task of ``tools.bench.systems.run`` found, and the peak memory of all its processes.

    Raises:
        RunError: It failed, or took longer than ``limit_s``.
    """
    with tempfile.TemporaryDirectory(prefix="shardkit-bench-") as scratch:
        result, log = Path(scratch) / "result.json", Path(scratch) / "log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [str(python), "-m", "tools.bench.systems.run", json.dumps(request), str(result)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=_environment(environment or {}),
                start_new_session=True,  # so that all it started can be watched, and ended
            )
        watch = _Watch(process.pid)
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise RunError(f"not done after {limit_s:.0f} s") from None
        finally:
            watch.stop()
            _end(process)
        if process.returncode or not result.exists():
            lines = log.read_text(errors="replace").strip().splitlines()
            raise RunError(lines[-1] if lines else f"ended with status {process.returncode}")
        return json.loads(result.read_text()) | {"peak_bytes": watch.peak, "private_bytes": watch.private}


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a measured process."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Without PASSIVE the threads of torch spin when they wait for each other: where another process has their core,
    # stacking a batch takes 200 ms rather than 10.
    fixed = {
        "PYTHONPATH": path,
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONWARNINGS": "ignore",
        "TOKENIZERS_PARALLELISM": "0",
    }
    return os.environ | fixed | more


def _end(process: subprocess.Popen[bytes]) -> None:
    """End all processes of the session, those that outlived the first one too."""
    for other in session(process.pid):
        try:
            os.kill(other, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


class _Watch:
    """A thread that adds up the memory of a session's processes, again and again."""

    def __init__(self, leader: int) -> None:
        self.peak = self.private = 0
        self._leader, self._done = leader, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        pause = 0.0
        while not self._done.wait(pause):
            began = time.perf_counter()
            found = [memory(process) for process in session(self._leader)]
            self.peak = max(self.peak, sum(total for total, _ in found))
            self.private = max(self.private, sum(private for _, private in found))
            pause = max(_WATCH_S, _WATCH_SHARE * (time.perf_counter() - began))
