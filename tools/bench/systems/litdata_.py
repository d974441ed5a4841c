"""litdata: chunks that ``optimize`` writes, a ``StreamingDataset`` with a transform, and its DataLoader."""

import functools
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tools.bench.systems import bare_torchvision  # noqa: F401  (before what imports torchvision)

# isort: split
import numpy as np
import soundfile
from litdata import (
    CombinedStreamingDataset,
    StreamingDataLoader,
    StreamingDataset,
    optimize,
)
from litdata.streaming import downloader
from litdata.streaming.temporal import TemporalArrayLoader
from torch.utils.data import DataLoader, Dataset

from tools.bench.systems.contract import SOURCES, Batch, Job, PackJob
from tools.bench.systems.cutting import collated, place, sample
from tools.bench.systems.flac_member import encoded

REQUIREMENTS = ("litdata==0.2.76", "torch==2.13.0", "numpy", "soundfile")
SETTINGS = (
    "optimize(chunk_bytes=64MB, its default), StreamingDataset(shuffle=True, transform=cut), StreamingDataLoader; "
    "tuned: soundfile reads the mapped member in place, without a copy. Tracks are repeated 64 x in a pass "
    "(subsample). pcm-10s: windows of 10 s int16 every 8 s, so that a crop may start anywhere; pcm-window: "
    "TemporalArrayLoader and read_window of int16, a range of the crop alone. F: CombinedStreamingDataset. S3: "
    "storage_options, cache_dir, obstore for chunks, boto3 for windows, as the server here answers ranges in a way "
    "that obstore refuses; D: start_method=fork, as its default costs seconds to start."
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
    "pcm-10s": {"B-wav": (0, 2)},
    "optimize": {"D": (0,)},
    "pcm-window": {"B-wav": (0, 2), "C-B": (0, 2)},
}
CACHES = ("tuned",)

_CHUNK = "64MB"
_WINDOW_S, _HOP_S = 10.0, 8.0  # of "pcm-10s": they overlap by a crop, so that a crop may start anywhere
_RATE = 48_000
_REPEATS = 64  # of each track in a pass: there are few, and a loader is not to be begun anew after each batch


def build(source: Path, target: Path, dataset: str) -> None:
    """Write chunks of members: one dataset for each source, and one of PCM for tracks."""
    for folder in [source / name for name in SOURCES] if dataset == "digits" else [source]:
        paths = sorted(str(path) for path in folder.iterdir() if path.is_file())
        _optimize(_member, paths, target / "members" / folder.relative_to(source), workers=1)
    if dataset == "tracks-wav":
        windows = [(str(path), start) for path in sorted(source.iterdir()) for start in _window_starts(path)]
        _optimize(_window, windows, target / "windows", workers=1)
    if dataset in ("tracks", "tracks-wav"):
        paths = sorted(source.iterdir())
        _optimize(_frames, [str(path) for path in paths], target / "frames", workers=1, loader=TemporalArrayLoader())
        (target / "frames" / "keys.json").write_text(json.dumps([path.stem for path in paths]))


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
    """Write with ``optimize``, which has worker processes and brings its own queue."""
    _optimize(_encoded, sorted(str(path) for path in job.source.rglob("*.wav")), job.target, workers=job.processes)


def packed(target: Path) -> Iterator[tuple[str, bytes]]:
    """Give what ``pack`` wrote."""
    for item in StreamingDataset(str(target), shuffle=False):
        yield item["key"], item["audio"]


class Windows(Dataset):
    """Crops out of PCM of which only their frames are read: ``read_window``, with indices from a DataLoader."""

    def __init__(self, job: Job) -> None:
        self.job, self.data = job, None
        self.keys = json.loads((job.local / "frames" / "keys.json").read_text())

    def __len__(self) -> int:
        return len(self.keys) * _REPEATS

    def __getitem__(self, number: int) -> dict[str, Any]:
        index = number % len(self.keys)
        if self.data is None:  # in the worker, as its docs ask
            self.data = StreamingDataset(**_from(self.job, "frames"), item_loader=TemporalArrayLoader())
        start, length = place(self.data.frame_counts[index], self.job.crop_s, _RATE)
        frames = self.data.read_window(index, start=start, frames=length)["pcm"]
        return {"key": self.keys[index], "audio": _floats(frames), "start": start, "length": length}


