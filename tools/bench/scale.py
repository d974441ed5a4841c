"""What grows with a dataset and what does not: time and memory of the order, of opening, of streams and of views.

    python -m tools.bench.scale FOLDER [--markdown FILE]

The order is measured at up to 10^9 rows and 1,024 ranks, with nothing but its own arithmetic. Everything else reads
indexes, and is measured over real ones: FOLDER/thousand is a packed dataset of 1,000 clips in one shard, which is made
if it is not there, and the others are as many copies of it, by hard links. Each measurement that asks for resident
memory has a process of its own.
"""

import argparse
import json
import os
import pickle
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

import shardkit as sk
from shardkit.core.order import MixedOrder, OnePassOrder
from shardkit.core.stages import SourceRows, Stage
from shardkit.format.manifest import MANIFEST_NAME, dump_manifest, load_manifest, totals
from tools.bench.datasets import make_dataset, multiply
from tools.bench.tables import Table, show

T = TypeVar("T")

NUM_DRAWS = 1_000_000
FAR = 10**12
RANKS, RANK_BATCH = 1_024, 32
NUM_STAGES = 1_000
THOUSAND = 1_000
SHUFFLE = sk.Shuffle(kind="block", block_rows=32, window_blocks=1)


class Cost(NamedTuple):
    """Seconds a call took, bytes it left allocated, and the most there were at any time."""

    seconds: float
    kept: int
    peak: int


