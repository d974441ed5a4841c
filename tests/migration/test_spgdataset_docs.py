"""docs/from-spgdataset.md runs as it stands, on real speech."""

import numpy as np
import pytest
import soundfile

import shardkit as sk
from tests.migration.pages import run_page

SAMPLES = {
    "calls/audio/a/take 1.5.wav": 160_000,
    "calls/audio/a/take 1.6.wav": 96_000,
    "calls/audio/b.wav": 50_000,
    "calls/audio/c.wav": 40_000,
    "calls/audio/d.wav": 36_000,
    "news/audio/x.wav": 40_000,
    "news/audio/y.wav": 60_000,
}


@pytest.fixture
def recordings(speech, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, (name, frames) in enumerate(SAMPLES.items()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, np.roll(speech, 1000 * number)[:frames], 16_000)


def test_the_page_runs(recordings):
    run_page("from-spgdataset.md", {})
    stream = sk.Stream.from_config("stream.yaml", rank=0, world_size=1)
    split = sk.open("shards/calls", split="train")
    assert stream.num_samples == len(split.windows(1.92, hop_s=0.1, content=sk.content("speech")))
