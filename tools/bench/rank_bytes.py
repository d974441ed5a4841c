"""How many bytes all ranks together read in one pass, relative to the dataset.

    python -m tools.bench.rank_bytes FOLDER [--markdown FILE]

FOLDER is what ``tools.bench.datasets`` makes. A real S3 server serves it, and a proxy in front of it counts what every
rank and every worker process reads; where the stream itself can count, the two must agree. With clips read whole, a
shuffle that keeps neighbours together should read each byte of the tars about once, whatever the number of ranks.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import shardkit as sk
from shardkit.core.crops import Crop
from tools.bench.counting import CountedS3, Reads, bypass_proxies, counted_s3
from tools.bench.shuffle import name_of, parse_shuffle
from tools.bench.tables import Table, show

Mode = Literal["a pass", "passes=1"]  # endless, for as many samples as a pass has; or each row exactly once

SHUFFLES = (
    *(
        sk.Shuffle(kind="block", block_rows=rows, window_blocks=blocks)
        for rows, blocks in ((32, 1), (16, 4), (32, 4), (64, 16))
    ),
    sk.Shuffle(kind="none"),
    sk.Shuffle(kind="full"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """What a pass of all ranks read.

    Attributes:
        tars: Requests and bytes.
        index: Those of the manifest and the indexes, which every rank opens for itself.
        samples: Delivered.
        rows: Of the dataset. An iteration ends with a whole batch, so a little more than a pass may be delivered.
        dataset_bytes: Size of all tars.
    """

    tars: Reads
    index: Reads
    samples: int
    rows: int
    dataset_bytes: int

    @property
    def ratio(self) -> float:
        """Bytes of tars that were read, relative to their size and, where it was more than a pass, to what it was."""
        return self.tars.bytes / self.dataset_bytes * self.rows / self.samples

    @property
    def ratio_with_index(self) -> float:
        """The same, with what all ranks read of manifest and indexes."""
        return self.ratio + self.index.bytes / self.dataset_bytes


def one_pass(
    s3: CountedS3,
    url: str,
    shuffle: sk.Shuffle,
    *,
    world_size: int,
    crop: Crop | None = None,
    mode: Mode = "a pass",
    batch: int = 256,
    workers: int = 0,
) -> Passed:
    """Let every rank in turn read its share of one pass.

    Args:
        s3: Where.
        url: The dataset.
        shuffle: How it is shuffled.
        world_size: Ranks; each opens the dataset for itself.
        crop: What to read of the samples.
        mode: What one pass is.
        batch: Samples of a global batch of all ranks.
        workers: Worker processes of a DataLoader in each rank; 0: the stream's own threads.
    """
    s3.counts.take()
    told, samples, rows, dataset_bytes = Reads(), 0, 0, 0
    for rank in range(world_size):
        view = sk.open(url, storage_options=s3.options)
        rows, dataset_bytes = len(view), view.manifest.totals.bytes
        stream = sk.Stream(
            view,
            shuffle=shuffle,
            crop=crop,
            global_batch_size=-(-batch // world_size) * world_size,
            rank=rank,
            world_size=world_size,
            check_ranks=False,
            passes=1 if mode == "passes=1" else None,
            epoch_samples=None if mode == "passes=1" else len(view),
        )
        samples += _drain(stream, workers)
        stats = stream.stats()
        told += Reads(stats["requests"], stats["bytes_read"])
    counted = s3.counts.take()
    tars = counted.get(".tar", Reads())
    if not workers and tars != told:  # what worker processes read, the stream of their parent does not know
        raise SystemExit(f"{url}, {name_of(shuffle)}: the server counts {tars}, the streams {told}")
    index = sum((reads for suffix, reads in counted.items() if suffix != ".tar"), Reads())
    return Passed(tars=tars, index=index, samples=samples, rows=rows, dataset_bytes=dataset_bytes)


def _drain(stream: sk.Stream, workers: int) -> int:
    """Read an iteration to its end and return the samples it delivered."""
    if not workers:
        return sum(int(batch.valid.sum()) for batch in stream)
    from torch.utils.data import DataLoader  # noqa: PLC0415  (only needed here, and slow to import)

    from shardkit.train import StreamingDataset  # noqa: PLC0415

    loader = DataLoader(
        StreamingDataset(stream),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="spawn",  # this process has threads and open connections
    )
    return sum(int(batch.valid.sum()) for batch in loader)


def ratio_table(
    s3: CountedS3,
    url: str,
    shuffles: Sequence[sk.Shuffle],
    ranks: Sequence[int],
    *,
    crop: Crop | None,
    mode: Mode,
    batch: int,
) -> tuple[Table, Table]:
    """Return bytes read relative to the dataset, and requests a sample, for each shuffle and number of ranks."""
    what = "whole clips" if crop is None else f"{crop.duration_s:g} s crops"
    title = f"`{url.rpartition('/')[2]}`, {what}, {mode}"
    columns = ["shuffle", *(f"{number} rank{'s' * (number > 1)}" for number in ranks)]
    ratios = Table(f"{title}: bytes of all ranks / bytes of the tars (with the indexes)", columns)
    requests = Table(f"{title}: requests a sample", columns)
    for shuffle in shuffles:
        found = [one_pass(s3, url, shuffle, world_size=number, crop=crop, mode=mode, batch=batch) for number in ranks]
        ratios.add(name_of(shuffle), *(f"{passed.ratio:.3f} ({passed.ratio_with_index:.3f})" for passed in found))
        requests.add(name_of(shuffle), *(f"{passed.tars.requests / passed.samples:.3f}" for passed in found))
    return ratios, requests


def worker_table(
    s3: CountedS3, url: str, shuffles: Sequence[sk.Shuffle], workers: Sequence[int], *, world_size: int, batch: int
) -> Table:
    """Return bytes and requests with a DataLoader's worker processes against the stream's own threads."""
    columns = ["shuffle", *(f"{number} workers" if number else "threads only" for number in workers)]
    table = Table(
        f"`{url.rpartition('/')[2]}`, whole clips, a pass, {world_size} rank{'s' * (world_size > 1)} with a "
        "DataLoader's workers: bytes read / bytes of the tars; requests a sample",
        columns,
    )
    for shuffle in shuffles:
        found = [one_pass(s3, url, shuffle, world_size=world_size, batch=batch, workers=number) for number in workers]
        table.add(
            name_of(shuffle),
            *(f"{passed.ratio:.3f}; {passed.tars.requests / passed.samples:.3f}" for passed in found),
        )
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Bytes that all ranks together read in a pass, over the dataset's.")
    parser.add_argument("folder", type=Path, help="what tools.bench.datasets made")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4, 8, 3, 6])
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2, 4], help="of a DataLoader")
    parser.add_argument("--datasets", nargs="+", default=["few", "short", "long"])
    parser.add_argument(
        "--shuffles", type=parse_shuffle, nargs="+", default=SHUFFLES, metavar="KIND", help="full, none, 32x4 ..."
    )
    parser.add_argument("--batch", type=int, default=256, help="samples of a global batch")
    parser.add_argument("--crop", type=float, default=4.0, help="seconds of crops of the long clips")
    parser.add_argument("--markdown", type=Path, help="write the tables there, too")
    arguments = parser.parse_args()
    bypass_proxies()
    tables: list[Table] = []
    folder: Path = arguments.folder.resolve()
    with counted_s3(folder.parent) as s3:
        for name in arguments.datasets:
            url = f"s3://{folder.name}/{name}"
            crops = (None, sk.RandomCrop(arguments.crop)) if name == "long" else (None,)
            modes: Sequence[Mode] = ("a pass", "passes=1")
            for crop in crops:
                for mode in modes:
                    tables += ratio_table(
                        s3, url, arguments.shuffles, arguments.ranks, crop=crop, mode=mode, batch=arguments.batch
                    )
            if crops == (None,) and arguments.workers:
                tables.append(
                    worker_table(s3, url, arguments.shuffles, arguments.workers, world_size=1, batch=arguments.batch)
                )
    show(tables, arguments.markdown)


if __name__ == "__main__":
    main()
