"""Hugging Face datasets: Arrow files mapped into memory, or Parquet streamed from S3, through a torch DataLoader."""

import functools
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import datasets
import numpy as np
from torch.utils.data import DataLoader

from tools.bench.systems.contract import SOURCES, Batch, Job, PackJob
from tools.bench.systems.cutting import collated, sample
from tools.bench.systems.flac_member import encoded

REQUIREMENTS = ("datasets==5.2.0", "torch==2.13.0", "s3fs", "numpy", "soundfile")
SETTINGS = (
    "save_to_disk(max_shard_size=64 MB), binary column; DataLoader(load_from_disk, shuffle=True), decoding in "
    "collate_fn with soundfile, as for all peers, where its Audio feature has torchcodec; tuned: rows as Arrow "
    "tables, of which soundfile reads the mapped member in place, without a copy. Tracks are repeated 64 x in a "
    "pass. F: interleave_datasets. S3, tuned: load_dataset(parquet, streaming=True, row groups of 8 "
    "MB).shuffle(buffer_size=100; tracks 16); cached: load_dataset(parquet), which downloads and converts all. E: "
    "to_iterable_dataset, state_dict."
)
VARIANTS = {
    "documented": {"A": (0, 2), "B": (0,)},
    "tuned": {
        "A": (0, 2),
        "B": (0, 2),
        "B-wav": (0,),
        "C-A": (0, 2),
        "C-B": (0,),
        "E": (0,),
        "F": (0, 2),
        "G": (0, 2),
        "G-paced": (2,),
    },
    "tuned, cached": {"C-A": (0, 2), "C-B": (0, 2)},
    "from_generator": {"D": (0,)},
}
CACHES = ("tuned, cached",)

REPEATS = 64  # of each track in a pass: there are few, and a loader is not to be begun anew after each batch
BUFFER, BUFFER_TRACKS = 100, 16  # samples, of what is streamed; of tracks fewer, as whole recordings lie in it
SHARD_BYTES = 64_000_000  # so that workers have shards to share: the default is 500 MB
GROUP_BYTES = 8_000_000  # of a row group, of which those of ten shards are in memory at once: the default is 100 MB
FEATURES = datasets.Features({"key": datasets.Value("string"), "audio": datasets.Value("large_binary")})


class Mapped:
    """Rows of a table whose Arrow files are mapped into memory, as key and a view of the member: none is copied."""

    def __init__(self, table: datasets.Dataset) -> None:
        self.table = table.with_format("arrow")

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> tuple[str, memoryview]:
        row = self.table[index]
        members = row["audio"].chunk(0)
        _, offsets, data = members.buffers()  # a scalar of Arrow's would be a copy
        start, stop = np.frombuffer(offsets, np.int64)[members.offset : members.offset + 2]
        return row["key"][0].as_py(), memoryview(data.slice(start, stop - start))


