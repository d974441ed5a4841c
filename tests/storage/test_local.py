"""What only local storage does: descriptors, links, permissions, and writes that survive being killed."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from shardkit.core.errors import AccessError, CorruptDataError, NotFoundError, StorageError
from shardkit.storage.descriptors import Descriptors, OpenFile
from shardkit.storage.location import locate
from shardkit.storage.store import (
    check_writable,
    exists,
    list_files,
    open_reader,
    publish,
    read_bytes,
    read_range,
    remove_leftovers,
    size,
    write_bytes,
)

WRITE_FOR_EVER = """
import itertools, sys
from shardkit.storage.location import locate
from shardkit.storage.store import write_bytes
target = locate(sys.argv[1])
for number in itertools.count():
    write_bytes(target, bytes([number % 256]) * 4_000_000)
    print(number, flush=True)
"""
# A real failure half-way: the system lets this process write no file beyond 1 MB.
WRITE_TOO_MUCH = """
import resource, signal, sys
from shardkit.storage.location import locate
from shardkit.storage.store import write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
write_bytes(locate(sys.argv[1]), bytes(4_000_000))
"""

OPEN_FILES = Path("/proc/self/fd")  # Linux
OTHER_FILE_SYSTEM = Path("/dev/shm")  # noqa: S108  (in memory, so seldom the one that pytest's folders are on)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def open_below(folder: Path) -> list[str]:
    """Return the files below ``folder`` that this process has open."""
    links = [str(link.readlink()) for link in OPEN_FILES.iterdir() if link.is_symlink()]
    return [path for path in links if path.startswith(f"{folder}/")]


@contextmanager
def borrowed(descriptors: Descriptors, path: Path) -> Iterator[OpenFile]:
    file = descriptors.borrow(str(path))
    try:
        yield file
    finally:
        descriptors.give_back(file)


def test_concurrent_reads_with_two_descriptors_read_the_right_files(tmp_path: Path) -> None:
    for number in range(16):
        (tmp_path / str(number)).write_bytes(bytes([number]) * 1000)
    descriptors = Descriptors(capacity=2)

    def read(number: int) -> bool:
        with borrowed(descriptors, tmp_path / str(number % 16)) as file:
            return os.pread(file.descriptor, 100, number % 900) == bytes([number % 16]) * 100

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(read, range(4000)))
    if OPEN_FILES.exists():
        assert len(open_below(tmp_path)) <= 2


def test_descriptor_in_use_outlives_its_eviction(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode())
    descriptors = Descriptors(capacity=1)
    with borrowed(descriptors, tmp_path / "a") as first:
        for name in "bc":
            with borrowed(descriptors, tmp_path / name) as other:
                assert os.pread(other.descriptor, 1, 0) == name.encode()
        descriptors.forget(str(tmp_path / "a"))
        assert os.pread(first.descriptor, 1, 0) == b"a"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(first.descriptor)


def test_file_that_another_process_replaced_is_read_for_its_own_index(tmp_path: Path) -> None:
    shard = locate(tmp_path / "shard.tar")
    shard.local_path.write_bytes(b"old")
    assert read_range(shard, 0, 3, expected_size=3) == b"old"
    (tmp_path / "new").write_bytes(b"newer")
    (tmp_path / "new").rename(shard.local_path)
    assert read_range(shard, 0, 3, expected_size=3) == b"old"  # a run goes on with what it has open
    assert read_range(shard, 0, 3, expected_size=5) == b"new"  # the dataset opened anew
    with pytest.raises(CorruptDataError, match="has 5 bytes, its index says 3; it was replaced or is still"):
        read_range(shard, 0, 3, expected_size=3)


def test_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    target = locate(tmp_path / "shard.tar")
    with subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, target.url], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        for _ in range(3):
            writer.stdout.readline()
        for _ in range(20):
            content = read_bytes(target)
            assert content == content[:1] * 4_000_000
        time.sleep(0.003)
        writer.send_signal(signal.SIGKILL)
    content = read_bytes(target)
    assert content == content[:1] * 4_000_000
    assert [file.name for file in list_files(locate(tmp_path))] == ["shard.tar"]
    assert remove_leftovers(locate(tmp_path)) <= 1
    assert names_in(tmp_path) == ["shard.tar"]


def test_failed_write_leaves_the_old_file_and_no_stray(tmp_path: Path) -> None:
    target = tmp_path / "index.parquet"
    target.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-c", WRITE_TOO_MUCH, str(target)], capture_output=True, text=True, check=False
    )
    assert "StorageError: " + str(target) + ": can't write: the file is larger than" in done.stderr
    assert target.read_bytes() == b"old"
    assert names_in(tmp_path) == ["index.parquet"]


def test_written_files_get_the_permissions_of_the_umask(tmp_path: Path) -> None:
    write_bytes(locate(tmp_path / "x"), b"x")
    (tmp_path / "y").touch()
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


@pytest.mark.skipif(not OTHER_FILE_SYSTEM.is_dir(), reason="needs a second file system")
def test_publishing_across_file_systems_copies_whole(tmp_path: Path) -> None:
    source = OTHER_FILE_SYSTEM / f"shardkit-{os.getpid()}.tar"
    source.write_bytes(bytes(3_000_000))
    if source.stat().st_dev == tmp_path.stat().st_dev:
        source.unlink()
        pytest.skip(f"{OTHER_FILE_SYSTEM} is on the same file system")
    publish(source, locate(tmp_path / "train/000000.tar"))
    assert not source.exists()
    assert (tmp_path / "train/000000.tar").read_bytes() == bytes(3_000_000)
    assert names_in(tmp_path / "train") == ["000000.tar"]


@pytest.mark.parametrize("below", ["file.txt/x", "file.txt/x/y", "file.txt"])
def test_folder_below_a_file_is_not_writable(tmp_path: Path, below: str) -> None:
    (tmp_path / "file.txt").touch()
    folder = locate(tmp_path / below)
    with pytest.raises(StorageError, match="a part of the path is a file, not a folder"):
        check_writable(folder)
    with pytest.raises(StorageError, match="a part of the path is a file, not a folder"):
        write_bytes(folder / "x", b"x")
    assert not exists(folder / "x")
    with pytest.raises(NotFoundError):
        read_bytes(folder / "x")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("folder", ["/proc/shardkit", "/proc/self/fdinfo", "/sys/kernel/shardkit"])
def test_folder_of_a_file_system_that_takes_no_files_is_not_writable(folder: str) -> None:
    with pytest.raises(StorageError, match=r"can't write: (no file can be made there|permission denied); "):
        check_writable(locate(folder))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_folder_without_permission_is_not_writable(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(AccessError, match="permission denied"):
        check_writable(locate(tmp_path / "closed/x"))


def test_reading_a_folder_is_an_error(tmp_path: Path) -> None:
    for read in (read_bytes, size, lambda location: read_range(location, 0, 1)):
        with pytest.raises(StorageError, match="it is a folder"):
            read(locate(tmp_path))


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a.wav").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real/loop").symlink_to("..")
    (tmp_path / "dangling.wav").symlink_to("nowhere")
    assert list_files(locate(tmp_path)) == [("dangling.wav", 0), ("link/a.wav", 5), ("real/a.wav", 5)]
    with pytest.raises(NotFoundError, match=r"dangling\.wav"):
        read_bytes(locate(tmp_path / "dangling.wav"))


@pytest.mark.skipif(not OPEN_FILES.exists(), reason="needs /proc")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python 3.12: beside threads, as is meant here
def test_forked_child_has_closed_what_it_inherited(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    assert read_range(locate(tmp_path / "a"), 0, 1) == b"a"
    assert open_below(tmp_path) == [str(tmp_path / "a")]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(open_below, (tmp_path,)) == []
        assert pool.apply(read_range, (locate(tmp_path / "a"), 0, 1)) == b"a"
    assert open_below(tmp_path) == [str(tmp_path / "a")]


def test_a_file_that_others_replaced_is_read_as_it_is_now(tmp_path: Path) -> None:
    place = tmp_path / "a"
    for content in (b"first", b"a longer second", b"third"):
        new = tmp_path / "new"
        new.write_bytes(content)
        new.replace(place)
        assert read_range(locate(place), 0, len(content)) == content
        assert open_reader(locate(place)).read() == content
