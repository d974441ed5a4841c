"""A stream over S3 whose answers are spoilt in every way that a proxy knows delivers what it delivers undisturbed."""

import os
import re
import shutil
import signal
import threading
import time
import zlib
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from torch.utils.data import DataLoader

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from shardkit.train import Loader, StreamingDataset
from tests.conftest import S3
from tests.storage.fault_proxy import KINDS, proxied

Sequence = list[tuple[str, str, int, int]]  # source, key, start, checksum of the audio
QUICK = {"read_timeout": 0.5}  # a stall is noticed so soon; nothing else differs from the defaults
NUM_DIGITS, NUM_TRACKS = 100, 2


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


def streamed(url: str, cache: dict[str, Any] | None = None, **options: Any) -> sk.Stream:
    settings: dict[str, Any] = {"sample_rate": 8000, "channels": 1, "batch_size": 16, "seed": 3} | (cache or {})
    return sk.Stream(opened(url, **options), passes=1, crop=sk.RandomCrop(0.25), **settings)


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
    share = 0.025 if kind in ("stall", "slow-down") else 0.12  # these take their time
    with proxied(endpoint, kind, share=share) as proxy:
        stream = streamed(recordings, endpoint_url=proxy.url, **QUICK)
        assert sequence(stream) == undisturbed
    assert proxy.injected[kind] > (1 if share < 0.1 else 5)
    assert stream.failures == []


def test_all_faults_at_once(recordings: str, undisturbed: Sequence, endpoint: str) -> None:
    with proxied(endpoint, *KINDS, share=0.15) as proxy:
        stream = streamed(recordings, endpoint_url=proxy.url, **QUICK)
        assert sequence(stream) == undisturbed
        assert stream.stats()["retries"] > 5
    assert len(proxy.injected) > 7
    assert stream.failures == []


@pytest.mark.parametrize("how", ["DataLoader", "Loader"])
def test_worker_processes_outlive_faults_too(recordings: str, undisturbed: Sequence, endpoint: str, how: str) -> None:
    with proxied(endpoint, *KINDS, share=0.15, seed=1) as proxy:
        stream = streamed(recordings, endpoint_url=proxy.url, **QUICK)
        if how == "Loader":
            found = sequence(Loader(stream, device="cpu", workers=2))
        else:
            found = sequence(DataLoader(StreamingDataset(stream), batch_size=None, num_workers=2))
    assert found == undisturbed
    assert len(proxy.injected) > 5


def test_what_a_node_cache_has_of_damaged_answers_is_fetched_again(
    recordings: str, undisturbed: Sequence, endpoint: str, tmp_path: Path
) -> None:
    cache = {"cache": tmp_path / "cache", "cache_size": "1GB"}
    with proxied(endpoint, "corrupted", share=0.3) as proxy:
        assert sequence(streamed(recordings, cache=cache, endpoint_url=proxy.url)) == undisturbed
    damaged = proxy.injected["corrupted"]
    assert damaged > 2
    with proxied(endpoint) as proxy:
        again = streamed(recordings, cache=cache, endpoint_url=proxy.url)
        before = proxy.requests
        assert sequence(again) == undisturbed
        assert proxy.requests - before <= damaged


def test_an_outage_is_waited_out(recordings: str, undisturbed: Sequence, endpoint: str) -> None:
    with proxied(endpoint) as proxy:
        stream = streamed(recordings, endpoint_url=proxy.url, **QUICK)
        batches = iter(stream)
        found = sequence(islice(batches, 4))
        with proxy.outage():
            ended = threading.Timer(1.5, proxy.down.clear)
            ended.start()
            found += sequence(batches)
            ended.join()
        assert proxy.injected["outage"] > 3
        assert proxy.injected["outage"] < 150  # the storm that retries without a budget would be
    assert found == undisturbed


def test_who_leaves_in_an_outage_is_not_kept_waiting(recordings: str, endpoint: str) -> None:
    def leave(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, leave)
    try:
        with proxied(endpoint) as proxy:
            batches = iter(streamed(recordings, endpoint_url=proxy.url, **QUICK))
            next(batches)
            with proxy.outage(), pytest.raises(KeyboardInterrupt):
                began = time.monotonic()
                signal.setitimer(signal.ITIMER_REAL, 2.0)
                list(batches)
        assert proxy.injected["outage"]
        assert time.monotonic() - began < 60  # the outage would be waited for up to five minutes
    finally:
        signal.signal(signal.SIGALRM, before)


def test_an_outage_that_does_not_end_is_told_with_place_tries_and_cause(recordings: str, endpoint: str) -> None:
    with proxied(endpoint) as proxy:
        stream = streamed(recordings, endpoint_url=proxy.url, retry_for=1.0, **QUICK)
        with proxy.outage(), pytest.raises(sk.StorageError) as caught:
            list(stream)
    place = rf"{re.escape(recordings)}/\w+/train/\d+\.tar: can't read bytes [\d,]+ to [\d,]+: "
    assert re.match(
        place + r"the store failed at it, several times: .* \(tried \d+ times in 1\.\d s\)", str(caught.value)
    )


def test_a_tar_that_is_replaced_under_a_stream_is_told(recordings: str, s3: S3, endpoint: str, tmp_path: Path) -> None:
    name = f"replaced-{uuid4()}"
    shutil.copytree(s3.folder / "faulty" / "flac", s3.folder / name)
    time.sleep(1.1)  # the server looks at its folder once a second
    view = sk.open(f"{s3.url}/{name}")
    stream = sk.Stream(view, crop=sk.RandomCrop(0.25), batch_size=8, max_failures=0)
    batches = iter(stream)
    next(batches)
    for tar in (s3.folder / name).rglob("*.tar"):
        tar.write_bytes(tar.read_bytes()[::-1])
        os.utime(tar, (2e9, 2e9))
    time.sleep(1.1)
    with pytest.raises(sk.CorruptDataError, match=r"\.tar: it was replaced while it was read"):
        list(islice(batches, 50))


def test_packing_through_faults_gives_the_same_bytes(s3: S3, data_dir: Path, tmp_path: Path, endpoint: str) -> None:
    for path in sorted((data_dir / "digits").glob("*.wav"))[:60]:
        (tmp_path / path.name).symlink_to(path)
    options = PackOptions(shard_bytes=40_000, workers=1)
    pack(locate(tmp_path), locate(s3.folder / "well" / "packed"), inputs=InputOptions(), options=options)
    with proxied(endpoint, *KINDS, share=0.25) as proxy:
        target = locate(f"{s3.url}/badly/packed", QUICK | {"endpoint_url": proxy.url})
        pack(locate(tmp_path), target, inputs=InputOptions(), options=options)
    assert sum(proxy.injected.values()) > 5
    assert _tree(s3.folder / "badly" / "packed") == _tree(s3.folder / "well" / "packed")


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
