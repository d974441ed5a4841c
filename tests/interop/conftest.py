"""A small packed dataset for other libraries to read."""

import json

import numpy as np
import pytest
import soundfile

from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate

NUM_SAMPLES = 10


@pytest.fixture(scope="session")
def packed(tmp_path_factory):
    """Ten recordings of two rates and three codecs, with a stem at a third rate, an array and a text."""
    folder = tmp_path_factory.mktemp("interop")
    chance = np.random.default_rng(0)
    lines = []
    for number in range(NUM_SAMPLES):
        rate = 16_000 if number % 2 else 8_000
        ending = "ogg" if number == 6 else "mp3" if number == 8 else "wav"
        path = folder / "recordings" / ("win" if number % 2 else "lose") / f"take {number}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        loud = np.linspace(0.05, 1.0, 3 * rate + number)[:, np.newaxis]
        soundfile.write(path, chance.uniform(-0.5, 0.5, (3 * rate + number, 1 + number % 2)) * loud, rate)
        soundfile.write(folder / f"stem{number}.wav", chance.uniform(-0.5, 0.5, 3 * 11_025), 11_025)
        np.save(folder / f"f0{number}.npy", np.arange(600, dtype=np.float32).reshape(300, 2))
        (folder / f"words{number}.txt").write_text(f"żółw {number}")
        line = {
            "path": path.relative_to(folder).as_posix(),
            "label": ["dog"] if number % 3 else ["cat", "loud"],
            "lang": "en" if number % 2 else "de",
            "snr_db": number / 2 if number else None,
            "vocals": f"stem{number}.wav" if number != 3 else None,
            "f0": f"f0{number}.npy",
            "words": f"words{number}.txt",
            "intervals": [["sung", 0.5, 1.0]],
        }
        lines.append(json.dumps(line))
    (folder / "recordings.jsonl").write_text("\n".join(lines))
    pack(
        locate(folder / "recordings.jsonl"),
        locate(folder / "dataset"),
        inputs=InputOptions(label="label", members={"vocals": "vocals", "f0": "f0", "words": "words"}),
        options=PackOptions(workers=1, shard_bytes=300_000, splits={"train": 0.6, "val": 0.4}),
        hops_s={"f0": 0.01},
    )
    return folder / "dataset"