def _loader(job: Job) -> DataLoader:
    workers = {"num_workers": job.workers, "persistent_workers": job.workers > 0}
    if job.variant == "pcm-window":
        return DataLoader(Windows(job), batch_size=job.batch, shuffle=True, collate_fn=collated, **workers)
    if job.workload == "F":
        parts = [_dataset(job, f"members/{name}") for name in SOURCES]
        shares = list(SOURCES.values())
        dataset = CombinedStreamingDataset(parts, seed=job.seed, weights=shares, iterate_over_all=False)
    else:
        dataset = _dataset(job, "windows" if job.variant == "pcm-10s" else "members")
    return StreamingDataLoader(dataset, batch_size=job.batch, collate_fn=collated, **workers)


def _dataset(job: Job, part: str) -> StreamingDataset:
    cut = functools.partial(_cut_window if part == "windows" else _cut, job=job)
    repeats = _REPEATS if job.dataset.startswith("tracks") else 1
    return StreamingDataset(**_from(job, part), shuffle=True, seed=job.seed, transform=cut, subsample=float(repeats))


def _from(job: Job, part: str) -> dict[str, Any]:
    if not job.where.startswith("s3://"):
        return {"input_dir": f"{job.where}/{part}"}
    cache = job.cache or Path(tempfile.mkdtemp(prefix="litdata-"))  # without a cache, for the index alone
    # The server here has no TLS, and answers a range with status 200 where S3 has 206, which obstore refuses. Nothing
    # public tells it: chunks are asked for whole, and windows through boto3.
    downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True
    downloader._PARALLEL_GET_MIN_BYTES = 1 << 62
    downloader._OBSTORE_AVAILABLE = part != "frames"
    options = {
        "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
        "endpoint_url": os.environ["AWS_ENDPOINT_URL"],
    }
    return {"input_dir": f"{job.where}/{part}", "cache_dir": str(cache), "storage_options": options}


def _optimize(
    function: Callable[[Any], dict], inputs: Sequence[Any], target: Path, *, workers: int, loader: Any = None
) -> None:
    optimize(
        fn=function,
        inputs=inputs,
        output_dir=str(target),
        chunk_bytes=_CHUNK,
        num_workers=workers,
        item_loader=loader,
        reorder_files=False,
        start_method="fork",
        keep_data_ordered=True if loader is not None else None,
        verbose=False,
    )


def _member(path: str) -> dict[str, Any]:
    return {"key": Path(path).stem, "audio": Path(path).read_bytes()}


def _encoded(path: str) -> dict[str, Any]:
    return {"key": Path(path).stem, "audio": encoded(Path(path))}


def _frames(path: str) -> dict[str, np.ndarray]:
    return {"pcm": soundfile.read(path, dtype="int16", always_2d=True)[0]}


def _window_starts(path: Path) -> range:
    frames = soundfile.info(path).frames
    return range(0, max(1, frames - round((_WINDOW_S - _HOP_S) * _RATE) + 1), round(_HOP_S * _RATE))


def _window(place: tuple[str, int]) -> dict[str, Any]:
    path, start = place
    frames = soundfile.read(path, round(_WINDOW_S * _RATE), start, dtype="int16", always_2d=True)[0]
    return {"key": Path(path).stem, "start": start, "pcm": frames}


def _cut(item: dict[str, Any], job: Job) -> dict[str, Any]:
    return sample(item["key"], item["audio"], job)


def _cut_window(item: dict[str, Any], job: Job) -> dict[str, Any]:
    start, length = place(len(item["pcm"]), job.crop_s, _RATE)
    audio = _floats(item["pcm"][start : start + length])
    return {"key": item["key"], "audio": audio, "start": item["start"] + start, "length": length}


def _floats(frames: np.ndarray) -> np.ndarray:
    """Return (time, channel) int16 as (channel, time) float32 in [-1, 1)."""
    return np.multiply(frames.T, np.float32(1 / 32768), dtype=np.float32, order="C")
