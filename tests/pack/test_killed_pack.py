"""Law L8: a pack that is killed anywhere leaves no dataset or a whole one, and the same command finishes it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import ROOT

Run = Callable[[Sequence[str], Path, int | None], tuple[int, int]]
NUM_KILLS = 50
OPTIONS = ("--shard-size", "60KB", "--name", "same", "--on-error", "skip")


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return what lies below a folder, hidden files and empty folders with it."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short recordings, one that is broken and one file that is none."""
    folder = tmp_path_factory.mktemp("in")
    rng = np.random.default_rng(0)
    for i in range(16):
        soundfile.write(folder / f"{i:02d}.wav", rng.integers(-9000, 9000, 8000 + 500 * i).astype(np.int16), 8000)
    (folder / "05.wav").write_bytes(b"RIFF nonsense")
    (folder / "notes.txt").write_bytes(b"no recording")
    return folder


@pytest.fixture(scope="module")
def forked() -> Iterator[Run]:
    """Runs commands in forks of a process that has imported what they need, and kills them where it is told."""
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.pack.killing"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    )

    def run(arguments: Sequence[str], output: Path, kill_at: int | None) -> tuple[int, int]:
        told = {"arguments": list(map(str, arguments)), "output": str(output), "kill_at": kill_at}
        driver.stdin.write(json.dumps(told) + "\n")
        driver.stdin.flush()
        return tuple(json.loads(driver.stdout.readline()))

    with driver:
        yield run
        driver.stdin.close()


def is_whole_or_none(output: Path, whole: dict[str, bytes | None]) -> bool:
    """Return whether a folder holds no dataset, or the whole one, maybe with what is still to be removed."""
    if not (output / "shardkit.json").exists():
        return True
    found = tree(output)
    return all(found[name] == content for name, content in whole.items())


def test_killed_at_fifty_instants_and_run_again_it_is_as_if_uninterrupted(
    source: Path, tmp_path: Path, forked: Run
) -> None:
    def command(output: Path, workers: int) -> list[str]:
        return ["pack", str(source), str(output), "--workers", str(workers), *OPTIONS]

    status, num_events = forked(command(tmp_path / "clean", 1), tmp_path / "clean", None)
    whole = tree(tmp_path / "clean")
    assert (status, len([name for name in whole if name.endswith(".tar")])) == (0, 6)
    assert sorted(name for name in whole if "/" not in name) == ["report.jsonl", "shardkit.json", "train"]
    rng, killed = np.random.default_rng(0), 0
    for i in range(NUM_KILLS):  # one in each fiftieth of the run
        output, instant = tmp_path / str(i), int((i + rng.uniform()) * num_events / NUM_KILLS)
        for kill_at in (instant, int(rng.integers(num_events))) if i % 4 == 0 else (instant,):
            status, _ = forked(command(output, int(rng.integers(1, 4))), output, kill_at)
            killed += status == -signal.SIGKILL
            assert is_whole_or_none(output, whole), f"killed at {instant}"
        if (output / "shardkit.packing").exists() or not (output / "shardkit.json").exists():
            status, _ = forked(command(output, int(rng.integers(1, 4))), output, None)
            assert status == 0, f"killed at {instant}"
        assert tree(output) == whole, f"killed at {instant}"
    assert killed >= NUM_KILLS  # a second run has less to do, and may come to its end before its instant


PROGRAM = "from shardkit.cli.main import main; from shardkit.pack import engine; engine.PROCESS_BYTES = 1; main()"


def processes(parent: int) -> list[int]:
    """Return the worker processes of a run."""
    try:
        return list(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()))
    except FileNotFoundError:
        return []


@pytest.mark.parametrize(
    "how", ["group", "worker", "SIGTERM", "SIGINT"], ids=["all killed", "a worker killed", "SIGTERM", "SIGINT"]
)
def test_processes_ended_at_random_instants_lose_nothing(source: Path, tmp_path: Path, how: str) -> None:
    def begin(output: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", PROGRAM, "pack", source, output, "--workers", "2", *OPTIONS]
        return subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)

    assert begin(tmp_path / "clean").wait() == 0
    rng, output = np.random.default_rng(len(how)), tmp_path / "out"
    for num_records in (0, 3):  # ended when so many shards are done, and a moment later
        run = begin(output)
        while run.poll() is None and len(list(output.glob("train/*.done"))) < num_records:
            time.sleep(0.001)
        while run.poll() is None and not processes(run.pid):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05))
        workers = processes(run.pid)
        if how == "worker" and workers:
            os.kill(int(rng.choice(workers)), signal.SIGKILL)
        elif run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL) if how == "group" else run.send_signal(signal.Signals[how])
        run.wait()
        wait_for_end(workers)
        if (output / "shardkit.json").exists():
            break
    if (output / "shardkit.packing").exists() or not (output / "shardkit.json").exists():
        assert begin(output).wait() == 0
    assert tree(output) == tree(tmp_path / "clean")


def wait_for_end(workers: Sequence[int], *, limit_s: float = 60) -> None:
    deadline = time.monotonic() + limit_s
    while any(Path(f"/proc/{worker}/exe").exists() for worker in workers):
        assert time.monotonic() < deadline, "a worker outlives its parent"
        time.sleep(0.01)
