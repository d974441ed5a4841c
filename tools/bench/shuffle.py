"""How well each shuffle mixes, against what it costs to read.

    python -m tools.bench.shuffle FOLDER [--markdown FILE]

FOLDER is what ``tools.bench.datasets`` makes. How well a shuffle mixes is computed from the order alone, over one pass
of a dataset whose rows lie in shards of equal size. What it costs is counted where the bytes are: at a real S3 server,
behind a proxy, while a stream reads a whole pass.
"""

import argparse
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import shardkit as sk
from shardkit.core.crops import Crop
from shardkit.core.order import MixedOrder
from shardkit.core.stages import SourceRows
from shardkit.format.index import PRIMARY
from shardkit.storage import local
from shardkit.stream.piece import pieces_of
from shardkit.stream.plan import Planner
from shardkit.stream.sources import Source
from tools.bench.counting import CountedS3, bypass_proxies, counted_s3
from tools.bench.datasets import multiply
from tools.bench.tables import Table, megabytes, show

SHUFFLES = (
    sk.Shuffle(kind="full"),
    *(
        sk.Shuffle(kind="block", block_rows=rows, window_blocks=blocks)
        for rows, blocks in ((8, 1), (16, 1), (32, 1), (64, 1), (8, 4), (16, 4), (32, 2), (32, 4), (64, 16))
    ),
    sk.Shuffle(kind="none"),
)
NUM_GROUPS = 100  # of a column by which the packed order may be sorted, such as the speaker
LONG_RUN = 16  # batches
HELD_SAMPLES = 8_192  # what a stream holds has reached its height by then: each lane is past its first windows
SIZES = (2, 4, 10, 20)  # times the 3,000 rows of the smallest dataset
RATE_S, RATE_ROUNDS = 2.5, 3

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing:
    """How well one pass is mixed.

    Attributes:
        displacement: Mean of |position / N - row / N|; 1/3 for a uniform permutation.
        neighbours: Share of the rows whose successor in packed order comes less than one global batch before or
            after them. By chance, about 2 · batch / N.
        shard_bits: Entropy of the shards in a global batch, in bits, on the average over the batches.
        clumping: Where the packed order is sorted by a column of 100 equally frequent values: variance of the number
            of samples of a value in a global batch, relative to independent draws, on the average over the values.
            A batch of 256 with a clumping of 4 says of the column what 64 independent samples would (the "design
            effect" of sampling theory).
        clumping_long: The same in 16 consecutive batches.
        repetition: Correlation of those numbers between a batch and the next; 0 for independent draws.
    """

    displacement: float
    neighbours: float
    shard_bits: float
    clumping: float
    clumping_long: float
    repetition: float


def rows_of_pass(num_rows: int, shuffle: sk.Shuffle, *, seed: int = 0) -> _Ints:
    """Return the rows of the first pass over one source, in the order of the positions, (position,)."""
    order = MixedOrder([SourceRows(name="rows", num_rows=num_rows)], seed=seed, shuffle=shuffle)
    return order.draws(np.arange(num_rows)).rows


