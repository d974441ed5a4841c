"""What reads crops in ``tools.bench.crops``: shardkit, its peers, and the floor; each in a process of its own.

Every system draws recordings as it can and a start within each at random, and delivers float32.
"""

import io
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import soundfile

import shardkit as sk
from shardkit.stream.dataset import open_dataset
from tools.bench import floor
from tools.bench.metering import Drawn, Reader, report

BATCH = 32


def shardkit_stream(*, where: str, crop_s: float | None, threads: int | None = None) -> Reader:
    """Return crops, or with None whole samples, from a ``Stream``."""
    view = open_dataset(where)
    crop = None if crop_s is None else sk.RandomCrop(crop_s)
    seeds = iter(range(1 << 30))

    def read(number: int) -> list[Drawn]:
        drawn: list[Drawn] = []
        # Ends by itself, so that what was read ahead is what was delivered.
        stream = sk.Stream(view, crop=crop, batch_size=BATCH, epoch_samples=number, threads=threads, seed=next(seeds))
        for batch in stream:
            bounds = zip(batch.keys, batch.starts.tolist(), batch.lengths.tolist(), strict=True)
            drawn += [Drawn(key, start, start + length) for key, start, length in bounds]
        return drawn

    return read


def webdataset(*, where: str, crop_s: float, seeks: bool = False) -> Reader:
    """Return crops from webdataset: of members decoded whole, or cut out by soundfile, which seeks in their bytes."""
    import webdataset as wds  # noqa: PLC0415  (only needed here, and slow to import)

    wds.gopen_schemes["s3"] = lambda url, mode, *_, **__: fsspec.open(url, mode).open()  # no pipe, no program
    urls = [f"{where}/{shard.path}" for shard in open_dataset(where).manifest.shards]
    dataset = wds.WebDataset(urls, shardshuffle=False).repeat()
    if not seeks:
        dataset = dataset.decode(wds.handle_extension("flac wav", _decode_whole))
    samples, draw = iter(dataset), random.Random(0)  # noqa: S311  (where crops start)

    def read(number: int) -> list[Drawn]:
        cut = _cut_from_bytes if seeks else _cut
        return [cut(next(samples), crop_s, draw) for _ in range(number)]

    return read


def flac_files(*, where: str, crop_s: float) -> Reader:
    """Return crops of plain files that soundfile opens and seeks in."""
    folder, draw = Path(where), random.Random(0)  # noqa: S311  (where crops start)
    paths = sorted(folder.rglob("*.flac"))

    def read(number: int) -> list[Drawn]:
        drawn = []
        for _ in range(number):
            path = draw.choice(paths)
            with soundfile.SoundFile(path) as file:
                start, length = _place(file.frames, crop_s * file.samplerate, draw)
                _read(file, start, length)
            drawn.append(Drawn(path.relative_to(folder).with_suffix("").as_posix(), start, start + length))
        return drawn

    return read


def prototype(*, where: str, crop_s: float, threads: int) -> Reader:
    """Return crops as cheaply as can be: see ``tools.bench.floor``."""
    found, draw = floor.recordings(Path(where)), random.Random(0)  # noqa: S311  (where crops start)
    keys = open_dataset(where).keys()

    def read(number: int) -> list[Drawn]:
        draws = []
        for _ in range(number):
            row = draw.randrange(len(found))
            start, length = _place(int(found[row].samples[-1]), crop_s * found[row].info.sample_rate, draw)
            draws.append((row, start, start + length))
        floor.crops(found, draws, threads=threads)
        return [Drawn(keys[row], start, stop) for row, start, stop in draws]

    return read


def _decode_whole(data: bytes) -> tuple[np.ndarray, int]:
    samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return samples.T, rate


def _cut(sample: Mapping[str, Any], crop_s: float, draw: random.Random) -> Drawn:
    samples, rate = sample["flac"]
    start, length = _place(samples.shape[1], crop_s * rate, draw)
    np.ascontiguousarray(samples[:, start : start + length])
    return Drawn(sample["__key__"], start, start + length)


def _cut_from_bytes(sample: Mapping[str, Any], crop_s: float, draw: random.Random) -> Drawn:
    with soundfile.SoundFile(io.BytesIO(sample["flac"])) as file:
        start, length = _place(file.frames, crop_s * file.samplerate, draw)
        _read(file, start, length)
    return Drawn(sample["__key__"], start, start + length)


def _read(file: soundfile.SoundFile, start: int, length: int) -> np.ndarray:
    file.seek(start)
    return np.ascontiguousarray(file.read(length, dtype="float32", always_2d=True).T)


def _place(frames: int, length: float, draw: random.Random) -> tuple[int, int]:
    return draw.randrange(frames - round(length) + 1), round(length)


SYSTEMS = {"shardkit": shardkit_stream, "webdataset": webdataset, "files": flac_files, "floor": prototype}

if __name__ == "__main__":
    report(SYSTEMS)
