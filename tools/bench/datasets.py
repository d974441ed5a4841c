"""Datasets to measure with: thousands of short clips, or of long ones, cut from recordings or made of noise.

    python -m tools.bench.datasets FOLDER [--digits RECORDINGS] [--music RECORDINGS]

makes FOLDER/short (whole recordings of spoken digits, or noise as long as those), FOLDER/few (an eighth of that),
FOLDER/many (16 times that) and FOLDER/long (excerpts of 5 s).
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from shardkit.format.manifest import MANIFEST_NAME, dump_manifest, load_manifest, totals
from shardkit.pack.inputs import AUDIO_EXTENSIONS, InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate

SHORT_ROWS, SHORT_S = 24_576, 0.45  # six times as many rows as it takes to give each lane a segment of its own
FEW_ROWS = 3_000
MANY_TIMES = 16
LONG_ROWS, LONG_S = 6_144, 5.0

_Samples = NDArray[np.int16]


def make_dataset(
    target: Path,
    *,
    num_rows: int,
    duration_s: float,
    sample_rate_hz: int,
    shard_bytes: int,
    recordings: Path | None = None,
    seed: int = 0,
) -> Path:
    """Pack a dataset of so many clips.

    Args:
        target: The dataset's folder.
        num_rows: Clips.
        duration_s: Their length; recordings that are shorter are taken whole. Noise is from half to one and a half
            of it long, as FLAC members are.
        sample_rate_hz: Recordings are resampled to it.
        shard_bytes: About the size of a tar.
        recordings: Folder of what to cut the clips from, again and again until there are enough; None: noise.
        seed: Of the noise, or of where the excerpts start.
    """
    random = np.random.default_rng(seed)
    clips = (
        _noise(random, duration_s, sample_rate_hz)
        if recordings is None
        else _excerpts(random, recordings, duration_s, sample_rate_hz)
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="clips-") as scratch:
        source = Path(scratch)
        with (source / "manifest.jsonl").open("w") as manifest:
            for number, clip in zip(range(num_rows), clips, strict=False):
                path = f"{number:07d}.wav"
                soundfile.write(source / path, clip, sample_rate_hz, subtype="PCM_16")
                manifest.write(json.dumps({"path": path}) + "\n")
        options = PackOptions(shard_bytes=shard_bytes, name=target.name)
        pack(locate(source / "manifest.jsonl"), locate(target), inputs=InputOptions(), options=options)
    return target


def make_short(
    target: Path, recordings: Path | None = None, *, num_rows: int = SHORT_ROWS, shard_bytes: int = 8_000_000
) -> Path:
    """Pack clips of about half a second, which are read whole."""
    return make_dataset(
        target,
        num_rows=num_rows,
        duration_s=SHORT_S if recordings is None else 30.0,
        sample_rate_hz=8_000,
        shard_bytes=shard_bytes,
        recordings=recordings,
    )


def make_long(target: Path, recordings: Path | None = None) -> Path:
    """Pack the clips of five seconds from which crops are read."""
    return make_dataset(
        target,
        num_rows=LONG_ROWS,
        duration_s=LONG_S,
        sample_rate_hz=16_000,
        shard_bytes=32_000_000,
        recordings=recordings,
    )


def multiply(source: Path, target: Path, times: int) -> Path:
    """Make a dataset of all shards of another, so many times over, by hard links: large, and as real as the other.

    Its keys come several times, which a stream does not mind.
    """
    manifest = load_manifest((source / MANIFEST_NAME).read_bytes(), where=str(source))
    shards = []
    for number in range(times):
        for shard in manifest.shards:
            name = f"{number:06d}-{Path(shard.index).stem}"
            copy = shard.model_copy(update={"path": f"all/{name}.tar", "index": f"all/{name}.parquet", "split": "all"})
            for old, new in ((shard.path, copy.path), (shard.index, copy.index)):
                (target / new).parent.mkdir(parents=True, exist_ok=True)
                (target / new).hardlink_to(source / old)
            shards.append(copy)
    whole = totals(shards)
    made = manifest.model_copy(
        update={"name": target.name, "splits": {"all": whole}, "shards": tuple(shards), "totals": whole}
    )
    (target / MANIFEST_NAME).write_bytes(dump_manifest(made))
    return target


def _noise(random: np.random.Generator, duration_s: float, sample_rate_hz: int) -> Iterator[_Samples]:
    """Yield noise with the spectrum of a first-order low-pass, which FLAC stores in about two thirds of its PCM."""
    while True:
        frames = round(duration_s * random.uniform(0.5, 1.5) * sample_rate_hz)
        white = random.normal(0.0, 400.0, frames + 8)
        yield np.convolve(white, 0.8 ** np.arange(8), mode="full")[8 : 8 + frames].astype(np.int16)


def _excerpts(
    random: np.random.Generator, recordings: Path, duration_s: float, sample_rate_hz: int
) -> Iterator[_Samples]:
    paths = sorted(path for path in recordings.rglob("*") if path.suffix.lower() in AUDIO_EXTENSIONS)
    if not paths:
        raise SystemExit(f"{recordings}: no recordings there")
    loaded: dict[Path, _Samples] = {}  # an hour of music at 16 kHz is 115 MB
    while True:
        for path in paths:
            if path not in loaded:
                loaded[path] = _mono(path, sample_rate_hz)
            samples, length = loaded[path], round(duration_s * sample_rate_hz)
            start = int(random.integers(max(1, len(samples) - length + 1)))
            yield samples[start : start + length]


def _mono(path: Path, sample_rate_hz: int) -> _Samples:
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    resampled = soxr.resample(samples.mean(axis=1), rate, sample_rate_hz)
    return np.asarray(np.clip(resampled * 32768, -32768, 32767), dtype=np.int16)


def main() -> None:
    """Make the datasets."""
    parser = argparse.ArgumentParser(description="Make the datasets that shuffle.py and rank_bytes.py measure with.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--digits", type=Path, help="folder of short recordings (default: noise)")
    parser.add_argument("--music", type=Path, help="folder of long recordings to cut excerpts from (default: noise)")
    arguments = parser.parse_args()
    print(short := make_short(arguments.folder / "short", arguments.digits))
    # So few that the lanes of a stream walk through them together.
    few = arguments.folder / "few"
    print(make_short(few, arguments.digits, num_rows=FEW_ROWS, shard_bytes=2_000_000))
    print(multiply(short, arguments.folder / "many", MANY_TIMES))
    print(make_long(arguments.folder / "long", arguments.music))


if __name__ == "__main__":
    main()
