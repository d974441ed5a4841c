"""webdataset: tar shards, read in order, member by member."""

import io
import os
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import soundfile
import webdataset
from torch.utils.data import DataLoader, IterableDataset

from tools.bench.systems.contract import SOURCES, Batch, Job, PackJob
from tools.bench.systems.cutting import collated, sample

REQUIREMENTS = ("webdataset==1.0.2", "torch==2.13.0", "numpy", "soundfile", "s3fs")
SETTINGS = (
    "ShardWriter(maxsize=64 MB); WebDataset(urls, shardshuffle=100).shuffle(100).map(decode).batched(32), endless"
    " with repeat(), through WebLoader(num_workers=2) where there are workers; F: RandomMix. Its docs shuffle up "
    "to 1,000 members; 100, and 8 tracks, keep memory small. S3: s3fs as an opener, as there is no program to "
    "pipe from; cached: cache_dir, whole shards."
)
VARIANTS = {
    "documented": {"A": (0, 2), "B": (0,), "C-B": (0,), "F": (0,)},
    "tuned": {
        "A": (0, 2),
        "B": (0,),
        "B-wav": (0,),
        "C-A": (0, 2),
        "C-B": (0, 2),
        "D": (0,),
        "E": (0,),
        "G": (0, 2),
        "G-paced": (2,),
    },
    "tuned, cached": {"C-A": (2,), "C-B": (2,)},
}
CACHES = ("tuned, cached",)
SHARD_BYTES = 64_000_000
BUFFERS = {"tracks": 8, "tracks-wav": 8}  # members, of 20 or 45 MB each; else 100


def build(source: Path, target: Path, dataset: str) -> None:
    """Write the files as they are."""
    folders = [Path(name) for name in SOURCES] if dataset == "digits" else [Path()]
    for folder in folders:
        (target / folder).mkdir(parents=True)
        with webdataset.ShardWriter(str(target / folder / "%06d.tar"), maxsize=SHARD_BYTES, verbose=0) as sink:
            for path in sorted((source / folder).iterdir()):
                sink.write({"__key__": path.stem, path.suffix[1:]: path.read_bytes()})


def batches(job: Job) -> Iterator[Batch]:
    """Give batches of shuffled passes without end."""
    if job.dataset == "digits":
        parts = [_pipeline(job, name) for name in SOURCES]
        mixed = webdataset.RandomMix(parts, probs=list(SOURCES.values()))
        return iter(DataLoader(mixed, batch_size=job.batch, collate_fn=collated))
    dataset: Any = _pipeline(job, "").batched(job.batch, collation_fn=collated)
    if job.workers == 0:
        return iter(dataset)
    return iter(webdataset.WebLoader(dataset, batch_size=None, num_workers=job.workers))


def pack(job: PackJob) -> None:
    """Encode in processes that each write shards of their own."""
    job.target.mkdir(parents=True)
    paths = sorted(job.source.glob("*.wav"))
    parts = [(paths[number :: job.processes], job.target, number) for number in range(job.processes)]
    with get_context("fork").Pool(job.processes) as pool:
        pool.starmap(_pack_part, parts)


def packed(target: Path) -> Iterator[tuple[str, bytes]]:
    """Give the members."""
    urls = sorted(str(path) for path in target.glob("*.tar"))
    for item in webdataset.WebDataset(urls, shardshuffle=False):
        yield item["__key__"], item["flac"]


def _pack_part(paths: list[Path], target: Path, part: int) -> None:
    with webdataset.ShardWriter(str(target / f"{part}-%06d.tar"), maxsize=SHARD_BYTES, verbose=0) as sink:
        for path in paths:
            samples, rate = soundfile.read(path, dtype="int16")
            encoded = io.BytesIO()
            soundfile.write(encoded, samples, rate, format="FLAC", subtype="PCM_16", compression_level=5 / 8)
            sink.write({"__key__": path.stem, "flac": encoded.getvalue()})


def _pipeline(job: Job, folder: str) -> IterableDataset:
    if job.where.startswith("s3://"):
        webdataset.gopen_schemes["s3"] = _open_s3
    names = sorted(path.name for path in (job.local / folder).glob("*.tar"))
    urls = ["/".join(part for part in (job.where, folder, name) if part) for name in names]
    more = {"cache_dir": str(job.cache)} if job.variant == "tuned, cached" else {}
    dataset = webdataset.WebDataset(urls, shardshuffle=100, seed=job.seed, **more)
    return dataset.repeat().shuffle(BUFFERS.get(job.dataset, 100)).map(lambda item: _sample(item, job))


def _sample(item: dict[str, Any], job: Job) -> dict[str, Any]:
    member = item["flac"] if "flac" in item else item["wav"]
    return sample(item["__key__"], member, job)


def _open_s3(url: str, mode: str = "rb", *_: Any, **__: Any) -> Any:
    import fsspec  # noqa: PLC0415  (only where S3 is read)

    store = fsspec.filesystem("s3", skip_instance_cache=True, endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    return store.open(url, mode)
