"""A small dataset of speech-like bursts, and streams over it."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shardkit.core.crops import RandomCrop
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from shardkit.stream.dataset import open_dataset
from shardkit.stream.stream import Stream
from shardkit.synth import BurstsOptions, synthesise

MASK_HOP = 80
NUM_FILES = 22  # no multiple of any batch size below, so one-pass streams end in padding


@pytest.fixture(scope="session")
def bursts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a dataset of three shards."""
    folder = tmp_path_factory.mktemp("bursts")
    options = BurstsOptions(num_files=NUM_FILES, min_duration_s=0.8, max_duration_s=2.0, sample_rate=8_000)
    (written,) = synthesise(folder / "recordings", sources=["bursts"], bursts=options)
    pack(
        locate(written.manifest),
        locate(folder / "dataset"),
        inputs=InputOptions(label="label"),
        options=PackOptions(workers=1, shard_bytes=100_000),
    )
    return folder / "dataset"


@pytest.fixture
def make_stream(bursts: Path) -> Callable[..., Stream]:
    def make(**options: Any) -> Stream:
        defaults = {
            "crop": RandomCrop(0.5),
            "batch_size": 3,
            "mask_hop": MASK_HOP,
            "metadata": ["speaker"],
            "seed": 7,
            "rank": 0,
            "world_size": 1,
        }
        return Stream(open_dataset(bursts), **(defaults | options))

    return make


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    """Fail the test if it leaves a thread of a stream or a loader behind."""
    yield
    limit = time.monotonic() + 2.0
    while (left := shardkit_threads()) and time.monotonic() < limit:
        time.sleep(0.01)
    assert not left


def shardkit_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("shardkit")]