def timed(call: Callable[[], T], *, times: int = 3) -> tuple[T, float]:
    """Return what a call returns, and the median of the seconds it took."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        result = call()
        taken.append(time.perf_counter() - began)
    return result, statistics.median(taken)


def allocated(call: Callable[[], object]) -> tuple[int, int]:
    """Return how many bytes a call leaves allocated, and the most it had at any time."""
    tracemalloc.start()
    result = call()
    left, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del result
    return left, peak


def sources_of(num_rows: int) -> list[SourceRows]:
    """Return three sources that have so many rows together."""
    rows = [num_rows - num_rows // 4 - num_rows // 10, num_rows // 4, num_rows // 10]
    return [
        SourceRows(name=f"source {i}", num_rows=n, weight=w)
        for i, (n, w) in enumerate(zip(rows, (5, 3, 2), strict=True))
    ]


def stages_every(samples: int, num_stages: int) -> list[Stage]:
    """Return a schedule of so many stages for three sources."""
    shares = ((2048, 1229, 819), (1229, 2048, 819))
    return [Stage(number * samples, shares[number % 2]) for number in range(num_stages)]


def order_table(sizes: Sequence[int], *, num_draws: int = NUM_DRAWS, num_stages: int = NUM_STAGES) -> Table:
    """Return what the order costs, by the number of rows."""
    table = Table(f"The order of three sources, {RANKS:,} ranks", ["", *(f"{size:.0e} rows" for size in sizes)])
    orders = {
        kind: [MixedOrder(sources_of(size), seed=0, shuffle=sk.Shuffle(kind=kind)) for size in sizes]
        for kind in ("full", "block")
    }

    def add(name: str, calls: Sequence[Callable[[], object]], *, times: int = 5) -> None:
        table.add(name, *(_seconds(timed(call, times=times)[1]) for call in calls))

    add("make a mixed order", [lambda size=size: MixedOrder(sources_of(size), seed=0) for size in sizes])
    add("make a one-pass order", [lambda size=size: OnePassOrder(sources_of(size), seed=0) for size in sizes])
    for kind, listed in orders.items():
        for start in (0, FAR):
            positions = np.arange(start, start + num_draws)
            name = (
                f"{kind}: {num_draws:,} draws from position {start:.0e}"
                if start
                else f"{kind}: {num_draws:,} draws from position 0"
            )
            add(name, [lambda order=order, at=positions: order.draws(at) for order in listed])
    batch = FAR + 512 + RANKS * np.arange(RANK_BATCH)
    add(
        f"full: a batch of {RANK_BATCH} of rank 512",
        [lambda order=o: order.draws(batch) for o in orders["full"]],
        times=99,
    )
    add("block: a batch of 32 of rank 512", [lambda order=o: order.draws(batch) for o in orders["block"]], times=99)
    add(
        "block: the neighbours of a position",
        [lambda order=o: order.neighbours(FAR + 512) for o in orders["block"]],
        times=99,
    )
    schedules = {f"{spacing:.0e}": stages_every(spacing, num_stages) for spacing in (1_000, 1_000_000)}
    for spacing, stages in schedules.items():
        staged = [MixedOrder(sources_of(size), seed=0, stages=stages) for size in sizes]
        add(
            f"make an order of {num_stages:,} stages, one every {spacing} samples",
            [lambda size=size, stages=stages: MixedOrder(sources_of(size), seed=0, stages=stages) for size in sizes],
            times=3,
        )
        add(
            f"  {num_draws:,} draws from 0 of it",
            [lambda order=order: order.draws(np.arange(num_draws)) for order in staged],
        )
    kept = [allocated(lambda size=size: MixedOrder(sources_of(size), seed=0)) for size in sizes]
    table.add("memory of a mixed order", *(_bytes(left) for left, _ in kept))
    drawn = [allocated(lambda order=o: order.draws(np.arange(FAR, FAR + num_draws))) for o in orders["full"]]
    table.add(f"peak of {num_draws:,} draws, 32 bytes each in the result", *(_bytes(peak) for _, peak in drawn))
    stages = schedules["1e+03"]
    kept = [allocated(lambda size=size: MixedOrder(sources_of(size), seed=0, stages=stages)) for size in sizes]
    table.add(
        f"memory of an order of {num_stages:,} stages, one every 1e+03 samples", *(_bytes(left) for left, _ in kept)
    )
    return table


def resident() -> int:
    """Return the bytes of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_resident() -> int:
    """Return the most bytes of this process that were ever in memory."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def opened(folder: Path, *, crop_s: float = 1.0) -> dict[str, float]:
    """Open a dataset, make a stream and take a batch; return seconds and bytes of memory. Runs in its own process."""

    def stream_of(view: sk.View) -> sk.Stream:
        return sk.Stream(view, crop=sk.RandomCrop(crop_s), shuffle=SHUFFLE, batch_size=RANK_BATCH)

    smallest = folder.parent / "thousand"
    if smallest.exists():  # so that what is imported and what threads keep is there already
        next(iter(stream_of(sk.open(smallest))))
    found: dict[str, float] = {}
    memory, began = resident(), time.perf_counter()

    def note(name: str) -> None:
        nonlocal memory, began
        found[f"{name}, s"] = time.perf_counter() - began
        found[f"{name}, bytes"] = resident() - memory
        memory, began = resident(), time.perf_counter()

    first = memory
    view = sk.open(folder)
    note("open")
    found["peak of open, bytes"] = peak_resident() - first
    stream = stream_of(view)
    note("stream")
    next(iter(stream))
    note("first batch")
    found["rows"], found["shards"] = len(view), len(view.catalog.shards)
    found["table, bytes"] = view.catalog.table.nbytes
    state = stream.state_at(FAR)
    found["state, bytes"] = len(json.dumps(state))
    began = time.perf_counter()
    stream.load_state_dict(state)
    found["resume, s"] = time.perf_counter() - began
    began = time.perf_counter()
    next(iter(stream))
    found["batch at 10^12, s"] = time.perf_counter() - began
    began = time.perf_counter()
    found["pickle, bytes"] = len(pickle.dumps(stream))
    found["pickle, s"] = time.perf_counter() - began
    return found


def views(folder: Path) -> dict[str, Cost]:
    """Make views of a dataset; return what each costs. Runs in its own process."""
    view = sk.open(folder)
    view.longest_s()  # makes the columns that every stream needs
    view.keys()
    calls: dict[str, Callable[[sk.View], object]] = {
        'where("duration_s > 12")': lambda view: view.where("duration_s > 12"),
        "windows(1.0)": lambda view: view.windows(1.0),
        "draws(1.0)": lambda view: view.draws(1.0),
        "balance(codec)": lambda view: view.balance("codec"),
        "balance(path)": lambda view: view.balance("path"),
        "windows(1.0).balance(path)": lambda view: view.windows(1.0).balance("path"),
        "len(windows(1.0))": lambda view: len(view.windows(1.0)),
        "a stream over windows(1.0)": lambda view: sk.Stream(view.windows(1.0), crop=None),
        "10^4 sections of windows(1.0)": _sections(view.windows(1.0)),
        "keys()": lambda view: view.keys(),
        "digest()": lambda view: view.digest(),
    }
    return {
        name: Cost(timed(lambda call=call: call(view), times=1)[1], *allocated(lambda call=call: call(view)))
        for name, call in calls.items()
    }


def _sections(view: sk.View) -> Callable[[sk.View], object]:
    rows = np.random.default_rng(0).integers(len(view), size=10_000)
    return lambda _: view.sections(rows, passes=np.zeros_like(rows), key=0)


def manifests(num_shards: int, folder: Path) -> dict[str, float]:
    """Read a manifest of so many shards; return seconds and bytes of memory. Runs in its own process."""
    manifest = load_manifest((folder / MANIFEST_NAME).read_bytes(), where=str(folder))
    shard = manifest.shards[0]
    shards = tuple(
        shard.model_copy(update={"index": f"train/{i:07d}.parquet", "path": f"train/{i:07d}.tar"})
        for i in range(num_shards)
    )
    whole = totals(shards)
    data = dump_manifest(
        manifest.model_copy(update={"splits": {shard.split: whole}, "shards": shards, "totals": whole})
    )
    del shards
    memory, began = resident(), time.perf_counter()
    read = load_manifest(data, where="here")
    return {
        "s": time.perf_counter() - began,
        "bytes": resident() - memory,
        "file": len(data),
        "shards": len(read.shards),
    }


def in_own_process(call: Callable[..., T], *arguments: object) -> T:
    """Return what a call returns in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


