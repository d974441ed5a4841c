"""How far threads carry: samples a second by the number of threads, and how long the interpreter's lock is held.

    pip install gilknocker
    python -m tools.bench.threads clips=FOLDER:5 tracks=FOLDER:2 digits=FOLDER --markdown FILE

reads each dataset with 1 to 16 threads, as 5 s crops, 2 s crops, and whole. gilknocker asks for the lock (GIL) every
millisecond and tells for which part of the time another thread held it. Where that share comes near 1, more threads
can't help, and worker processes can. On a free-threaded Python there is no lock, and the share is left out.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import shardkit as sk
from tools.bench.tables import Table, show, versions

THREADS = (1, 2, 4, 8, 16)
BATCH = 32
_WARM_UP = 20  # batches, of which the first open everything


class Dataset(NamedTuple):
    """What is read: a dataset's folder, and the seconds of a crop; None: whole samples."""

    name: str
    folder: Path
    crop_s: float | None


class Run(NamedTuple):
    """What some seconds of reading gave."""

    per_s: float
    cpu_s: float
    locked: float


def has_lock() -> bool:
    """Return whether this Python has a GIL that is on."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def measure(dataset: Dataset, threads: int, *, seconds: float) -> Run:
    """Read for some seconds; ``locked`` is the share of them in which the GIL was held."""
    crop = None if dataset.crop_s is None else sk.RandomCrop(dataset.crop_s)
    stream = sk.Stream(sk.open(dataset.folder), crop=crop, batch_size=BATCH, threads=threads)
    batches = stream.batches(0)
    for _ in islice(batches, _WARM_UP):
        pass
    locked, stop = _knock()
    number, began, cpu_began = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        number += len(next(batches))
    took, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    share = locked()
    stop()
    batches.close()  # type: ignore[attr-defined]  # it is a generator
    return Run(number / took, cpu / number, share)


def _knock() -> tuple[Callable[[], float], Callable[[], object]]:
    """Begin to ask for the lock; return what tells the share so far, and what ends it."""
    if not has_lock():
        return lambda: float("nan"), lambda: None
    from gilknocker import KnockKnock  # noqa: PLC0415  (a compiled package that only this needs)

    knocker = KnockKnock(1_000, 500, 1_000)  # microseconds: between knocks, of sampling, of sleep between samplings
    knocker.start()
    return lambda: float(knocker.contention_metric), knocker.stop


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description="Samples a second, and the GIL's share, by the number of threads.")
    parser.add_argument("datasets", nargs="+", metavar="NAME=FOLDER[:SECONDS]", help="datasets, and their crops")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each number of threads, in turn")
    parser.add_argument("--markdown", type=Path, help="write the tables there, too")
    return parser.parse_args()


def parse_dataset(text: str) -> Dataset:
    """Return the dataset that an argument names."""
    name, _, rest = text.partition("=")
    folder, _, crop_s = rest.partition(":")
    return Dataset(name, Path(folder), float(crop_s) if crop_s else None)


def main() -> None:
    """Measure and print."""
    arguments = parse_arguments()
    tables = []
    for dataset in map(parse_dataset, arguments.datasets):
        runs: dict[int, list[Run]] = {threads: [] for threads in THREADS}
        for _ in range(arguments.rounds):
            for threads, found in runs.items():
                found.append(measure(dataset, threads, seconds=arguments.seconds))
        what = "whole" if dataset.crop_s is None else f"{dataset.crop_s:g} s crops"
        table = Table(
            f"{dataset.name}, {what}", ("threads", "samples/s", "/ one thread", "CPU µs / sample", "GIL held")
        )
        alone = runs[1]
        for threads, found in runs.items():
            times = statistics.median(run.per_s / one.per_s for run, one in zip(found, alone, strict=True))
            locked = statistics.median(run.locked for run in found)
            table.add(
                threads,
                f"{statistics.median(run.per_s for run in found):,.0f}",
                f"{times:.2f}",
                f"{statistics.median(run.cpu_s for run in found) * 1e6:,.0f}",
                f"{100 * locked:.0f} %" if has_lock() else "none",
            )
        tables.append(table)
    show(tables, arguments.markdown, used=versions("gilknocker") if has_lock() else ["free-threaded"])


if __name__ == "__main__":
    main()
