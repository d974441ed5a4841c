"""Audio made on the spot, a FLAC writer that can do what libFLAC's users never do, and the real recordings."""

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from shardkit.audio.flac_header import coded_number, crc8


def _real_files(folder: Path, pattern: str) -> list[Path]:
    files = sorted(folder.glob(pattern))
    if not files:
        pytest.skip(f"no recordings {pattern} under {folder}; set SHARDKIT_TEST_DATA to the folder that holds them")
    return files


@pytest.fixture(scope="session")
def digits(data_dir: Path) -> list[Path]:
    return _real_files(data_dir, "digits/*.wav")


@pytest.fixture(scope="session")
def music(data_dir: Path) -> list[Path]:
    return _real_files(data_dir, "music/*.ogg")


@pytest.fixture(scope="session")
def tone() -> Callable[..., NDArray[np.float32]]:
    return make_tone


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    return encode_with_soundfile


@pytest.fixture(scope="session")
def flac_stream() -> Callable[..., bytes]:
    return build_flac


def make_tone(frames: int, channels: int = 1, sample_rate: int = 8000, seed: int = 0) -> NDArray[np.float32]:
    """Chirps that come and go in noise, (time, channel): codecs switch block sizes and stereo modes on it."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames)[:, None] / sample_rate
    hz = 150.0 + 40.0 * np.arange(channels) + 100.0 * t
    gate = np.sin(2 * np.pi * 1.7 * t) > 0
    return (0.4 * gate * np.sin(2 * np.pi * hz * t) + 0.05 * rng.standard_normal((frames, channels))).astype(np.float32)


def encode_with_soundfile(samples: NDArray[np.generic], sample_rate: int, container: str, subtype: str) -> bytes:
    buffer = io.BytesIO()
    sf.write(buffer, samples, sample_rate, format=container, subtype=subtype)
    return buffer.getvalue()


def build_flac(
    blocks: Sequence[NDArray[np.int64]],
    *,
    bit_depth: int = 16,
    sample_rate: int = 8000,
    variable: bool = False,
    first_number: int = 0,
    total_samples: int | None = None,
    with_md5: bool = True,
    metadata: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """A FLAC stream of verbatim subframes (RFC 9639, 9.2.5), one frame for each block (time, channel)."""
    samples = np.concatenate(blocks)
    channels = samples.shape[1]
    sizes = [len(block) for block in blocks]
    width = -(-bit_depth // 8)
    pcm = b"".join(int(value).to_bytes(width, "little", signed=True) for value in samples.ravel())
    total = len(samples) if total_samples is None else total_samples
    packed = sample_rate << 44 | (channels - 1) << 41 | (bit_depth - 1) << 36 | total
    md5 = hashlib.md5(pcm, usedforsecurity=False).digest() if with_md5 else bytes(16)
    info = min(sizes).to_bytes(2, "big") + max(sizes).to_bytes(2, "big") + bytes(6) + packed.to_bytes(8, "big") + md5
    entries = [(0, info), *metadata]
    stream = b"fLaC"
    for index, (kind, body) in enumerate(entries):
        last = 0x80 if index == len(entries) - 1 else 0
        stream += bytes([last | kind]) + len(body).to_bytes(3, "big") + body
    sample = 0
    for index, block in enumerate(blocks):
        number = first_number + (sample if variable else index)
        stream += _frame(block, number, bit_depth, variable=variable)
        sample += len(block)
    return stream


def _frame(block: NDArray[np.int64], number: int, bit_depth: int, *, variable: bool) -> bytes:
    size, channels = block.shape
    header = bytes([0xFF, 0xF9 if variable else 0xF8, 7 << 4, (channels - 1) << 4])  # 16-bit size; the rest: STREAMINFO
    header += coded_number(number) + (size - 1).to_bytes(2, "big")
    header += bytes([crc8(header)])
    bits = "".join(
        "00000010" + "".join(f"{int(value) & (1 << bit_depth) - 1:0{bit_depth}b}" for value in block[:, channel])
        for channel in range(channels)
    )
    bits += "0" * (-len(bits) % 8)
    body = header + int(bits, 2).to_bytes(len(bits) // 8, "big")
    crc = 0
    for octet in body:
        crc ^= octet << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x8005) & 0xFFFF if crc & 0x8000 else crc << 1
    return body + crc.to_bytes(2, "big")
