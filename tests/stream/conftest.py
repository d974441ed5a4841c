"""Three small datasets that differ in all a stream must bring together: rate, channels, length, number of rows."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate


def noise(seed: int, frames: int, channels: int) -> np.ndarray:
    return (np.random.default_rng(seed).uniform(-0.5, 0.5, (frames, channels)) * 32767).astype(np.int16)


def write_source(
    folder: Path, name: str, rows: list[dict[str, object]], audio: dict[str, tuple[np.ndarray, int]]
) -> Path:
    source = folder / f"{name}-in"
    for path, (samples, rate) in audio.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(source / path, samples, rate)
    manifest = source / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of packed datasets by name; ``NAME-in`` beside each holds its recordings."""
    folder = tmp_path_factory.mktemp("datasets")
    rows, audio = [], {}
    for i in range(120):
        path = f"{i % 3}/clip{i:03d}.wav"
        audio[path] = noise(i, 2400 + 40 * i, 1), 8000
        rows.append({"path": path, "speaker": f"s{i % 7}", "label": "abc"[i % 3], "n": i})
        if i % 2:
            rows[-1]["intervals"] = [["speech", 0.1, 0.2], ["noise", 0.15, 0.3]]
    manifests = {"clips": write_source(folder, "clips", rows, audio)}

    rows, audio = [], {}
    for i in range(5):
        samples = noise(1000 + i, 6 * 16000, 2)
        samples[: 3 * 16000] //= 2000  # the first half is as good as silent
        audio[f"track {i}.wav"] = samples, 16000
        audio[f"vocals {i}.wav"] = samples // 2, 16000
        rows.append(
            {"path": f"track {i}.wav", "label": "b" if i % 2 else "d"} | ({"vocals": f"vocals {i}.wav"} if i else {})
        )
    manifests["tracks"] = write_source(folder, "tracks", rows, audio)

    audio = {f"{i}.wav": (noise(2000 + i, 4000, 1), 8000) for i in range(3)}
    manifests["few"] = write_source(folder, "few", [{"path": path} for path in audio], audio)
    for name, manifest in manifests.items():
        pack(
            locate(manifest),
            locate(folder / name),
            inputs=InputOptions(
                label=None if name == "few" else "label", members={"vocals": "vocals"} if name == "tracks" else {}
            ),
            options=PackOptions(shard_bytes=400_000, workers=1),
        )
    return {name: folder / name for name in manifests}
