"""What stored features save: crops of a music collection as log-mel, computed from audio or read from shards.

    python -m tools.bench.features FOLDER [--recordings FOLDER] [--markdown FILE]

packs the recordings as 16 kHz mono FLAC, computes the features once, and then times two loaders that give the model the
same crops. Everything is in the page cache: what is compared is work, not a disk.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import torch

import shardkit as sk
from shardkit.features import FeaturizeOptions, StoredFeatures, featurize
from shardkit.nn import preset
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from shardkit.train import Loader
from tools.bench.tables import Table, show

CROPS_S = (1.0, 2.0, 5.0)
DTYPES = (None, "float16")
BATCH = 32
_WARM_UP = 4


def prepared(recordings: Path, folder: Path) -> sk.Dataset:
    """Return the recordings, packed once."""
    output = folder / "audio"
    if not (output / "shardkit.json").exists():
        options = PackOptions(sample_rate=16_000, channels=1, bit_depth=16)
        pack(locate(recordings), locate(output), inputs=InputOptions(), options=options)
    return sk.open(output)


def measure(make: Callable[[], Loader], seconds: float) -> tuple[float, float]:
    """Return samples a second, and processor seconds a sample."""
    batches: Iterator[object] = iter(make())
    for _ in islice(batches, _WARM_UP):
        pass
    number, began, cpu_began = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        next(batches)
        number += BATCH
    return number / (time.perf_counter() - began), (time.process_time() - cpu_began) / number


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Features from shards against features from audio.")
    parser.add_argument("folder", type=Path, help="where the datasets go")
    parser.add_argument("--recordings", type=Path, default=Path("../shared/data/music"))
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    audio = prepared(arguments.recordings, arguments.folder)
    making = Table("Making them", ["features", "s for an hour of audio", "MB an hour", "of the FLAC's bytes"])
    reading = Table("Reading crops", ["crop", "from", "samples/s", "processor ms/sample"])
    stored = {}
    for dtype in DTYPES:
        name = f"whisper, {dtype or 'float32'}"
        options = FeaturizeOptions(workers=arguments.threads, overwrite=True)
        began = time.perf_counter()
        summary = featurize(
            audio, locate(arguments.folder / f"features-{dtype}"), preset("whisper", out_dtype=dtype), options=options
        )
        hours, whole = audio.duration_s / 3600, audio.manifest.totals.bytes
        wall_s = time.perf_counter() - began
        making.add(
            name,
            f"{wall_s / hours:.1f}",
            f"{summary.totals.bytes / hours / 1e6:.0f}",
            f"{summary.totals.bytes / whole:.2f}",
        )
        stored[name] = sk.open(arguments.folder / f"features-{dtype}")
    for crop_s in CROPS_S:
        crop = {"crop": sk.RandomCrop(crop_s), "batch_size": BATCH, "threads": arguments.threads}
        makers = {
            "audio": lambda crop=crop: Loader(sk.Stream(audio, **crop), device="cpu", transform=preset("whisper"))
        }
        for name, view in stored.items():
            makers[name] = lambda crop=crop, view=view: Loader(
                sk.Stream(view, **crop), device="cpu", transform=StoredFeatures()
            )
        for name, make in makers.items():
            per_s, cpu_s = measure(make, arguments.seconds)
            reading.add(f"{crop_s:g} s", name, f"{per_s:,.0f}", f"{1000 * cpu_s:.3f}")
    show([making, reading], arguments.markdown, used=["torch"])


if __name__ == "__main__":
    main()
