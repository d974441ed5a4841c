"""Each peer does the work of the comparison: it delivers its files' samples, checked in its own environment."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tools.bench.comparison import watched
from tools.bench.comparison.environments import python_of
from tools.bench.systems.contract import DATASETS, RATE, SOURCES, described

PEERS = ("mosaicml", "litdata", "energon", "datasets")
CHECKED = {"A": "clips", "B": "tracks", "B-wav": "tracks-wav", "F": "digits"}
SECONDS = {"clips": 10.0, "tracks": 40.0, "tracks-wav": 40.0, "digits": 0.5}


@pytest.fixture(scope="module")
def environments() -> Path:
    """Where the peers' environments are: minutes and gigabytes to install, so a test does not make them."""
    folder = os.environ.get("SHARDKIT_BENCH_ENV")
    if folder is None:
        pytest.skip("SHARDKIT_BENCH_ENV is not set: the folder of environments that tools.bench.compare has made")
    return Path(folder)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few recordings of noise in the form of each dataset."""
    folder = tmp_path_factory.mktemp("peers")
    draw = np.random.default_rng(0)
    for dataset in DATASETS:
        for part in SOURCES if dataset == "digits" else ("",):
            target = folder / dataset / part
            target.mkdir(parents=True)
            for number in range(6):
                rate, channels = (8_000 if part else RATE), (2 if "tracks" in dataset else 1)
                frames = round(SECONDS[dataset] * rate) + number
                samples = draw.integers(-9_000, 9_000, (frames, channels), dtype=np.int16)
                name = f"{part}{number}.{'wav' if dataset == 'tracks-wav' else 'flac'}"
                soundfile.write(target / name, samples, rate, subtype="PCM_16")
    return folder


@pytest.mark.parametrize("workload", CHECKED)
@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_delivers_the_samples_of_its_files(
    peer: str, workload: str, environments: Path, sources: Path, tmp_path: Path
) -> None:
    system, dataset = described(peer), CHECKED[workload]
    if not (environments / peer).exists():
        pytest.skip(f"{environments} has no environment of {peer}: python -m tools.bench.compare makes it")
    python, target = python_of(system, environments, {}), tmp_path / "built"
    source = str(sources / dataset)
    watched.run(python, {"task": "build", "system": peer, "source": source, "target": str(target), "dataset": dataset})
    for variant, workloads in system.variants.items():
        for workers in workloads.get(workload, ()):
            job = {"workload": workload, "variant": variant, "workers": workers}
            job |= {"where": str(target), "local": str(target)}
            request = {"task": "check", "system": peer, "job": job, "source": source, "num_samples": 48}
            assert watched.run(python, request)["samples"] >= 48
