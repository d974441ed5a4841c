"""lhotse's Shar: one tar per field beside a list of cuts, read in order."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lhotse import CutSet, Recording
from lhotse.cut import Cut
from lhotse.dataset import DynamicCutSampler
from lhotse.dataset.iterable_dataset import IterableDatasetWrapper
from torch.utils.data import DataLoader, Dataset

from tools.bench.systems.contract import SOURCES, Batch, Job, PackJob
from tools.bench.systems.cutting import collated, place

REQUIREMENTS = ("lhotse==1.33.0", "torch==2.13.0", "numpy", "soundfile", "smart_open[s3]")
SETTINGS = (
    "CutSet.to_shar(fields={'recording': 'flac'}), which encodes anew; from_shar(shuffle_shards=True).repeat(), "
    "DynamicCutSampler(max_cuts=32, shuffle=True, shuffle_buffer_size=100, tracks 8), a Dataset that truncates "
    "each cut at random and loads it (soundfile seeks in the member's bytes); DataLoader over "
    "IterableDatasetWrapper with 2 workers; F: CutSet.mux(weights)."
)
VARIANTS = {
    "tuned": {
        "A": (0, 2),
        "B": (0,),
        "C-A": (0, 2),
        "C-B": (0, 2),
        "D": (0,),
        "E": (0,),
        "F": (0,),
        "G": (0, 2),
        "G-paced": (2,),
    },
}
CLIPS_IN_SHARD, TRACKS_IN_SHARD = 128, 4
BUFFER, TRACKS_BUFFER = 100, 8  # members; a track has 20 MB


class Crops(Dataset):
    """Makes a batch of cuts, as lhotse's own datasets do."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __getitem__(self, cuts: CutSet) -> Batch:
        """Load a crop of each cut."""
        return collated([self._sample(cut) for cut in cuts])

    def _sample(self, cut: Cut) -> dict[str, Any]:
        start, length = place(cut.num_samples, self.job.crop_s, cut.sampling_rate)
        if self.job.crop_s is not None:
            cut = cut.truncate(offset=start / cut.sampling_rate, duration=self.job.crop_s)
        return {"key": _key(cut), "audio": cut.load_audio(), "start": start, "length": length}


def build(source: Path, target: Path, dataset: str) -> None:
    """Write Shar; its audio is encoded anew, as FLAC of the same samples."""
    for folder in SOURCES if dataset == "digits" else [""]:
        paths = sorted((source / folder).iterdir())
        size = TRACKS_IN_SHARD if dataset == "tracks" else CLIPS_IN_SHARD
        _written(paths, target / folder, size=size, processes=1)


def batches(job: Job) -> Iterator[Batch]:
    """Give batches of shuffled passes without end."""
    if job.dataset == "digits":
        parts = [_cuts(job, name) for name in SOURCES]
        cuts = CutSet.mux(*parts, weights=list(SOURCES.values()), seed=job.seed)
    else:
        cuts = _cuts(job, "")
    size = TRACKS_BUFFER if job.dataset == "tracks" else BUFFER
    sampler = DynamicCutSampler(cuts, max_cuts=job.batch, shuffle=True, shuffle_buffer_size=size, seed=job.seed)
    if job.workers == 0:
        dataset = Crops(job)
        return (dataset[batch] for batch in sampler)
    wrapped = IterableDatasetWrapper(dataset=Crops(job), sampler=sampler)
    return iter(DataLoader(wrapped, batch_size=None, num_workers=job.workers))


def pack(job: PackJob) -> None:
    """Write Shar with as many jobs."""
    _written(sorted(job.source.glob("*.wav")), job.target, size=CLIPS_IN_SHARD, processes=job.processes)


def packed(target: Path) -> Iterator[tuple[str, bytes]]:
    """Give the members of the tars, each followed by its metadata in the tar."""
    for path in sorted(target.rglob("recording.*.tar")):
        with tarfile.open(path) as tar:
            for entry in tar:
                if entry.name.endswith(".flac"):
                    yield entry.name.removesuffix(".flac"), tar.extractfile(entry).read()


def _written(paths: list[Path], target: Path, *, size: int, processes: int) -> None:
    torch.set_num_threads(1)
    target.mkdir(parents=True)
    cuts = CutSet.from_cuts(Recording.from_file(path, recording_id=path.stem).to_cut() for path in paths)
    # As many shards for each process, as to_shar with jobs does; ids are the recordings' so that members have names.
    cuts = cuts.map(lambda cut: cut.with_id(cut.recording_id)).to_eager()
    cuts.to_shar(target, fields={"recording": "flac"}, shard_size=size, num_jobs=processes)


def _cuts(job: Job, folder: str) -> CutSet:
    names = sorted(path.name.split(".", 1)[1] for path in (job.local / folder).glob("cuts.*.jsonl.gz"))
    where = "/".join(part for part in (job.where, folder) if part)
    fields = {
        "cuts": [f"{where}/cuts.{name}" for name in names],
        "recording": [f"{where}/recording.{name.split('.')[0]}.tar" for name in names],
    }
    split = job.workers > 0
    cuts = CutSet.from_shar(fields=fields, shuffle_shards=True, split_for_dataloading=split, seed=job.seed)
    return cuts.repeat()


def _key(cut: Cut) -> str:
    return cut.recording_id
