"""What a pack loses that is ended at random instants, and how much longer it takes: killed, interrupted, out of disk.

    python -m tools.bench.kills [--data FOLDER] [--write docs/pack-at-scale.md]

packs real recordings by the command line in processes of its own, ends them at instants that follow from a seed, gives
the same command again until it is done, and compares the dataset with one that nothing disturbed, byte for byte. With
``--write`` the table in the page is replaced; what stands around it stays.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np

from tools.bench.tables import Table, machine

BEGIN, END = "<!-- written by tools.bench.kills -->", "<!-- end -->"
PROGRAM = "from shardkit.cli.main import main; from shardkit.pack import engine; engine.PROCESS_BYTES = 1; main()"
COLUMNS = ("what ends it", "ended", "files lost", "files that differ", "left behind", "median s", "undisturbed s")
Run = subprocess.Popen[bytes]
Tree = dict[str, bytes | None]


def begin(source: Path, output: Path, *options: str) -> Run:
    """Start to pack by two processes."""
    command = [sys.executable, "-c", PROGRAM, "pack", str(source), str(output), "--name=same", "--shard-size=1MB"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*command, "--workers=2", *options], start_new_session=True, **quiet)


def tree(folder: Path) -> Tree:
    """Return what lies below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def children(parent: int) -> list[int]:
    """Return the processes that one has started."""
    try:
        return list(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()))
    except FileNotFoundError:
        return []


def end_by(how: str) -> Callable[[Run, np.random.Generator], None]:
    """Return what ends a run."""

    def end(run: Run, rng: np.random.Generator) -> None:
        if how == "SIGKILL of all processes":
            os.killpg(run.pid, signal.SIGKILL)
        elif how == "SIGKILL of one worker":
            workers = children(run.pid)
            os.kill(int(rng.choice(workers)) if workers else run.pid, signal.SIGKILL)
        else:
            run.send_signal(signal.Signals[how])

    return end


class Bench:
    """Recordings, the dataset that they make undisturbed, and a folder for the others."""

    def __init__(self, source: Path, scratch: Path, *, times: int) -> None:
        self.source, self.scratch, self.times = source, scratch, times
        self.rng = np.random.default_rng(0)
        took = []
        for i in range(3):
            began = time.perf_counter()
            assert begin(source, scratch / f"clean{i}").wait() == 0
            took.append(time.perf_counter() - began)
        self.clean, self.clean_s = tree(scratch / "clean0"), median(took)

    def measure(self, table: Table, how: str) -> None:
        """End packs at random instants of their run, finish them, and add a row."""
        end, found = end_by(how), Found(self.clean)
        while found.ended < self.times:
            output = self.scratch / "out"
            began = time.perf_counter()
            run = begin(self.source, output)
            time.sleep(self.rng.uniform(0.2, 1.0) * self.clean_s)
            if run.poll() is None:
                end(run, self.rng)
                found.ended += 1
            if run.wait() != 0:
                assert begin(self.source, output).wait() == 0
            found.note(output, time.perf_counter() - began)
        table.add(how, *found.cells(), f"{self.clean_s:.1f}")

    def measure_disk(self, table: Table) -> None:
        """Let the disk be full at random fills, make it larger, and add a row; none without leave to mount."""
        found, num_bytes = Found(self.clean), sum(len(data) for data in self.clean.values() if data)
        for _ in range(self.times):
            size = int(self.rng.uniform(0.1, 0.95) * num_bytes)
            with small_disk(self.scratch / "disk", size) as folder:
                if folder is None:
                    print("  a full disk: not measured, since no file system may be mounted here")
                    return
                began = time.perf_counter()
                found.ended += begin(self.source, folder / "out").wait() != 0
                subprocess.run(["mount", "-o", "remount,size=1g", folder], check=True)
                assert begin(self.source, folder / "out").wait() == 0
                found.note(folder / "out", time.perf_counter() - began)
        table.add("a full disk", *found.cells(), f"{self.clean_s:.1f}")

    def measure_append(self, table: Table) -> None:
        """Kill appends, finish them, and add a row."""
        first, paths = self.scratch / "first", sorted(self.source.iterdir())
        first.mkdir()
        for path in paths[: len(paths) // 2]:
            (first / path.name).symlink_to(path.resolve())
        assert begin(first, self.scratch / "before").wait() == 0
        began = time.perf_counter()
        shutil.copytree(self.scratch / "before", self.scratch / "whole")
        assert begin(self.source, self.scratch / "whole", "--append").wait() == 0
        undisturbed_s, found = time.perf_counter() - began, Found(tree(self.scratch / "whole"))
        while found.ended < self.times:
            output = self.scratch / "out"
            shutil.copytree(self.scratch / "before", output)
            began = time.perf_counter()
            run = begin(self.source, output, "--append")
            time.sleep(self.rng.uniform(0.2, 1.0) * undisturbed_s)
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
                found.ended += 1
            if run.wait() != 0:
                assert begin(self.source, output, "--append").wait() == 0
            found.note(output, time.perf_counter() - began)
        table.add("SIGKILL of all processes of an append", *found.cells(), f"{undisturbed_s:.1f}")


class Found:
    """What the datasets were that came of runs which were ended."""

    def __init__(self, clean: Tree) -> None:
        self._clean = clean
        self.ended = self._lost = self._differ = self._left = 0
        self._took: list[float] = []

    def note(self, output: Path, seconds: float) -> None:
        """Compare a dataset with the undisturbed one, and remove it."""
        found = tree(output)
        self._lost += sum(name not in found for name in self._clean)
        self._differ += sum(found.get(name) != data for name, data in self._clean.items())
        self._left += sum(name not in self._clean for name in found)
        self._took.append(seconds)
        shutil.rmtree(output)

    def cells(self) -> tuple[int, int, int, int, str]:
        """Return a row without its first and its last cell."""
        return self.ended, self._lost, self._differ, self._left, f"{median(self._took):.1f}"


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path | None]:
    """A file system of so many bytes; None where none may be mounted."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def write(page: Path, table: Table) -> None:
    """Put the table where the page has that of before."""
    before, _, rest = page.read_text().partition(BEGIN)
    made = f"{table.markdown()}\n\n{time.strftime('%Y-%m-%d')}: {machine()}"
    page.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{rest.partition(END)[2]}")


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("SHARDKIT_TEST_DATA"), help="real recordings")
    parser.add_argument("--times", type=int, default=20, help="that each thing happens")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the folder of recordings by --data or SHARDKIT_TEST_DATA")
    with tempfile.TemporaryDirectory(prefix="shardkit-kills-") as scratch:
        bench = Bench(Path(options.data) / "digits", Path(scratch), times=options.times)
        files = sum(data is not None for data in bench.clean.values())
        table = Table(f"Packs of {len(list(bench.source.iterdir())):,} spoken digits into {files} files", COLUMNS)
        for how in ("SIGKILL of all processes", "SIGKILL of one worker", "SIGTERM", "SIGINT"):
            bench.measure(table, how)
        bench.measure_disk(table)
        bench.measure_append(table)
    if options.write is not None:
        write(options.write, table)


if __name__ == "__main__":
    main()
