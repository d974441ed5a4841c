"""mosaicml-streaming: MDS shards, a ``StreamingDataset`` whose ``__getitem__`` decodes, and its DataLoader."""

import json
import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tools.bench.systems import bare_torchvision  # noqa: F401  (before what imports torchvision)

# isort: split
from streaming import MDSWriter, Stream, StreamingDataLoader, StreamingDataset
from streaming.base.util import clean_stale_shared_memory, merge_index

from tools.bench.systems.contract import SOURCES, Batch, Job, PackJob
from tools.bench.systems.cutting import collated, sample
from tools.bench.systems.flac_member import encoded

REQUIREMENTS = ("mosaicml-streaming==0.13.0", "torch==2.13.0", "numpy", "soundfile")
SETTINGS = (
    "MDSWriter(columns str and bytes, 64 MB shards, its default), StreamingDataset(shuffle=True, py1e, batch_size) "
    "whose __getitem__ decodes, StreamingDataLoader, all else at its defaults. Tracks: Stream(repeat=64), as a pass "
    "over few is soon done. F: Stream(proportion). S3: remote and an empty local, S3_ENDPOINT_URL; with workers its "
    "client is dropped before they are forked, as sharing its connection stores wrong bytes. D: one MDSWriter in "
    "each process, merge_index, as its guide to parallel conversion has it."
)
VARIANTS = {
    "documented": {"A": (0, 2), "B": (0,)},
    "tuned": {
        "A": (0, 2),
        "B": (0, 2),
        "B-wav": (0,),
        "C-A": (0, 2),
        "C-B": (0, 2),
        "E": (0,),
        "F": (0, 2),
        "G": (0, 2),
        "G-paced": (2,),
    },
    "MDSWriter": {"D": (0,)},
}
CACHES = ("tuned",)

_REPEATS = 64  # of each track in a pass: there are few, and a loader is not to be begun anew after each batch
_COLUMNS = {"key": "str", "audio": "bytes"}


class Recordings(StreamingDataset):
    """Crops of what MDS shards hold."""

    def __init__(self, job: Job, **options: Any) -> None:
        super().__init__(batch_size=job.batch, shuffle=True, shuffle_seed=job.seed, **options)
        self.job = job

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = super().__getitem__(index)
        return sample(item["key"], item["audio"], self.job)


def build(source: Path, target: Path, dataset: str) -> None:
    """Write MDS shards of the default size, one dataset for each source."""
    for folder in [source / name for name in SOURCES] if dataset == "digits" else [source]:
        out = target / folder.relative_to(source)
        with MDSWriter(out=str(out), columns=_COLUMNS) as writer:
            for path in sorted(path for path in folder.iterdir() if path.is_file()):
                writer.write({"key": path.stem, "audio": path.read_bytes()})


def batches(job: Job) -> Iterator[Batch]:
    """Give batches of shuffled passes without end."""
    loader = _loader(job)
    while True:
        yield from loader


def epoch(job: Job, state: bytes | None) -> tuple[Iterator[Batch], Callable[[], bytes]]:
    """Give one pass; the state is the loader's own."""
    loader = _loader(job)
    if state is not None:
        loader.load_state_dict(json.loads(state))
    return iter(loader), lambda: json.dumps(loader.state_dict()).encode()


def pack(job: PackJob) -> None:
    """Write a part with each process, then one index over the parts, as its docs on parallel conversion have it."""
    paths = sorted(job.source.rglob("*.wav"))
    with multiprocessing.Pool(job.processes) as pool:
        parts = [(job.target / f"{part:02d}", paths[part :: job.processes]) for part in range(job.processes)]
        pool.starmap(_write_part, parts)
    merge_index(str(job.target), keep_local=True)


def packed(target: Path) -> Iterator[tuple[str, bytes]]:
    """Give what ``pack`` wrote."""
    clean_stale_shared_memory()
    for item in StreamingDataset(local=str(target), shuffle=False, batch_size=1):
        yield item["key"], item["audio"]


def _write_part(out: Path, paths: list[Path]) -> None:
    with MDSWriter(out=str(out), columns=_COLUMNS) as writer:
        for path in paths:
            writer.write({"key": path.stem, "audio": encoded(path)})


def _loader(job: Job) -> StreamingDataLoader:
    clean_stale_shared_memory()
    dataset = Recordings(job, **_source(job))
    for stream in dataset.streams if job.workers else ():
        # Else forked workers share the connection by which the index came, get each other's bytes, and store them.
        stream._downloader.clean_up()
    return StreamingDataLoader(
        dataset,
        batch_size=job.batch,
        collate_fn=collated,
        num_workers=job.workers,
        persistent_workers=job.workers > 0,
    )


def _source(job: Job) -> dict[str, Any]:
    if job.workload == "F":
        return {"streams": [Stream(local=f"{job.where}/{name}", proportion=share) for name, share in SOURCES.items()]}
    repeats = _REPEATS if job.dataset.startswith("tracks") else 1
    place = {"local": job.where} if job.cache is None else {"remote": job.where, "local": str(job.cache)}
    return {"streams": [Stream(**place, repeat=repeats)]}
