"""The recordings that all systems are built from, made once of a folder of music and one of spoken digits.

tracks/      the music, 48 kHz stereo, FLAC level 5       B, C
tracks-wav/  the same samples as WAV                      B
clips/       10 s of it each, mono, FLAC level 5          A, C, E, G
digits/      one/, two/, three/: the digits by speaker    F
wav/         clips that do not overlap, and the digits    D
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from tools.bench.systems.contract import RATE, SOURCES

CLIP_S = 10.0
HOP_S = 2.5  # so that there are clips for 40 batches: with a tenth of them, the ends of passes would be all one saw
FLAC_LEVEL = 5 / 8  # as libsndfile counts: 0 to 1
FORMATS = (".flac", ".wav", ".ogg", ".mp3", ".aiff")

Samples = NDArray[np.int16]  # (time, channel)


def make_data(folder: Path, *, music: Path, digits: Path) -> None:
    """Make what is not there yet in ``folder``; what exists is whole, as it gets its name last."""
    _made(folder / "tracks", lambda target: _tracks(music, target))
    _made(folder / "tracks-wav", lambda target: _as_wav(folder / "tracks", target))
    _made(folder / "clips", lambda target: _clips(folder / "tracks", target))
    _made(folder / "digits", lambda target: _digits(digits, target))
    _made(folder / "to-pack", lambda target: _to_pack(folder, target))


def _made(target: Path, make: Callable[[Path], None]) -> None:
    if target.exists():
        return
    part = target.with_name(f"{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    print(f"making {target} ...", flush=True)
    make(part)
    part.rename(target)


def _tracks(music: Path, target: Path) -> None:
    for number, path in enumerate(_recordings(music)):
        _write_flac(target / f"track{number:02d}.flac", _decoded(path), RATE)


def _as_wav(source: Path, target: Path) -> None:
    for path in _recordings(source):
        samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
        soundfile.write(target / f"{path.stem}.wav", samples, rate, subtype="PCM_16")


def _clips(tracks: Path, target: Path) -> None:
    length, hop = round(CLIP_S * RATE), round(HOP_S * RATE)
    for path in _recordings(tracks):
        samples = soundfile.read(path, dtype="int16", always_2d=True)[0].mean(axis=1, keepdims=True).astype(np.int16)
        for number, start in enumerate(range(0, len(samples) - length + 1, hop)):
            _write_flac(target / f"{path.stem}_{number:04d}.flac", samples[start : start + length], RATE)


def _digits(digits: Path, target: Path) -> None:
    paths = list(_recordings(digits))
    speakers = sorted({_speaker(path) for path in paths})
    for path in paths:
        samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
        name = tuple(SOURCES)[speakers.index(_speaker(path)) % len(SOURCES)]
        (target / name).mkdir(exist_ok=True)
        _write_flac(target / name / f"{path.stem}.flac", samples, rate)


def _speaker(path: Path) -> str:
    """Return the middle of ``DIGIT_SPEAKER_TAKE``."""
    parts = path.stem.split("_")
    return parts[1] if len(parts) == 3 else path.stem


def _to_pack(folder: Path, target: Path) -> None:
    for path in [*_recordings(folder / "clips"), *_recordings(folder / "digits")]:
        samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
        soundfile.write(target / f"{path.stem}.wav", samples, rate, subtype="PCM_16")


def _decoded(path: Path) -> Samples:
    """Return a recording as 48 kHz stereo of 16 bits."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if rate != RATE:
        samples = soxr.resample(samples, rate, RATE)
    samples = np.repeat(samples, 2, axis=1) if samples.shape[1] == 1 else samples[:, :2]
    return np.clip(np.rint(samples * 32_768.0), -32_768, 32_767).astype(np.int16)


def _write_flac(path: Path, samples: Samples, rate: int) -> None:
    soundfile.write(path, samples, rate, subtype="PCM_16", format="FLAC", compression_level=FLAC_LEVEL)


def _recordings(folder: Path) -> Iterator[Path]:
    return iter(sorted(path for path in folder.rglob("*") if path.suffix.lower() in FORMATS))
