"""Whether a system does the work: what it delivers against the files that it was built from, sample by sample."""

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from tools.bench.systems.contract import SOURCES, Batch, Job

ENOUGH_TO_WEIGH, WEIGHT_ERROR = 1_000, 0.06


class WrongError(Exception):
    """What was delivered is not what was asked for."""


def check_batches(batches: Iterator[Batch], job: Job, source: Path, *, num_samples: int) -> dict[str, Any]:
    """Compare what is delivered with the files; return how many samples, of how many recordings.

    Raises:
        WrongError: Something differs, or nothing is random.
    """
    files = {path.stem: path for path in source.rglob("*") if path.is_file()}
    keys: list[str] = []
    starts: list[int] = []
    while len(keys) < num_samples:
        batch = next(batches)
        check_form(batch)
        audio = np.asarray(batch.audio)
        for row, key, start, length in zip(audio, batch.keys, batch.starts, batch.lengths, strict=True):
            _check_row(row, files[key], int(start), int(length), job.crop_s)
        keys += batch.keys
        starts += [int(start) for start in batch.starts]
    if keys == sorted(keys) or (job.crop_s is not None and len(set(starts)) < len(starts) / 2):
        raise WrongError("neither the order nor where crops start is random")
    if job.dataset == "digits":
        _check_weights([files[key].parent.name for key in keys])
    return {"samples": len(keys), "recordings": len(set(keys))}


def check_form(batch: Batch) -> None:
    """Raise unless the audio is (batch, channel, time) float32 with one row for each key."""
    audio = np.asarray(batch.audio)
    if audio.dtype != np.float32 or audio.ndim != 3 or len(audio) != len(batch.keys):
        raise WrongError(f"{audio.dtype} of shape {audio.shape} for {len(batch.keys)} keys")


def check_packed(packed: Iterator[tuple[str, bytes]], source: Path, *, share: float = 0.05) -> dict[str, Any]:
    """Compare the keys of what was packed with the WAV files, and the samples of some."""
    from io import BytesIO  # noqa: PLC0415  (here only)

    draw, seen = random.Random(0), set()  # noqa: S311  (which to decode)
    for key, data in packed:
        seen.add(key)
        if draw.random() < share:
            samples, _ = soundfile.read(BytesIO(data), dtype="int16", always_2d=True)
            expected, _ = soundfile.read(source / f"{key}.wav", dtype="int16", always_2d=True)
            if bytes(data[:4]) != b"fLaC" or not np.array_equal(samples, expected):
                raise WrongError(f"{key}: no FLAC of the same samples")
    missing = {path.stem for path in source.glob("*.wav")} ^ seen
    if missing:
        raise WrongError(f"{len(missing)} keys missing or too many: {sorted(missing)[:3]}")
    return {"files": len(seen)}


def compared(
    rest: list[list[Any]], resumed: list[list[Any]], *, before: list[list[Any]], recordings: int
) -> Mapping[str, Any]:
    """Say how what came after a resume relates to what came without: crops as (key, start, length)."""
    seen = [crop[0] for crop in [*before, *resumed]]
    if resumed == rest:
        same = "the same crops"
    elif [crop[0] for crop in resumed] == [crop[0] for crop in rest]:
        same = "the same recordings, other crops"
    elif sorted(crop[0] for crop in resumed) == sorted(crop[0] for crop in rest):
        same = "the same recordings in another order"
    else:
        same = "others"
    return {"same": same, "missed": recordings - len(set(seen)), "twice": len(seen) - len(set(seen))}


def _check_row(row: np.ndarray, path: Path, start: int, length: int, crop_s: float | None) -> None:
    info = soundfile.info(path)
    wanted = info.frames if crop_s is None else round(crop_s * info.samplerate)
    if length != wanted or (crop_s is None and start != 0):
        raise WrongError(f"{path.stem}: samples from {start} on, {length} of them, where {wanted} were asked for")
    expected, _ = soundfile.read(path, start=start, frames=length, dtype="int16", always_2d=True)
    if not np.array_equal(row[:, :length], expected.T / np.float32(32_768)):
        raise WrongError(f"{path.stem}: not the samples from {start} on")
    if np.any(row[:, length:]):
        raise WrongError(f"{path.stem}: padding that is not zero")


def _check_weights(sources: list[str]) -> None:
    if len(sources) < ENOUGH_TO_WEIGH:
        return
    for name, weight in SOURCES.items():
        share = sources.count(name) / len(sources)
        if abs(share - weight) > WEIGHT_ERROR:
            raise WrongError(f"source {name} has {share:.2f} of the samples where its weight is {weight}")
