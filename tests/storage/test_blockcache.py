"""The block cache: what is read is the file, the limit holds at any instant, and nothing makes a read fail."""

import json
import logging
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_64_hexdigest

from shardkit.core.errors import CorruptDataError, InputError
from shardkit.storage.blockcache import BlockCache
from shardkit.storage.blockset import TEMPORARY, insert, list_set, load, locked, space_of
from shardkit.storage.geometry import choose
from shardkit.storage.location import Location, locate
from shardkit.storage.traffic import Traffic

BLOCK = 4096
LIMIT = 64 * 2 * BLOCK  # 64 blocks of two pages: a block and its hash
HAMMER = """
import random, sys
from shardkit.storage.blockcache import BlockCache
from shardkit.storage.location import locate
folder, limit, block, seed, *tars = sys.argv[1:]
cache, rng = BlockCache(folder, int(limit), int(block)), random.Random(int(seed))
tars = [(locate(path), path, open(path, "rb").read()) for path in tars]
print("ready", flush=True)
while True:
    location, path, data = rng.choice(tars)
    start = rng.randrange(len(data)); stop = min(len(data), start + rng.choice([1, 100, 9_000, 40_000]))
    if cache.read(location, start, stop, identity=path, size=len(data)) != data[start:stop]:
        print("WRONG", path, start, stop, flush=True)
"""
# A real failure: the system lets this process write no file beyond 1 KB.
READ_WITHOUT_STORING = """
import resource, sys
from shardkit.storage.blockcache import BlockCache
from shardkit.storage.location import locate
cache, path = BlockCache(sys.argv[1], 1 << 20, 4096), sys.argv[2]
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
data = open(path, "rb").read()
for start in range(0, 40_000, 1000):
    assert cache.read(locate(path), start, start + 5000, identity="x", size=len(data)) == data[start : start + 5000]
print(cache.hits)
"""
LOCK_FORK_AND_DIE = """
import os, signal, sys, time
from shardkit.storage.blockset import locked
with locked(sys.argv[1]):
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Tar(NamedTuple):
    location: Location
    data: bytes
    identity: str

    def read(self, cache: BlockCache, start: int, stop: int, traffic: Traffic | None = None) -> bytes:
        return cache.read(self.location, start, stop, identity=self.identity, size=len(self.data), traffic=traffic)


def make_tar(path: Path, num_bytes: int) -> Tar:
    data = os.urandom(num_bytes)
    path.write_bytes(data)
    return Tar(locate(path), data, xxh3_64_hexdigest(data))


def block_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*") if path.name != TEMPORARY)


def used(folder: Path) -> int:
    """Return the bytes of disk that files below ``folder`` certainly took at one instant.

    Looked at twice: what is there both times was there in between. What is evicted meanwhile does not count, nor
    what is stored meanwhile.
    """
    first, second = (dict(_sizes(folder)) for _ in range(2))
    return sum(min(size, second[path]) for path, size in first.items() if path in second)


def _sizes(folder: Path) -> Iterator[tuple[str, int]]:
    for place in folder.glob("*/"):
        for entry in list_set(str(place)):
            yield f"{place}/{entry.name}", entry.taken


class TestReading:
    @settings(max_examples=60)
    @given(reads=st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 30_000)), max_size=12))
    def test_read_is_slice(self, tmp_path_factory: pytest.TempPathFactory, reads: list[tuple[int, int]]) -> None:
        folder = tmp_path_factory.mktemp("cache")
        tar = make_tar(folder / "x.tar", 60_001)
        cache, traffic = BlockCache(folder / "cache", LIMIT, BLOCK), Traffic()
        for start, num_bytes in reads:
            stop = min(start + num_bytes, 60_001)
            assert tar.read(cache, start, stop, traffic) == tar.data[start:stop]
        assert traffic.requests <= cache.misses
        assert used(folder / "cache") <= LIMIT

    def test_second_read_fetches_nothing_and_is_counted(self, tmp_path: Path) -> None:
        tar, traffic = make_tar(tmp_path / "x.tar", 10 * BLOCK), Traffic()
        cache = BlockCache(tmp_path / "cache", LIMIT, BLOCK)
        assert tar.read(cache, 5000, 15_000, traffic) == tar.data[5000:15_000]
        assert (traffic.requests, traffic.bytes_read) == (1, 3 * BLOCK)
        assert (cache.hits, cache.misses, cache.bytes_served) == (0, 3, 0)
        assert tar.read(cache, 5000, 15_000, traffic) == tar.data[5000:15_000]
        assert (cache.hits, cache.misses, cache.bytes_served) == (3, 3, 10_000)
        # Blocks 1 to 3 are there; what lies around is fetched by a request on either side.
        assert tar.read(cache, 0, 10 * BLOCK, traffic) == tar.data
        assert (traffic.requests, traffic.bytes_read) == (3, 10 * BLOCK)
        assert tar.read(cache, 77, 77, traffic) == b""

    def test_other_identities_are_other_files(self, tmp_path: Path) -> None:
        old, new = make_tar(tmp_path / "old.tar", 9000), make_tar(tmp_path / "new.tar", 9000)
        cache = BlockCache(tmp_path / "cache", LIMIT, BLOCK)
        for tar in (old, new, old._replace(location=locate(tmp_path / "gone.tar"))):
            assert tar.read(cache, 0, 9000) == tar.data

    def test_file_of_another_size_is_corrupt_data_and_not_kept(self, tmp_path: Path) -> None:
        tar = make_tar(tmp_path / "x.tar", 9000)
        cache = BlockCache(tmp_path / "cache", LIMIT, BLOCK)
        with pytest.raises(CorruptDataError, match="has 9,000 bytes, its index says 9,001"):
            cache.read(tar.location, 0, 10, identity="x", size=9001)
        assert block_files(tmp_path / "cache") == []

    @pytest.mark.parametrize(("start", "stop"), [(-1, 4), (5, 4), (0, 9001)])
    def test_what_is_no_range_is_refused(self, tmp_path: Path, start: int, stop: int) -> None:
        tar = make_tar(tmp_path / "x.tar", 9000)
        with pytest.raises(InputError, match="no range of the 9,000"):
            tar.read(BlockCache(tmp_path / "cache", LIMIT, BLOCK), start, stop)

    def test_threads_and_copies_share_it(self, tmp_path: Path) -> None:
        tar = make_tar(tmp_path / "x.tar", 40 * BLOCK)
        cache = BlockCache(tmp_path / "cache", LIMIT, BLOCK)

        def read(number: int) -> bool:
            start = number * 7919 % 100_000
            return tar.read(cache, start, start + 9000) == tar.data[start : start + 9000]

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(read, range(400)))
        copy = pickle.loads(pickle.dumps(cache))  # noqa: S301  (our own bytes)
        assert tar.read(copy, 0, 100) == tar.data[:100]
        assert (copy.hits, copy.misses) == (1, 0)

    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python 3.12: beside threads, as is meant
    def test_fork_while_a_set_is_locked_leaves_it_free(self, tmp_path: Path) -> None:
        with ExitStack() as stack:
            with locked(tmp_path) as mine:
                assert mine is not None
                inheriting = stack.enter_context(multiprocessing.get_context("fork").Pool(1))
                assert inheriting.apply(_can_lock, (tmp_path,)) is False
            assert inheriting.apply(_can_lock, (tmp_path,)) is True

    def test_lock_ends_with_its_process_though_a_forked_child_lives(self, tmp_path: Path) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", LOCK_FORK_AND_DIE, str(tmp_path)], stdout=subprocess.PIPE
        ) as dying:
            assert dying.stdout is not None
            child = int(dying.stdout.readline())
            try:
                assert not _can_lock(tmp_path)
                assert dying.wait(30) == -signal.SIGKILL
                assert _can_lock(tmp_path)
            finally:
                os.kill(child, signal.SIGKILL)


def _agrees(folder: Path, limit: int) -> bool:
    try:
        BlockCache(folder, limit, BLOCK)
    except InputError:
        return False
    return True


def _can_lock(folder: Path) -> bool:
    with locked(folder) as descriptor:
        return descriptor is not None


class TestBound:
    def test_least_recently_used_goes_first(self, tmp_path: Path) -> None:
        folder, share = tmp_path / "set", 3 * space_of(100)
        folder.mkdir()
        for age, name in enumerate("cba"):
            assert insert(str(folder), name, memoryview(name.encode() * 100), b"x", share)
            os.utime(folder / name, (1000 - age, 1000 - age))
        assert load(str(folder / "a"), 100, b"x") == b"a" * 100  # a hit, so b is the oldest now
        assert insert(str(folder), "d", memoryview(b"d" * 100), b"x", share)
        assert sorted(path.name for path in folder.iterdir()) == ["a", "c", "d"]

    def test_leftover_of_a_killed_process_is_removed(self, tmp_path: Path) -> None:
        folder, share = tmp_path / "set", 1 << 20
        folder.mkdir()
        (folder / TEMPORARY).write_bytes(bytes(5000))
        assert insert(str(folder), "a", memoryview(bytes(100)), b"x", share)
        assert [entry.name for entry in list_set(str(folder))] == ["a"]

    def test_block_larger_than_the_share_is_not_stored(self, tmp_path: Path) -> None:
        assert not insert(str(tmp_path), "a", memoryview(bytes(5000)), b"x", 4096)
        assert list(tmp_path.iterdir()) == []

    def test_set_that_stays_locked_is_passed_by(self, tmp_path: Path) -> None:
        with locked(tmp_path), ThreadPoolExecutor(1) as thread:
            started = time.monotonic()
            assert not thread.submit(insert, str(tmp_path), "a", memoryview(b"x"), b"x", 1 << 20).result()
            assert time.monotonic() - started < 5

    @pytest.mark.parametrize(("num_sets", "block"), [(1, 32 * BLOCK), (3, BLOCK)])
    def test_limit_holds_at_any_instant_though_processes_are_killed(
        self, tmp_path: Path, num_sets: int, block: int
    ) -> None:
        """Four processes read at random, each is killed and started again at random instants; a watcher looks."""
        share = 64 * space_of(block)
        limit, folder, rng = num_sets * share, tmp_path / "cache", random.Random(num_sets)  # noqa: S311  (instants)
        tars = [make_tar(tmp_path / f"{number}.tar", 150 * block + number) for number in range(2 * num_sets)]
        command = [sys.executable, "-c", HAMMER, str(folder), str(limit), str(block)]
        paths = [str(tar.location) for tar in tars]
        peak, ended = [0], threading.Event()

        def watch() -> None:
            while not ended.is_set():
                peak[0] = max(peak[0], used(folder))

        outputs: list[str] = []
        with ExitStack() as stack:
            watching = stack.enter_context(ThreadPoolExecutor(1)).submit(watch)
            stack.callback(ended.set)

            def start(seed: int) -> "subprocess.Popen[str]":
                process = subprocess.Popen([*command, str(seed), *paths], stdout=subprocess.PIPE, text=True)
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                return process

            def kill(process: "subprocess.Popen[str]") -> None:
                assert process.poll() is None, "it ended by itself"
                process.send_signal(signal.SIGKILL)
                outputs.append(process.communicate()[0])

            running = [start(seed) for seed in range(4)]
            try:
                for seed in range(4, 16):
                    time.sleep(rng.uniform(0.02, 0.3))
                    victim = rng.randrange(4)
                    kill(running[victim])
                    running[victim] = start(seed)
            finally:
                for process in running:
                    kill(process)
            ended.set()
            watching.result()
        assert "".join(outputs) == ""
        assert limit // 2 < peak[0] <= limit
        cache = BlockCache(folder, limit, block)
        for tar in tars:
            assert tar.read(cache, 0, len(tar.data)) == tar.data
        for place in folder.iterdir():
            if place.is_dir():
                assert sum(entry.taken for entry in list_set(str(place))) <= share


class TestFaults:
    @pytest.mark.parametrize(
        "spoil",
        [
            lambda raw: b"",
            lambda raw: raw[:-1],
            lambda raw: raw + b"x",
            lambda raw: bytes(len(raw)),
            lambda raw: raw[:100] + bytes([raw[100] ^ 1]) + raw[101:],
            lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),
        ],
    )
    def test_spoilt_block_is_removed_and_fetched_again(self, tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
        tar = make_tar(tmp_path / "x.tar", 3 * BLOCK)
        cache = BlockCache(tmp_path / "cache", LIMIT, BLOCK)
        tar.read(cache, 0, 3 * BLOCK)
        for path in block_files(tmp_path / "cache"):
            path.write_bytes(spoil(path.read_bytes()))
        assert tar.read(cache, 0, 3 * BLOCK) == tar.data
        assert (cache.hits, cache.misses) == (0, 6)
        assert tar.read(cache, 0, 3 * BLOCK) == tar.data
        assert cache.hits == 3

    def test_block_in_the_place_of_another_is_not_delivered(self, tmp_path: Path) -> None:
        tar = make_tar(tmp_path / "x.tar", 2 * BLOCK)
        cache = BlockCache(tmp_path / "cache", LIMIT, BLOCK)
        tar.read(cache, 0, 2 * BLOCK)
        one, other = block_files(tmp_path / "cache")
        shutil.copy(one, other)
        assert tar.read(cache, 0, 2 * BLOCK) == tar.data

    def test_files_that_can_not_be_written_are_told_once(self, tmp_path: Path) -> None:
        make_tar(tmp_path / "x.tar", 100_000)
        command = [sys.executable, "-c", READ_WITHOUT_STORING, str(tmp_path / "cache"), str(tmp_path / "x.tar")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout == "0\n"
        assert done.stderr.count("can't store anything (File too large)") == 1
        assert block_files(tmp_path / "cache") == []
        assert list((tmp_path / "cache").glob(f"*/{TEMPORARY}")) == []

    @pytest.fixture
    def small_disk(self, tmp_path: Path) -> Iterator[Path]:
        disk = tmp_path / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
        if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("no file system may be mounted here")
        try:
            yield disk
        finally:
            subprocess.run(["umount", str(disk)], check=True)

    def test_full_disk_is_told_once_and_tried_again_later(
        self, tmp_path: Path, small_disk: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tar = make_tar(tmp_path / "x.tar", 100 * BLOCK)
        cache = BlockCache(small_disk / "cache", 10 * LIMIT, BLOCK)
        with caplog.at_level(logging.WARNING, "shardkit"):
            for _ in range(2):
                for start in range(0, 100 * BLOCK, BLOCK):
                    assert tar.read(cache, start, start + BLOCK) == tar.data[start : start + BLOCK]
        assert [record.getMessage().count("No space left") for record in caplog.records] == [1]
        assert 0 < cache.hits < 100
        assert list(small_disk.glob(f"cache/*/{TEMPORARY}")) == []
        for path in block_files(small_disk / "cache"):
            path.unlink()
        monkeypatch.setattr("shardkit.storage.blockcache.time.monotonic", lambda: time.perf_counter() + 1e9)
        hits = cache.hits
        for _ in range(2):
            tar.read(cache, 0, BLOCK)
        assert cache.hits == hits + 1

    def test_read_only_disk_serves_what_it_has(
        self, tmp_path: Path, small_disk: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        tar = make_tar(tmp_path / "x.tar", 10 * BLOCK)
        tar.read(BlockCache(small_disk / "cache", LIMIT, BLOCK), 0, 5 * BLOCK)
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        with caplog.at_level(logging.WARNING, "shardkit"):
            for folder, hits in (("cache", 10), ("none", 0)):
                cache = BlockCache(small_disk / folder, LIMIT, BLOCK)
                for _ in range(2):
                    assert tar.read(cache, 0, 10 * BLOCK) == tar.data
                assert cache.hits == hits
        assert [record.getMessage().count("Read-only file system") for record in caplog.records] == [1, 1]

    def test_removed_folder_is_made_again(self, tmp_path: Path) -> None:
        tar = make_tar(tmp_path / "x.tar", 3 * BLOCK)
        cache = BlockCache(tmp_path / "cache", LIMIT, BLOCK)
        for _ in range(2):
            assert tar.read(cache, 0, 3 * BLOCK) == tar.data
            assert len(block_files(tmp_path / "cache")) == 3
            shutil.rmtree(tmp_path / "cache")
        assert tar.read(cache, 0, 3 * BLOCK) == tar.data
        assert json.loads((tmp_path / "cache/shardkit-cache.json").read_text())["block_bytes"] == BLOCK

    def test_cache_of_another_geometry_in_its_place_is_left_alone(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        tar = make_tar(tmp_path / "x.tar", 3 * BLOCK)
        cache = BlockCache(tmp_path / "cache", LIMIT, BLOCK)
        shutil.rmtree(tmp_path / "cache")
        BlockCache(tmp_path / "cache", LIMIT, 2 * BLOCK)
        assert tar.read(cache, 0, 3 * BLOCK) == tar.data
        assert block_files(tmp_path / "cache") == []
        assert "can't store anything" in caplog.text


class TestGeometry:
    @pytest.mark.parametrize(("limit", "block"), [(LIMIT + BLOCK, BLOCK), (LIMIT, 2 * BLOCK)])
    def test_other_geometry_is_refused(self, tmp_path: Path, limit: int, block: int) -> None:
        BlockCache(tmp_path / "cache", LIMIT, BLOCK)
        BlockCache(tmp_path / "cache", LIMIT, BLOCK)
        with pytest.raises(InputError, match=r"has .*_bytes [0-9]+, asked for was .*; give the same .* or remove"):
            BlockCache(tmp_path / "cache", limit, block)

    @pytest.mark.parametrize(
        ("limit", "block"), [(LIMIT, 0), (LIMIT, 5000), (LIMIT, -4096), (BLOCK, BLOCK), (-1, BLOCK)]
    )
    def test_impossible_sizes_are_refused(self, tmp_path: Path, limit: int, block: int) -> None:
        with pytest.raises(InputError, match="give"):
            BlockCache(tmp_path / "cache", limit, block)
        assert not (tmp_path / "cache").exists()

    def test_what_is_no_cache_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for place in (tmp_path / "file", tmp_path / "file/below"):
            with pytest.raises(InputError, match="name a folder"):
                BlockCache(place, LIMIT, BLOCK)
        (tmp_path / "shardkit-cache.json").write_text("{")
        with pytest.raises(InputError, match="not the file of a cache; remove"):
            BlockCache(tmp_path, LIMIT, BLOCK)

    @given(limit=st.integers(2 * BLOCK, 1 << 44), pages=st.integers(1, 1024))
    def test_sets_share_the_limit_and_each_holds_a_block(self, limit: int, pages: int) -> None:
        if limit < space_of(pages * BLOCK):
            return
        made = choose(Path("/x"), limit, pages * BLOCK)
        assert made.num_sets * made.share_bytes <= limit
        assert made.share_bytes >= space_of(pages * BLOCK)