def mixing(rows: _Ints, *, num_shards: int, batch: int) -> Mixing:
    """Return how well a pass is mixed.

    Args:
        rows: The rows, in the order of the positions, (position,); each once, or nearly.
        num_shards: Shards of equally many consecutive rows.
        batch: Samples of a global batch.
    """
    num_rows = len(rows)
    at = np.empty(num_rows, dtype=np.int64)
    at[rows] = np.arange(num_rows)
    batches = rows[: num_rows // batch * batch].reshape(-1, batch)  # (batch, sample)
    groups = _counts(batches * NUM_GROUPS // num_rows, NUM_GROUPS)
    runs = groups[: len(groups) // LONG_RUN * LONG_RUN].reshape(-1, LONG_RUN, NUM_GROUPS).sum(axis=1)
    return Mixing(
        displacement=float(np.abs(at - np.arange(num_rows)).mean() / num_rows),
        neighbours=float((np.abs(np.diff(at)) < batch).mean()),
        shard_bits=float(_entropies(_counts(batches * num_shards // num_rows, num_shards)).mean()),
        clumping=_overdispersion(groups, batch),
        clumping_long=_overdispersion(runs, batch * LONG_RUN) if len(runs) else float("nan"),
        repetition=_correlation(groups[:-1], groups[1:]),
    )


def _counts(values: _Ints, num_values: int) -> _Ints:
    """Return how often each value comes in each batch, (batch, value)."""
    batch = np.arange(len(values))[:, np.newaxis] * num_values
    return np.bincount((batch + values).ravel(), minlength=len(values) * num_values).reshape(len(values), num_values)


def _entropies(counts: _Ints) -> NDArray[np.float64]:
    shares = counts / counts.sum(axis=1, keepdims=True)
    return -(shares * np.log2(np.where(shares > 0, shares, 1.0))).sum(axis=1)


def _overdispersion(counts: _Ints, batch: int) -> float:
    share = 1 / counts.shape[1]
    return float(((counts - batch * share) ** 2).mean() / (batch * share * (1 - share)))


def _correlation(one: _Ints, other: _Ints) -> float:
    mean = one.mean()
    return float(((one - mean) * (other - mean)).mean() / ((one - mean) ** 2).mean())


def mixing_table(num_rows: int, num_shards: int, batch: int, shuffles: Sequence[sk.Shuffle]) -> Table:
    """Return the mixing of each shuffle."""
    columns = (
        "shuffle",
        "displacement",
        "packed neighbours in a batch",
        "shards in a batch, bits",
        "clumping, 1 batch",
        f"clumping, {LONG_RUN} batches",
        "repetition",
    )
    table = Table(f"One pass of {num_rows:,} rows in {num_shards:,} shards, global batches of {batch:,}", columns)
    uniform = np.random.default_rng(0).permutation(num_rows)
    for name, rows in (
        ("(random numbers)", uniform),
        *((name_of(shuffle), rows_of_pass(num_rows, shuffle)) for shuffle in shuffles),
    ):
        found = mixing(rows, num_shards=num_shards, batch=batch)
        table.add(
            name,
            f"{found.displacement:.3f}",
            f"{found.neighbours:.2%}",
            f"{found.shard_bits:.2f}",
            f"{found.clumping:.2f}",
            f"{found.clumping_long:.2f}" if num_rows >= 4 * LONG_RUN * batch else "–",
            f"{found.repetition:+.2f}",
        )
    return table


def name_of(shuffle: sk.Shuffle) -> str:
    """Return how the shuffle is called in tables."""
    return f"block {shuffle.block_rows} × {shuffle.window_blocks}" if shuffle.kind == "block" else shuffle.kind


def parse_shuffle(text: str) -> sk.Shuffle:
    """Return the shuffle of a command line: ``full``, ``none``, or ``32x4`` for blocks of 32 rows, windows of 4."""
    if text in ("full", "none"):
        return sk.Shuffle(kind="full" if text == "full" else "none")
    rows, _, blocks = text.partition("x")
    return sk.Shuffle(kind="block", block_rows=int(rows), window_blocks=int(blocks))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one rank's share of a pass costs.

    Attributes:
        requests: Requests for tars.
        bytes: What they returned.
        samples: Delivered.
        delivered: Bytes of the tars that hold what is delivered and nothing else.
        held: Peak of what has been read and not yet decoded, in bytes.
    """

    requests: int
    bytes: int
    samples: int
    delivered: int
    held: int


def reading(
    s3: CountedS3, folder: Path, shuffle: sk.Shuffle, *, crop: Crop | None, world_size: int, batch: int
) -> Reading:
    """Stream one pass of rank 0 of a served dataset and return what storage was asked for."""
    url = f"s3://{folder.parent.name}/{folder.name}"
    view = sk.open(url, storage_options=s3.options)
    stream = _stream(view, shuffle, crop=crop, world_size=world_size, batch=batch)
    s3.counts.take()
    for _ in stream:
        pass
    counted, stats = s3.counts.take()[".tar"], stream.stats()
    if (counted.requests, counted.bytes) != (stats["requests"], stats["bytes_read"]):
        raise SystemExit(f"{url}, {name_of(shuffle)}: the server counts {counted}, the stream {stats}")
    return Reading(
        requests=counted.requests,
        bytes=counted.bytes,
        samples=stats["samples"],
        delivered=delivered_bytes(view, shuffle, crop=crop, world_size=world_size),
        held=_held(_stream(sk.open(folder), shuffle, crop=crop, world_size=world_size, batch=batch)),
    )


def delivered_bytes(view: sk.View, shuffle: sk.Shuffle, *, crop: Crop | None, world_size: int) -> int:
    """Return the bytes of the tars that hold the samples of rank 0 in one pass."""
    source = Source(view.manifest.name, view)
    order = MixedOrder([SourceRows(name=source.name, num_rows=len(view))], seed=0, shuffle=shuffle)
    planner = Planner([source], order, crop, seed=0)
    draws, _ = planner.draws(np.arange(0, len(view), world_size))
    return sum(
        piece.hi - piece.lo
        for draw in draws
        for piece in pieces_of(source.catalog, (PRIMARY,), draw.row, draw.start, draw.stop)
    )


def _stream(view: sk.View, shuffle: sk.Shuffle, *, crop: Crop | None, world_size: int, batch: int) -> sk.Stream:
    return sk.Stream(
        view,
        crop=crop,
        shuffle=shuffle,
        global_batch_size=batch,
        rank=0,
        world_size=world_size,
        check_ranks=False,
        epoch_samples=len(view),
    )


def _rate(stream: sk.Stream) -> float:
    """Return samples a second for some seconds, once reading ahead has filled up."""
    num_batches, began = 0, 0.0
    for number, _ in enumerate(stream):
        if number == 8:
            began = time.perf_counter()
        num_batches += number > 8
        if began and time.perf_counter() - began > RATE_S:
            break
    return num_batches * stream.batch_size / (time.perf_counter() - began) if num_batches else float("nan")


def rate_table(s3: CountedS3, folder: Path, shuffles: Sequence[sk.Shuffle], *, crop: Crop | None, batch: int) -> Table:
    """Return samples a second of one rank, in rounds in which each shuffle has its turn: others may use the machine."""
    table = Table(
        f"`{folder.name}`, {'whole' if crop is None else f'{crop.duration_s:g} s crops'}, 1 rank, from S3",
        ("shuffle", "samples/s: median", "least", "most"),
    )
    view = sk.open(f"s3://{folder.parent.name}/{folder.name}", storage_options=s3.uncounted)
    rounds = [
        [_rate(_stream(view, shuffle, crop=crop, world_size=1, batch=batch)) for shuffle in shuffles]
        for _ in range(RATE_ROUNDS)
    ]
    for shuffle, rates in zip(shuffles, zip(*rounds, strict=True), strict=True):
        table.add(name_of(shuffle), *(f"{rate:,.0f}" for rate in (statistics.median(rates), min(rates), max(rates))))
    return table


def _held(stream: sk.Stream) -> int:
    """Return the most bytes from local files that were in memory at once, looked at every few batches."""
    peak = 0
    tracemalloc.start()
    for number, batch in enumerate(stream):
        if number % 5 == 0:  # lanes begin windows together, every so many batches: 5 divides none of the usual periods
            peak = max(peak, _bytes_from_files())
        if batch.position // stream.world_size >= HELD_SAMPLES:
            break
    tracemalloc.stop()
    return peak


def _bytes_from_files() -> int:
    chosen = tracemalloc.Filter(inclusive=True, filename_pattern=local.__file__)
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([chosen]).traces)


def reading_table(
    s3: CountedS3, folder: Path, shuffles: Sequence[sk.Shuffle], *, crop: Crop | None, world_size: int, batch: int
) -> Table:
    """Return what each shuffle costs."""
    ranks = "1 rank" if world_size == 1 else f"1 of {world_size} ranks"
    what = "whole" if crop is None else f"{crop.duration_s:g} s crops"
    size = len(sk.open(folder))
    columns = ("shuffle", "requests a sample", "bytes read / delivered", "held, MB")
    table = Table(f"`{folder.name}`, {size:,} rows, {what}, {ranks}, global batches of {batch}", columns)
    for shuffle in shuffles:
        found = reading(s3, folder, shuffle, crop=crop, world_size=world_size, batch=batch)
        table.add(
            name_of(shuffle),
            f"{found.requests / found.samples:.4f}",
            f"{found.bytes / found.delivered:.3f}",
            megabytes(found.held),
        )
    return table


def size_table(few: Path, times: Sequence[int], shuffles: Sequence[sk.Shuffle], *, batch: int) -> Table:
    """Return requests a sample by the size of the dataset: where lanes' segments end, windows are cut."""
    with tempfile.TemporaryDirectory(dir=few.parent, prefix="sizes-") as scratch:
        views = [sk.open(multiply(few, Path(scratch) / str(number), number)) for number in times]
        table = Table(
            "Requests a sample by the number of rows, whole clips, 1 rank",
            ["shuffle", *(f"{len(view):,} rows" for view in views)],
        )
        for shuffle in shuffles:
            found = []
            for view in views:
                stream = _stream(view, shuffle, crop=None, world_size=1, batch=batch)
                samples = sum(len(each.valid) for each in stream)
                found.append(stream.stats()["requests"] / samples)
            table.add(name_of(shuffle), *(f"{requests:.3f}" for requests in found))
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Shuffle quality against reads per sample.")
    parser.add_argument("folder", type=Path, nargs="?", help="what tools.bench.datasets made; without: quality only")
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[3_000, 24_576, 1_000_000], help="dataset sizes for quality"
    )
    parser.add_argument("--shard-rows", type=int, default=1_000, help="rows of a shard, for quality")
    parser.add_argument("--batch", type=int, default=256, help="samples of a global batch")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--datasets", nargs="+", default=["short", "many", "long"])
    parser.add_argument(
        "--shuffles",
        type=parse_shuffle,
        nargs="+",
        default=SHUFFLES,
        metavar="KIND",
        help="to read: full, none, 32x4 ...",
    )
    parser.add_argument("--crop", type=float, default=1.0, help="seconds of crops of the long clips")
    parser.add_argument("--markdown", type=Path, help="write the tables there, too")
    arguments = parser.parse_args()
    bypass_proxies()
    tables = [
        mixing_table(num_rows, max(1, num_rows // arguments.shard_rows), arguments.batch, SHUFFLES)
        for num_rows in arguments.rows
    ]
    if arguments.folder is not None:
        folder: Path = arguments.folder.resolve()
        with counted_s3(folder.parent) as s3:
            tables += [
                reading_table(
                    s3, folder / name, arguments.shuffles, crop=crop, world_size=world_size, batch=arguments.batch
                )
                for name in arguments.datasets
                for crop in ((None,) if name != "long" else (None, sk.RandomCrop(arguments.crop)))
                for world_size in (arguments.ranks if name != "many" else arguments.ranks[-1:])
            ]
            if (folder / "few").exists():
                tables.append(size_table(folder / "few", SIZES, arguments.shuffles, batch=arguments.batch))
            tables += [
                rate_table(s3, folder / name, arguments.shuffles, crop=None, batch=arguments.batch)
                for name in arguments.datasets
            ]
    show(tables, arguments.markdown)


if __name__ == "__main__":
    main()
