"""Two sources of very different sizes, and jobs of real processes under torchrun."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from shardkit.synth import BurstsOptions, synthesise

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60.0
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",  # torchrun would set it too, with a warning
    "GLOO_SOCKET_IFNAME": "lo",  # whatever the host's name resolves to
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # or restarted ranks look for the addresses of dead ones (torch 2.14)
}
RENDEZVOUS = "--rdzv-backend c10d --rdzv-endpoint 127.0.0.1:0 --local-addr 127.0.0.1"


class Job:
    """Processes of a script under torchrun. Each writes its process number to the folder ``pids``."""

    def __init__(self, script: str, num_processes: int, folder: Path, *args: Any, max_restarts: int = 0) -> None:
        self.folder = folder
        self._pids = folder / "pids"
        self._pids.mkdir()
        env = os.environ | ENVIRONMENT
        launch = f"-m torch.distributed.run --nproc-per-node {num_processes} --max-restarts {max_restarts} {RENDEZVOUS}"
        command = [sys.executable, *launch.split(), "--monitor-interval", "0.1", script, folder, *args]
        with (folder / "stderr").open("w") as stderr:
            self._torchrun = subprocess.Popen([str(part) for part in command], env=env, cwd=ROOT, stderr=stderr)
        self._stderr = folder / "stderr"

    def processes(self) -> list[int]:
        """The numbers of all processes so far; of those that were restarted, too."""
        return [int(path.name) for path in self._pids.iterdir()]

    def wait(self) -> int:
        """Return torchrun's exit status."""
        return self._torchrun.wait(LIMIT_S)

    def finish(self) -> None:
        """Wait for the job, which is to succeed."""
        assert self.wait() == 0, self._stderr.read_text()[-3000:]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        limit = time.monotonic() + LIMIT_S
        while not condition():
            assert self._torchrun.poll() is None, self._stderr.read_text()[-3000:]
            assert time.monotonic() < limit, "the job came no further"
            time.sleep(0.005)

    def kill(self) -> None:
        """SIGKILL for torchrun first, so that it can't clean up, then for each of its processes."""
        if self._torchrun.poll() is None:
            for pid in (self._torchrun.pid, *self.processes()):
                kill(pid)
            self._torchrun.wait(LIMIT_S)


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Datasets by name: one of 90 rows, one of 3, which is fewer than there are lanes."""
    folder = tmp_path_factory.mktemp("sources")
    return {name: _packed(folder / name, num_files) for name, num_files in (("large", 90), ("small", 3))}


def _packed(folder: Path, num_files: int) -> Path:
    options = BurstsOptions(num_files=num_files, min_duration_s=0.6, max_duration_s=1.2, sample_rate=8_000)
    (written,) = synthesise(folder / "recordings", sources=["bursts"], bursts=options)
    dataset = folder / "dataset"
    pack(locate(written.manifest), locate(dataset), inputs=InputOptions(label="label"), options=PackOptions(workers=1))
    return dataset


@pytest.fixture(scope="session")
def start_job(sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Job]]:
    """Starts jobs; what is left of them when the tests end is killed."""
    jobs: list[Job] = []

    def start(script: ModuleType, num_processes: int, *args: Any, **options: Any) -> Job:
        folder = tmp_path_factory.mktemp("job")
        jobs.append(Job(str(script.__file__), num_processes, folder, *sources.values(), *args, **options))
        return jobs[-1]

    yield start
    for job in jobs:
        job.kill()
