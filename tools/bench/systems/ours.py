"""shardkit itself."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import shardkit as sk
from shardkit.stream.stream import Stream
from tools.bench.systems.contract import RATE, SOURCES, Batch, Job, PackJob

REQUIREMENTS = ()
SETTINGS = (
    "Shards of 256 MB; Stream(view, crop=RandomCrop(s), batch_size=b), iterated as it is: NumPy, its default "
    "threads (one a core). Loader: the same through shardkit.train.Loader(device='cpu'), which gives tensors, "
    "with 0 or 2 worker processes; G adds transform=LogMel. DataLoader: torch's, over StreamingDataset. cached: "
    "Stream(cache=folder). D: shardkit pack --codec flac, with all that it stores; no loudness: the same with "
    "--no-loudness, which is what the peers do and still hashes, checks, indexes and writes seek tables."
)
VARIANTS = {
    "default": {
        "A": (0,),
        "B": (0,),
        "B-wav": (0,),
        "C-A": (0,),
        "C-B": (0,),
        "D": (0,),
        "E": (0,),
        "F": (0,),
    },
    "1 thread": {"A": (0,), "B": (0,), "B-wav": (0,), "F": (0,)},
    "Loader": {"A": (0, 2), "B": (0,), "C-A": (2,), "C-B": (2,), "F": (0,), "G": (0,), "G-paced": (0, 2)},
    "DataLoader": {"A": (2,)},
    "cached": {"C-A": (0,), "C-B": (0,)},
    "no loudness": {"D": (0,)},
}
CACHES = ("cached",)


def build(source: Path, target: Path, dataset: str) -> None:
    """Pack the files as they are: each FLAC byte for byte."""
    if dataset == "digits":
        for name in SOURCES:
            _packed(source / name, target / name, "keep")
    else:
        _packed(source, target, "keep")


def batches(job: Job) -> Iterator[Batch]:
    """Give batches of an endless stream."""
    if job.variant == "DataLoader":
        from torch.utils.data import DataLoader  # noqa: PLC0415  (only where it is used: a stream needs no torch)

        from shardkit.train import StreamingDataset  # noqa: PLC0415

        read: Any = DataLoader(StreamingDataset(_stream(job)), batch_size=None, num_workers=job.workers)
    elif job.variant == "Loader":
        read = _loader(job)
    else:
        read = _stream(job)
    for batch in read:
        yield Batch(batch.audio, batch.keys, batch.starts, batch.lengths, getattr(batch, "features", None))


def epoch(job: Job, state: bytes | None) -> tuple[Iterator[Batch], Callable[[], bytes]]:
    """Give one pass; its state is JSON."""
    stream = _stream(job, passes=1)
    if state is not None:
        stream.load_state_dict(json.loads(state))
    given = (_valid(batch) for batch in stream)
    return given, lambda: json.dumps(stream.state_dict()).encode()


def prepare_pack(_job: PackJob) -> None:
    """Import what packing needs, as the peers' files have imported theirs by then."""
    import shardkit.pack.run  # noqa: F401, PLC0415  (a stream needs nothing of packing)


def pack(job: PackJob) -> None:
    """Pack WAV files as ``shardkit pack --codec flac`` does: hashes, seek tables and index with it, and loudness."""
    _packed(job.source, job.target, "flac", workers=job.processes, loudness=job.variant != "no loudness")


def packed(target: Path) -> Iterator[tuple[str, bytes]]:
    """Give the members as they are stored."""
    from tools.bench.comparison.members import members  # noqa: PLC0415  (for the check only)

    yield from members(target)


def _stream(job: Job, **more: Any) -> Stream:
    views: Any = sk.open(job.where) if job.dataset != "digits" else None
    if views is None:
        views = {name: sk.open(f"{job.where}/{name}") for name in SOURCES}
        more["weights"] = SOURCES
    if job.variant == "1 thread":
        more["threads"] = 1
    if job.variant == "cached":
        more |= {"cache": job.cache, "cache_size": "20GB"}
    crop = None if job.crop_s is None else sk.RandomCrop(job.crop_s)
    return Stream(views, crop=crop, batch_size=job.batch, seed=job.seed, **more)


def _loader(job: Job) -> Any:
    from shardkit.train import Loader  # noqa: PLC0415  (as above)
    from tools.bench.systems import log_mel  # noqa: PLC0415

    transform = log_mel.of_shardkit(RATE) if job.workload == "G" else None
    return Loader(_stream(job), device="cpu", transform=transform, workers=job.workers)


def _valid(batch: sk.Batch) -> Batch:
    """Return a batch without the rows that only fill up the last one; others as they are, for a copy is 30 MB."""
    if batch.valid.all():
        return Batch(batch.audio, batch.keys, batch.starts, batch.lengths)
    rows = batch.valid.nonzero()[0]
    return Batch(batch.audio[rows], [batch.keys[row] for row in rows], batch.starts[rows], batch.lengths[rows])


def _packed(source: Path, target: Path, codec: str, **more: Any) -> None:
    from shardkit.pack.inputs import InputOptions  # noqa: PLC0415  (a stream needs nothing of packing)
    from shardkit.pack.options import PackOptions  # noqa: PLC0415
    from shardkit.pack.run import pack as pack_folder  # noqa: PLC0415
    from shardkit.storage.location import locate  # noqa: PLC0415

    options: Mapping[str, Any] = {"codec": codec, "name": target.name, **more}
    pack_folder(locate(source), locate(target), inputs=InputOptions(), options=PackOptions(**options))
