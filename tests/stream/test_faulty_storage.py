"""A stream over S3 whose answers are spoilt in every way that a proxy knows delivers what it delivers undisturbed."""

import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from tests.conftest import S3
from tests.storage.fault_proxy import KINDS, FaultProxy, proxied

Sequence = list[tuple[str, str, int, int]]  # source, key, start, checksum of the audio
QUICK = {"read_timeout": 0.5}  # a stall is noticed so soon; nothing else differs from the defaults
NUM_DIGITS, NUM_TRACKS = 200, 2


@pytest.fixture(scope="module")
def recordings(s3: S3, data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The real data as FLAC, WAV and Vorbis, packed at the folder that the server serves."""
    folder = tmp_path_factory.mktemp("chosen")
    (folder / "digits").mkdir()
    (folder / "music").mkdir()
    for path in sorted((data_dir / "digits").glob("*.wav"))[:: 3000 // NUM_DIGITS]:
        (folder / "digits" / path.name).symlink_to(path)
    for path in sorted((data_dir / "music").rglob("*.ogg"), key=lambda path: path.stat().st_size)[:NUM_TRACKS]:
        (folder / "music" / path.name).symlink_to(path)
    for name, source, codec in (("flac", "digits", "flac"), ("wav", "digits", "wav"), ("music", "music", "keep")):
        options = PackOptions(shard_bytes=1_000_000, workers=1, codec=codec)
        pack(locate(folder / source), locate(s3.folder / "faulty" / name), inputs=InputOptions(), options=options)
    return f"{s3.url}/faulty"


def opened(url: str, **options: Any) -> dict[str, sk.View]:
    """Return the sources, each opened with options that give a client of its own."""
    own = {"config_kwargs": {"user_agent_extra": str(uuid4())}} | options
    sources = {name: sk.open(f"{url}/{name}", storage_options=own) for name in ("flac", "wav", "music")}
    return sources | {"music": sources["music"].windows(5.0)}


def streamed(url: str, **options: Any) -> sk.Stream:
    return sk.Stream(
        opened(url, **options), passes=1, crop=sk.RandomCrop(0.25), sample_rate=8000, channels=1, batch_size=16, seed=3
    )


def sequence(batches: Any) -> Sequence:
    return [
        (source, key, int(start), zlib.crc32(memoryview(audio).cast("B")))
        for batch in batches
        for source, key, start, audio in zip(batch.sources, batch.keys, batch.starts, _arrays(batch), strict=True)
    ]


def _arrays(batch: Any) -> Any:
    return batch.audio if isinstance(batch, sk.Batch) else batch.audio.numpy()


@pytest.fixture(scope="module")
def undisturbed(recordings: str) -> Sequence:
    found = sequence(streamed(recordings))
    assert len(found) > 2 * NUM_DIGITS
    return found


@pytest.fixture
def endpoint(s3: S3) -> str:
    return s3.endpoint.url


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_under_each_fault_is_the_undisturbed_one(
    recordings: str, undisturbed: Sequence, endpoint: str, kind: str
) -> None:
    with proxied(endpoint, kind, share=0.15, burst=2 if kind == "slow-down" else 1) as proxy:
        stream = streamed(recordings, endpoint_url=proxy.url, **QUICK)
        assert sequence(stream) == undisturbed
    assert proxy.injected[kind] > 5
    assert stream.failures == []


@pytest.mark.parametrize("seed", range(2))
def test_all_faults_at_once(recordings: str, undisturbed: Sequence, endpoint: str, seed: int) -> None:
    with proxied(endpoint, *KINDS, share=0.3, seed=seed) as proxy:
        stream = streamed(recordings, endpoint_url=proxy.url, **QUICK)
        assert sequence(stream) == undisturbed
        assert stream.stats()["retries"] > 10
    assert len(proxy.injected) > 8
    assert stream.failures == []
