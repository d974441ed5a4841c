"""What ``shardkit pack`` costs beside the FLAC encoder alone.

    python -m tools.bench.packing FOLDER [--music F] [--digits F] [--workers 2] [--markdown FILE]

Recordings, made in FOLDER once: the music cut into mono WAVs of 10 s, and the digits, short WAVs, as they are. Every
system runs in processes of its own; its processor time is that of all of them, the start of Python included, except
for the encoder alone and the parts, which are measured on samples or files in memory.
"""

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import soundfile

from shardkit.audio.blocks import read_blocks
from shardkit.audio.encode import FlacEncoder
from shardkit.audio.probe import inspect, read_file
from shardkit.format.tar import TarWriter
from tools.bench.packing_parts import LEVEL, parts
from tools.bench.tables import Table, megabytes, show, versions

CLIP_S = 10
_STARTED = "import shardkit.cli.main, shardkit.cli.pack, shardkit.pack.run, shardkit.cli.progress, shardkit.cli.summary"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one system took for all recordings."""

    cpu_s: float
    wall_s: float
    peak_bytes: int = 0


def main() -> None:
    """Measure, print, and write Markdown if asked."""
    arguments = _arguments()
    if arguments.job:
        print(json.dumps(_JOBS[arguments.job](arguments.folder / "input", arguments.workers)))
        return
    source = make_recordings(arguments.folder / "input", arguments.music, arguments.digits)
    num_files = sum(1 for _ in source.rglob("*.wav"))
    rounds = [_round(arguments.folder, arguments.workers) for _ in range(arguments.rounds)]
    tables = [_systems(rounds, num_files), parts(source, arguments.rounds)]
    heading = (
        f"# Packing {num_files:,} recordings, {megabytes(_size(source))} MB of WAV, on {arguments.workers} workers"
    )
    print(f"\n{heading}")
    show(tables, arguments.markdown, used=versions("soundfile"), heading=heading)


def make_recordings(folder: Path, music: Path, digits: Path) -> Path:
    """Return the folder of the recordings; they are made if it is not there."""
    if folder.is_dir():
        return folder
    partial = folder.with_name("input.partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "music").mkdir(parents=True)
    for path in sorted(music.glob("*.ogg")):
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        mono = samples.mean(axis=1)
        for number in range(len(mono) // (CLIP_S * rate)):
            clip = mono[number * CLIP_S * rate : (number + 1) * CLIP_S * rate]
            soundfile.write(partial / "music" / f"{path.stem}_{number:03d}.wav", clip, rate, subtype="PCM_16")
    shutil.copytree(digits, partial / "digits")
    return partial.rename(folder)


def _round(folder: Path, workers: int) -> dict[str, Cost]:
    out = folder / "packed"
    pack = [sys.executable, "-m", "shardkit.cli.main", "pack", str(folder / "input"), str(out)]
    commands = {
        f"shardkit pack --workers {workers}": [*pack, "--workers", str(workers)],
        "shardkit pack --workers 1": [*pack, "--workers", "1"],
        f"shardkit pack --no-loudness --workers {workers}": [*pack, "--no-loudness", "--workers", str(workers)],
        f"shardkit pack --codec wav --workers {workers}": [*pack, "--codec", "wav", "--workers", str(workers)],
        "start of Python, imports": [sys.executable, "-c", _STARTED],
    }
    costs = {
        "encoder alone": _job("floor", folder, 1),
        f"encoder alone, {workers} processes": _job("processes", folder, workers),
        f"encoder alone, {workers} threads": _job("threads", folder, workers),
        "read, encode, tar; nothing else": _job("bare", folder, 1),
    }
    for name, command in commands.items():
        shutil.rmtree(out, ignore_errors=True)
        costs[name] = _command(command)
    shutil.rmtree(out, ignore_errors=True)
    return costs


def _job(job: str, folder: Path, workers: int) -> Cost:
    command = [sys.executable, "-m", "tools.bench.packing", str(folder), "--job", job, "--workers", str(workers)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return Cost(**found)


def _command(command: Sequence[str]) -> Cost:
    """Return what a command took, its children included."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _tree_bytes(process.pid))
        time.sleep(0.05)
    wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}")
    return Cost(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall_s, peak)


