"""Small real files of each kind, made when asked for: by libsndfile, NumPy, Arrow, and ``shardkit pack`` itself."""

import io
import json
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from shardkit.audio.pcm import WIDTH
from shardkit.audio.transcode import analyse
from shardkit.audio.wav import write_header
from shardkit.format.manifest import MANIFEST_NAME
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate

RATE = 8000
AUDIO: dict[str, list[tuple[str, str, int, float]]] = {
    # name: container, subtype, channels, seconds
    "flac": [("FLAC", "PCM_16", 1, 0.7), ("FLAC", "PCM_24", 2, 0.4), ("FLAC", "PCM_S8", 1, 0.1)],
    "wav": [("WAV", "PCM_16", 2, 0.05), ("WAV", "FLOAT", 1, 0.05), ("WAV", "IMA_ADPCM", 1, 0.1),
            ("WAV", "ULAW", 1, 0.1), ("RF64", "PCM_16", 1, 0.05), ("WAVEX", "PCM_24", 3, 0.05),
            ("WAV", "GSM610", 1, 0.1)],
    "aiff": [("AIFF", "PCM_16", 2, 0.05), ("AIFF", "PCM_24", 1, 0.05), ("AIFF", "FLOAT", 1, 0.05)],
    "vorbis": [("OGG", "VORBIS", 1, 6.0), ("OGG", "VORBIS", 2, 0.5)],
    "opus": [("OGG", "OPUS", 1, 1.0)],
    "mp3": [("MP3", "MPEG_LAYER_III", 1, 6.0), ("MP3", "MPEG_LAYER_III", 2, 0.5)],
}  # fmt: skip


def samples(channels: int, seconds: float) -> np.ndarray:
    """Return a rising tone with some noise, (time, channel)."""
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(channels).normal(0, 0.02, (len(time), channels))
    return 0.4 * np.sin(2 * np.pi * (200 + 300 * time) * time)[:, np.newaxis] + noise


@cache
def audio(kind: str) -> tuple[bytes, ...]:
    """Return recordings of a kind."""
    found = []
    for container, subtype, channels, seconds in AUDIO[kind]:
        sink = io.BytesIO()
        soundfile.write(sink, samples(channels, seconds), RATE, format=container, subtype=subtype)
        found.append(sink.getvalue())
    if kind == "wav":  # as a writer to a pipe leaves it
        found.append(write_header("s16", RATE, 1, 0x7FFF_0000) + bytes(WIDTH["s16"] * 100))
    if kind in ("mp3", "flac"):  # behind a tag
        found.append(b"ID3\x04\0\0\0\0\0\x10" + bytes(16) + found[0])
    return tuple(found)


@cache
def tables() -> tuple[tuple[str, bytes, Any], ...]:
    """Return (codec, coded seek table, what was packed) of one recording of each codec that has tables."""
    found = []
    for kind in ("flac", "wav", "vorbis", "mp3"):
        encoded = analyse(audio(kind)[0], name=kind)
        assert encoded.seek_table is not None, kind
        found.append((encoded.facts.codec, encoded.seek_table, encoded))
    return tuple(found)


@cache
def tars() -> tuple[bytes, ...]:
    """Return WebDataset tars: ustar, pax with long names, GNU; with links and a device in one."""
    found = []
    flac, mp3 = audio("flac")[0], audio("mp3")[1]
    content = {"labels": ["a"], "intervals": [["x", 0.0, 0.1]], "speaker": "s", "take": 7, "hops_s": {"f0": 0.01}}
    for kind in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w", format=kind) as tar:
            long = "folder/" + "k" * (120 if kind != tarfile.USTAR_FORMAT else 20)
            _add(tar, f"{long}.flac", flac)
            _add(tar, f"{long}.json", json.dumps(content).encode())
            _add(tar, "b.mp3", mp3)
            _add(tar, "b.f0.npy", arrays()[0])
            _add(tar, "b.txt", b"words")
            if kind == tarfile.GNU_FORMAT:
                for name, type_ in (("l.wav", tarfile.SYMTYPE), ("h.wav", tarfile.LNKTYPE), ("d.wav", tarfile.CHRTYPE)):
                    info = tarfile.TarInfo(name)
                    info.type, info.linkname = type_, "/etc/passwd"
                    tar.addfile(info)
        found.append(sink.getvalue())
    return tuple(found)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


@cache
def arrays() -> tuple[bytes, ...]:
    """Return ``.npy`` files of several types and orders."""
    found = []
    for array in (
        np.arange(24, dtype=np.float32).reshape(8, 3),
        np.asfortranarray(np.arange(12, dtype=np.int16).reshape(4, 3)),
        np.zeros((), np.float64),
        np.array(["text", "more"]),
        np.zeros(3, [("a", "<i4"), ("b", "<f8")]),
    ):
        sink = io.BytesIO()
        np.lib.format.write_array(sink, array, allow_pickle=False)
        found.append(sink.getvalue())
    return tuple(found)


@cache
def dataset() -> Path:
    """Return the folder of a dataset with every kind of field; it is there until the process ends."""
    folder = _folder()
    recordings = folder / "recordings"
    recordings.mkdir()
    lines = []
    for number, kind in enumerate(("flac", "wav", "vorbis", "mp3", "opus", "flac")):
        name = f"{number}.{'ogg' if kind in ('vorbis', 'opus') else kind}"
        (recordings / name).write_bytes(audio(kind)[0])
        (recordings / f"{number}.npy").write_bytes(arrays()[0])
        (recordings / f"{number}.txt").write_text("words")
        (recordings / f"{number}_stem.wav").write_bytes(audio("wav")[1])
        lines.append(
            {"path": name, "label": "ab"[number % 2], "f0": f"{number}.npy", "words": f"{number}.txt",
             "stem": f"{number}_stem.wav", "intervals": [["x", 0.0, 0.02]], "take": number, "who": "s"}
        )  # fmt: skip
    manifest = recordings / "list.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    members = {"f0": "f0", "words": "words", "stem": "stem"}
    pack(
        locate(manifest),
        locate(folder / "dataset"),
        inputs=InputOptions(label="label", members=members),
        options=PackOptions(workers=1, name="fuzz", codec="keep"),
        hops_s={"f0": 0.01},
    )
    return folder / "dataset"


_KEPT: list[Any] = []


def _folder() -> Path:
    _KEPT.append(tempfile.TemporaryDirectory(prefix="shardkit-fuzz-"))
    return Path(_KEPT[-1].name)


def scratch() -> Path:
    """Return a new folder, gone when the process ends."""
    return _folder()


@cache
def manifest() -> bytes:
    """Return the manifest of ``dataset``."""
    return (dataset() / MANIFEST_NAME).read_bytes()
