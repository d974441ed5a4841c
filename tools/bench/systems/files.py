"""Plain FLAC files and a torch DataLoader: what a user has before any of these systems."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from torch.utils.data import DataLoader, Dataset, Sampler, WeightedRandomSampler

from tools.bench.systems.contract import SOURCES, Batch, Job
from tools.bench.systems.cutting import collated, sample

REQUIREMENTS = ("torch==2.13.0", "numpy", "soundfile")
SETTINGS = (
    "A map-style Dataset of paths, DataLoader(shuffle=True, num_workers=0 or 2, persistent workers): soundfile "
    "opens the file, seeks, reads (tuned), or reads it whole and slices (documented); F: WeightedRandomSampler."
)
VARIANTS = {
    "documented": {"A": (0, 2), "F": (0,)},
    "tuned": {"A": (0, 2), "B": (0, 2), "B-wav": (0,), "E": (0,), "G": (0, 2), "G-paced": (2,)},
}


class Recordings(Dataset):
    """Crops of files."""

    def __init__(self, paths: list[Path], job: Job) -> None:
        self.paths, self.job = paths, job

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict:
        path = self.paths[index]
        return sample(path.stem, path, self.job)


def build(source: Path, target: Path, dataset: str) -> None:  # noqa: ARG001  (the contract's)
    """Copy the files: they are their own format."""
    shutil.copytree(source, target)


def batches(job: Job) -> Iterator[Batch]:
    """Give batches of shuffled passes without end."""
    paths = sorted(path for path in Path(job.where).rglob("*") if path.is_file())
    loader = DataLoader(
        Recordings(paths, job),
        batch_size=job.batch,
        collate_fn=collated,
        num_workers=job.workers,
        persistent_workers=job.workers > 0,
        **_order(job, paths),
    )
    while True:
        yield from loader


def epoch(job: Job, state: bytes | None) -> tuple[Iterator[Batch], Callable[[], bytes]]:
    """Give one pass; as torch has no state of a DataLoader, the usual way: the same permutation, begun later."""
    paths = sorted(path for path in Path(job.where).rglob("*") if path.is_file())
    order = random.Random(job.seed).sample(range(len(paths)), len(paths))  # noqa: S311  (an order)
    taken = int(state or b"0")

    def given() -> Iterator[Batch]:
        nonlocal taken
        for batch in DataLoader(
            Recordings(paths, job), batch_size=job.batch, collate_fn=collated, sampler=order[taken:]
        ):
            taken += len(batch.keys)
            yield batch

    return given(), lambda: str(taken).encode()


def _order(job: Job, paths: list[Path]) -> dict[str, bool | Sampler]:
    if job.workload != "F":
        return {"shuffle": True}
    sizes = {name: sum(path.parent.name == name for path in paths) for name in SOURCES}
    weights = [SOURCES[path.parent.name] / sizes[path.parent.name] for path in paths]
    return {"sampler": WeightedRandomSampler(weights, num_samples=len(paths))}
