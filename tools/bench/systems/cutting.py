"""Crops with soundfile, the same for all peers: of a member decoded whole, or cut out by seeking in its bytes.

NumPy and soundfile only, and torch where a batch is put together.
"""

import io
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tools.bench.systems.contract import Batch, Job

Member = bytes | memoryview | Path  # a view is of a file mapped into memory: nothing is copied but what is read


def sample(key: str, member: Member, job: Job) -> dict[str, Any]:
    """Return the crop that a job wants of a member, as ``collated`` takes it."""
    cut = whole_then_sliced if job.crop_s is None or job.variant == "documented" else sought
    audio, start = cut(member, job.crop_s)
    return {"key": key, "audio": audio, "start": start, "length": audio.shape[1]}


def whole_then_sliced(member: Member, crop_s: float | None) -> tuple[np.ndarray, int]:
    """Decode all, then take a crop: (channel, time) float32, and where it starts."""
    samples, rate = soundfile.read(_opened(member), dtype="float32", always_2d=True)
    start, length = place(len(samples), crop_s, rate)
    return np.ascontiguousarray(samples[start : start + length].T), start


def sought(member: Member, crop_s: float | None) -> tuple[np.ndarray, int]:
    """Seek, then decode only the crop: (channel, time) float32, and where it starts."""
    with soundfile.SoundFile(_opened(member)) as file:
        start, length = place(file.frames, crop_s, file.samplerate)
        file.seek(start)
        return np.ascontiguousarray(file.read(length, dtype="float32", always_2d=True).T), start


def place(frames: int, crop_s: float | None, rate: int) -> tuple[int, int]:
    """Return start and length of a random crop, from the module ``random``, which DataLoader seeds in each worker."""
    if crop_s is None:
        return 0, frames
    length = round(crop_s * rate)
    return random.randrange(frames - length + 1), length  # noqa: S311  (where crops start)


def collated(samples: Sequence[dict[str, Any]]) -> Batch:
    """Return a batch of torch tensors: a DataLoader's ``collate_fn``; crops as its default does, others padded."""
    import torch  # noqa: PLC0415  (not in every environment that cuts)

    keys = [item["key"] for item in samples]
    starts, lengths = (torch.tensor([item[name] for item in samples]) for name in ("start", "length"))
    if len({item["length"] for item in samples}) == 1:
        return Batch(torch.stack([torch.from_numpy(item["audio"]) for item in samples]), keys, starts, lengths)
    audio = torch.zeros(len(samples), samples[0]["audio"].shape[0], int(lengths.max()))
    for row, item in zip(audio, samples, strict=True):
        row[:, : item["length"]] = torch.from_numpy(item["audio"])
    return Batch(audio, keys, starts, lengths)


def _opened(member: Member) -> Any:
    if isinstance(member, memoryview):
        return _View(member)
    return str(member) if isinstance(member, Path) else io.BytesIO(member)


class _View(io.RawIOBase):
    """A file over bytes that lie elsewhere: ``BytesIO`` would copy them."""

    def __init__(self, view: memoryview) -> None:
        self._view, self._at = view, 0

    def readinto(self, target: Any) -> int:
        part = self._view[self._at : self._at + len(target)]
        target[: len(part)] = part
        self._at += len(part)
        return len(part)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, len(self._view))[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True