def build(source: Path, target: Path, dataset: str) -> None:
    """Write Arrow files with ``save_to_disk``, Parquet for what is streamed from S3: one dataset for each source."""
    for folder in [source / name for name in SOURCES] if dataset == "digits" else [source]:
        paths = [str(path) for path in sorted(folder.iterdir()) if path.is_file()]
        with TemporaryDirectory(dir=source.parent) as cache:
            table = _from_generator(_as_it_is, paths, Path(cache))
            table.save_to_disk(str(target / "arrow" / folder.relative_to(source)), max_shard_size=SHARD_BYTES)
        if dataset in ("clips", "tracks"):
            _write_parquet(target, -(-sum(Path(path).stat().st_size for path in paths) // SHARD_BYTES))


def batches(job: Job) -> Iterator[Batch]:
    """Give batches of shuffled passes without end."""
    data = _streamed(job) if job.workload.startswith("C-") and job.variant == "tuned" else _mapped(job)
    streams = isinstance(data, datasets.IterableDataset)
    loader = DataLoader(
        data,
        batch_size=job.batch,
        shuffle=not streams,
        collate_fn=functools.partial(_cut, job=job),
        num_workers=job.workers,
        persistent_workers=job.workers > 0,
    )
    for number in range(1 << 30):
        if streams:
            data.set_epoch(number)
        yield from loader


def epoch(job: Job, state: bytes | None) -> tuple[Iterator[Batch], Callable[[], bytes]]:
    """Give one pass of the iterable form, which alone has a state."""
    table = datasets.load_from_disk(f"{job.where}/arrow")
    data = table.to_iterable_dataset(num_shards=8).shuffle(seed=job.seed, buffer_size=BUFFER)
    if state is not None:
        data.load_state_dict(pickle.loads(state))  # noqa: S301  (what this file wrote)
    loader = DataLoader(data, batch_size=job.batch, collate_fn=functools.partial(_cut, job=job))
    return iter(loader), lambda: pickle.dumps(data.state_dict())


def pack(job: PackJob) -> None:
    """Write with as many processes as asked for, each a part of the list; what they write is mapped when read."""
    _from_generator(_flac, sorted(str(path) for path in job.source.rglob("*.wav")), job.target, job.processes)


def packed(target: Path) -> Iterator[tuple[str, bytes]]:
    """Give what ``pack`` wrote."""
    for path in sorted(target.rglob("*.arrow")):
        for item in datasets.Dataset.from_file(str(path)):
            yield item["key"], item["audio"]


def _mapped(job: Job) -> datasets.Dataset | Mapped:
    if job.workload.startswith("C-"):
        table = datasets.load_dataset("parquet", **_remote(job), cache_dir=str(job.cache))
    elif job.workload == "F":
        parts = [datasets.load_from_disk(f"{job.where}/arrow/{name}").shuffle(seed=job.seed) for name in SOURCES]
        shares = list(SOURCES.values())
        table = datasets.interleave_datasets(parts, shares, seed=job.seed, stopping_strategy="all_exhausted")
    else:
        table = datasets.load_from_disk(f"{job.where}/arrow")
    if job.dataset.startswith("tracks"):
        table = table.repeat(REPEATS)
    return table if job.variant == "documented" else Mapped(table)


def _streamed(job: Job) -> datasets.IterableDataset:
    table = datasets.load_dataset("parquet", **_remote(job), streaming=True)
    buffer = BUFFER_TRACKS if job.dataset == "tracks" else BUFFER
    return table.shuffle(seed=job.seed, buffer_size=buffer)


def _remote(job: Job) -> dict[str, Any]:
    options = {
        "key": os.environ["AWS_ACCESS_KEY_ID"],
        "secret": os.environ["AWS_SECRET_ACCESS_KEY"],
        "endpoint_url": os.environ["AWS_ENDPOINT_URL"],
    }
    return {"data_files": f"{job.where}/parquet/*.parquet", "split": "train", "storage_options": options}


def _cut(rows: Sequence[Any], job: Job) -> Batch:
    """Return a batch of rows: dicts, or what ``Mapped`` gives."""
    members = ((row["key"], row["audio"]) if isinstance(row, dict) else row for row in rows)
    return collated([sample(key, member, job) for key, member in members])


def _write_parquet(target: Path, count: int) -> None:
    """Write what is in Arrow files as Parquet shards."""
    table = datasets.load_from_disk(str(target / "arrow"))
    rows = max(1, len(table) * GROUP_BYTES // (count * SHARD_BYTES))
    (target / "parquet").mkdir()
    for number in range(count):
        shard = table.shard(count, number, contiguous=True)
        shard.to_parquet(str(target / "parquet" / f"{number:05d}.parquet"), batch_size=rows)


def _from_generator(
    generator: Callable[[Sequence[str]], Iterator[dict]],
    paths: Sequence[str],
    cache: Path,
    processes: int | None = None,
) -> datasets.Dataset:
    given = {"paths": paths}
    return datasets.Dataset.from_generator(
        generator, features=FEATURES, gen_kwargs=given, cache_dir=str(cache), num_proc=processes
    )


def _as_it_is(paths: Sequence[str]) -> Iterator[dict[str, Any]]:
    for path in paths:
        yield {"key": Path(path).stem, "audio": Path(path).read_bytes()}


def _flac(paths: Sequence[str]) -> Iterator[dict[str, Any]]:
    for path in paths:
        yield {"key": Path(path).stem, "audio": encoded(Path(path))}