def open_table(folders: Sequence[Path]) -> Table:
    """Return what opening and streaming cost, by the number of rows."""
    found = [in_own_process(opened, folder) for folder in folders]
    table = Table("A dataset of 10 s clips, 1,000 in a shard", ["", *(f"{each['rows']:,.0f} rows" for each in found)])
    for name in ("open", "stream", "first batch"):
        table.add(f"{name}: time", *(_seconds(each[f"{name}, s"]) for each in found))
        table.add(f"{name}: memory added, bytes a row", *(_a_row(each, f"{name}, bytes") for each in found))
    table.add("peak while opening, bytes a row", *(_a_row(each, "peak of open, bytes") for each in found))
    table.add("of which the index as Arrow arrays", *(_a_row(each, "table, bytes") for each in found))
    table.add("state, bytes", *(f"{each['state, bytes']:.0f}" for each in found))
    table.add("load a state at 10^12", *(_seconds(each["resume, s"]) for each in found))
    table.add("first batch there", *(_seconds(each["batch at 10^12, s"]) for each in found))
    table.add("pickled for a spawned worker, bytes a row", *(_a_row(each, "pickle, bytes") for each in found))
    table.add("pickled: time", *(_seconds(each["pickle, s"]) for each in found))
    return table


def column_table(folder: Path) -> Table:
    """Return how many bytes a row each column of the index takes in memory."""
    table = Table("Bytes a row of the index in memory, by column", ["column", "bytes a row"])
    catalog = sk.open(folder).catalog
    fields = catalog.table.column("fields").combine_chunks()
    struct = fields.chunk(0) if hasattr(fields, "chunk") else fields
    sizes: dict[str, Any] = {
        name: catalog.table.column(name).nbytes for name in catalog.table.column_names if name != "fields"
    }
    for part in struct.type:
        for inner in part.type:
            sizes[f"fields.{part.name}.{inner.name}"] = struct.field(part.name).field(inner.name).nbytes
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        if size / len(catalog.table) >= 1:
            table.add(name, f"{size / len(catalog.table):.1f}")
    return table


def view_table(folders: Sequence[Path]) -> Table:
    """Return what views cost, by the number of rows."""
    found = [in_own_process(views, folder) for folder in folders]
    sizes = [len(sk.open(folder)) for folder in folders]
    table = Table("Views: time; bytes a row kept, and at the peak", ["", *(f"{size:,.0f} rows" for size in sizes)])
    for name in found[0]:
        costs = [(each[name], size) for each, size in zip(found, sizes, strict=True)]
        table.add(name, *(f"{_seconds(c.seconds)}; {c.kept / size:.0f}, {c.peak / size:.0f}" for c, size in costs))
    return table


def manifest_table(counts: Sequence[int], folder: Path) -> Table:
    """Return what reading a manifest costs, by the number of shards."""
    found = [in_own_process(manifests, count, folder) for count in counts]
    table = Table("The manifest", ["", *(f"{count:,} shards" for count in counts)])
    table.add("its bytes a shard", *(f"{each['file'] / each['shards']:.0f}" for each in found))
    table.add("read and check", *(_seconds(each["s"]) for each in found))
    table.add("memory, bytes a shard", *(f"{each['bytes'] / each['shards']:.0f}" for each in found))
    return table


def _a_row(found: dict[str, float], name: str) -> str:
    return f"{found[name] / found['rows']:.0f}"


def _seconds(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e6:.0f} µs"


def _bytes(num_bytes: float) -> str:
    return f"{num_bytes / 1e6:,.1f} MB"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time and memory against the number of rows, shards and ranks.")
    parser.add_argument("folder", type=Path, help="where the datasets are, or are made")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 300_000, 1_000_000], help="to open")
    parser.add_argument("--view-rows", type=int, nargs="+", default=[100_000, 1_000_000], help="to make views of")
    parser.add_argument("--shards", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="of a manifest")
    parser.add_argument("--markdown", type=Path, help="write the tables there, too")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    base = folder / "thousand"
    if not base.exists():
        make_dataset(base, num_rows=THOUSAND, duration_s=10.0, sample_rate_hz=16_000, shard_bytes=10**9)
    for rows in {*arguments.rows, *arguments.view_rows}:
        if not (folder / f"rows-{rows}").exists():
            multiply(base, folder / f"rows-{rows}", rows // THOUSAND)
    tables = [
        order_table([10**3, 10**6, 10**9]),
        open_table([folder / f"rows-{rows}" for rows in arguments.rows]),
        column_table(folder / f"rows-{arguments.rows[0]}"),
        view_table([folder / f"rows-{rows}" for rows in arguments.view_rows]),
        manifest_table(arguments.shards, base),
    ]
    show(tables, arguments.markdown)


if __name__ == "__main__":
    main()