def _tree_bytes(pid: int) -> int:
    """Return the resident memory of a process and its children; 0 where Linux does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    resident = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")), 0)
    return resident * 1024 + sum(_tree_bytes(int(child)) for child in children)


def _systems(rounds: Sequence[dict[str, Cost]], num_files: int) -> Table:
    table = Table(
        "What each system takes, medians; ratios to the encoder alone within rounds",
        ("system", "CPU s", "CPU ms / file", "of the encoder's, CPU", "wall s", "files / s", "peak MB"),
    )
    for name in rounds[0]:
        costs = [costs[name] for costs in rounds]
        cpu, wall = median(cost.cpu_s for cost in costs), median(cost.wall_s for cost in costs)
        share = median(costs["encoder alone"].cpu_s / costs[name].cpu_s for costs in rounds)
        peak = max(cost.peak_bytes for cost in costs)
        table.add(
            name,
            f"{cpu:.2f}",
            f"{1e3 * cpu / num_files:.3f}",
            f"{share:.2f}",
            f"{wall:.2f}",
            f"{num_files / wall:,.0f}",
            megabytes(peak) if peak else "",
        )
    return table


def _samples(source: Path) -> list[tuple[Any, int]]:
    return [soundfile.read(path, dtype="int16", always_2d=True) for path in sorted(source.rglob("*.wav"))]


def _encode(recording: tuple[Any, int]) -> int:
    samples, rate = recording
    encoder = FlacEncoder(sample_rate=rate, channels=samples.shape[1], bit_depth=16, level=LEVEL)
    encoder.write(samples)
    return len(encoder.finish())


def _floor(source: Path, _workers: int) -> dict[str, float]:
    recordings = _samples(source)
    return _taken(lambda: [_encode(recording) for recording in recordings])


def _floor_threads(source: Path, workers: int) -> dict[str, float]:
    recordings = _samples(source)
    with ThreadPoolExecutor(workers) as executor:
        return _taken(lambda: list(executor.map(_encode, recordings)))


def _floor_processes(source: Path, workers: int) -> dict[str, float]:
    """Each of the processes takes every n-th recording; forked, so that they have the samples without a copy."""
    recordings = _samples(source)
    context = multiprocessing.get_context("fork")

    def share(first: int) -> None:
        for recording in recordings[first::workers]:
            _encode(recording)

    def run() -> None:
        processes = [context.Process(target=share, args=(first,)) for first in range(workers)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()

    return _taken(run)


def _bare(source: Path, _workers: int) -> dict[str, float]:
    """Read, decode, encode and write a tar: what is left of packing without loudness, hashes, tables and index."""
    paths = sorted(source.rglob("*.wav"))

    def run() -> None:
        with Path(os.devnull).open("wb") as sink:
            tar = TarWriter(sink)
            for path in paths:
                data = read_file(path)
                member = inspect(data, checks=False)
                encoder = FlacEncoder(
                    sample_rate=member.facts.sample_rate, channels=member.facts.channels, bit_depth=16, level=LEVEL
                )
                for block in read_blocks(member, data):
                    encoder.write(block)
                tar.add(f"{path.stem}.flac", encoder.finish())

    return _taken(run)


def _taken(work: Callable[[], object]) -> dict[str, float]:
    before, began = _cpu_s(), time.perf_counter()
    work()
    return {"cpu_s": _cpu_s() - before, "wall_s": time.perf_counter() - began}


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


_JOBS = {"floor": _floor, "threads": _floor_threads, "processes": _floor_processes, "bare": _bare}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.wav"))


def _arguments() -> argparse.Namespace:
    data = os.environ.get("SHARDKIT_TEST_DATA", "../shared/data")
    parser = argparse.ArgumentParser(description="What packing costs beside the FLAC encoder alone.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--music", type=Path, default=Path(data, "music"))
    parser.add_argument("--digits", type=Path, default=Path(data, "digits"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--job", choices=_JOBS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
