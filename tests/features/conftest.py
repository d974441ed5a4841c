"""Recordings to compute features of: short ones of every kind, and one that takes several pieces."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from tests.stream.scenes import pack_scenes

RATE = 16_000
LONG_S = 80.0


def sounds(seed: int, seconds: float, channels: int = 1) -> np.ndarray:
    """Return noise whose level goes up and down by 90 dB, with silence in it, (time, channel)."""
    rng, frames = np.random.default_rng(seed), round(seconds * RATE)
    level_db = -45.0 - 45.0 * np.cos(np.arange(frames) / frames * 11.0 + seed)
    samples = rng.uniform(-0.5, 0.5, (frames, channels)) * 10.0 ** (level_db[:, None] / 20.0)
    samples[frames // 3 : frames // 3 + frames // 10] = 0.0
    return samples


def packed(folder: Path, name: str, **options: object) -> sk.Dataset:
    """Pack ``folder`` as it is, but for these options."""
    settings = {"codec": "keep", "workers": 1, "shuffle": False} | options
    pack(locate(folder), locate(folder.with_name(name)), inputs=InputOptions(), options=PackOptions(**settings))  # type: ignore[arg-type]
    return sk.open(folder.with_name(name))


def tree(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> sk.Dataset:
    """Twelve stereo recordings of noise with intervals, dense masks and stems, in several shards."""
    return sk.open(pack_scenes(tmp_path_factory.mktemp("scenes"), noisy=True))


@pytest.fixture(scope="session")
def every_codec(tmp_path_factory: pytest.TempPathFactory) -> sk.Dataset:
    """Recordings of each codec, short, and of each that is read in its own way, long."""
    folder = tmp_path_factory.mktemp("codecs") / "in"
    folder.mkdir()
    kinds = {"wav": ("WAV", "FLOAT"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS")}
    kinds |= {"mp3": ("MP3", "MPEG_LAYER_III"), "aiff": ("AIFF", "PCM_16")}
    for number, (ending, (container, subtype)) in enumerate(kinds.items()):
        for name, seconds in {"short": 0.7 + number * 0.0137, "long": LONG_S}.items():
            if name == "short" or ending in ("flac", "opus"):
                samples = sounds(number, seconds)
                soundfile.write(folder / f"{name}-{ending}.{ending}", samples, RATE, subtype, format=container)
    return packed(folder, "packed")
