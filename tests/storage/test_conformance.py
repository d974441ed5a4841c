"""What every backend does alike: the suite, and one class for each backend that runs it."""

import multiprocessing
import os
import pickle
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shardkit.core.errors import CorruptDataError, InputError, NotFoundError, StorageError
from shardkit.storage.location import Location, locate
from shardkit.storage.store import (
    Traffic,
    check_writable,
    exists,
    is_folder,
    list_files,
    make_folder,
    open_reader,
    publish,
    read_bytes,
    read_range,
    remove,
    remove_leftovers,
    size,
    write_bytes,
)

DATA = bytes(range(256)) * 4
ODD_NAMES = [
    "with space.wav",
    "naïve/日本語.flac",
    "100%25 #1?.wav",
    "a+b&c=d;e.txt",
    "[brackets]*.txt",
    "'quotes\".txt",
]


class Conformance:
    """The contract; ``folder`` is an empty place of the backend."""

    @pytest.fixture
    def folder(self) -> Location:
        raise NotImplementedError

    def test_what_was_written_is_read(self, folder: Location) -> None:
        for data in (DATA, b"", bytearray(b"abc"), memoryview(DATA)[3:9]):
            write_bytes(folder / "a/b/file.bin", data)
            assert read_bytes(folder / "a/b/file.bin") == bytes(data)
            assert size(folder / "a/b/file.bin") == len(data)

    @pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 1024), (1023, 1024), (7, 500), (0, 0), (1024, 1024)])
    def test_range_is_slice(self, folder: Location, start: int, stop: int) -> None:
        write_bytes(folder / "x", DATA)
        assert read_range(folder / "x", start, stop) == DATA[start:stop]

    @pytest.mark.parametrize(
        ("start", "stop", "got"), [(0, 1025, 1024), (1000, 2000, 24), (1024, 1025, 0), (5000, 6000, 0)]
    )
    def test_range_past_the_end_is_corrupt_data(self, folder: Location, start: int, stop: int, got: int) -> None:
        write_bytes(folder / "x", DATA)
        with pytest.raises(CorruptDataError, match=rf"bytes {start:,} to {stop:,}, got {got:,} of .* has 1,024 bytes"):
            read_range(folder / "x", start, stop)

    @pytest.mark.parametrize(("start", "stop"), [(-1, 4), (5, 4)])
    def test_what_is_no_range_is_refused(self, folder: Location, start: int, stop: int) -> None:
        with pytest.raises(InputError, match="no range"):
            read_range(folder / "x", start, stop)

    @pytest.mark.parametrize("read", [read_bytes, size, open_reader, lambda location: read_range(location, 0, 1)])
    def test_missing_file_is_not_found(self, folder: Location, read: Callable[[Location], Any]) -> None:
        write_bytes(folder / "other", DATA)
        with pytest.raises(NotFoundError, match=r"missing: .*nothing is stored there") as caught:
            read(folder / "missing")
        assert "\n" not in str(caught.value)

    def test_what_exists_and_what_is_a_folder(self, folder: Location) -> None:
        write_bytes(folder / "a/b/x", DATA)
        found = {
            name: (exists(folder / name), is_folder(folder / name)) for name in ("a", "a/b", "a/b/x", "a/b/y", "b")
        }
        yes, no = (True, True), (False, False)
        assert found == {"a": yes, "a/b": yes, "a/b/x": (True, False), "a/b/y": no, "b": no}

    def test_size_of_a_folder_is_an_error(self, folder: Location) -> None:
        write_bytes(folder / "a/x", DATA)
        with pytest.raises(StorageError, match="it is a folder"):
            size(folder / "a")

    def test_listing_is_recursive_and_sorted(self, folder: Location) -> None:
        for name in ("b/2.wav", "b/1.WAV", "a.txt", "b.flac", "c/d/e.wav"):
            write_bytes(folder / name, name.encode())
        assert list_files(folder) == sorted((n, len(n)) for n in ("b/2.wav", "b/1.WAV", "a.txt", "b.flac", "c/d/e.wav"))
        assert [file.name for file in list_files(folder, [".wav", ".flac"])] == [
            "b.flac",
            "b/1.WAV",
            "b/2.wav",
            "c/d/e.wav",
        ]
        assert [file.name for file in list_files(folder / "b")] == ["1.WAV", "2.wav"]
        assert list_files(folder / "nothing") == []

    def test_listing_a_file_is_an_error(self, folder: Location) -> None:
        write_bytes(folder / "a.txt", DATA)
        with pytest.raises(StorageError, match="not a folder"):
            list_files(folder / "a.txt")

    def test_listing_is_never_stale(self, folder: Location) -> None:
        for number in range(3):
            assert len(list_files(folder)) == number
            assert not exists(folder / f"{number}")
            write_bytes(folder / f"{number}", DATA[:number])
            assert size(folder / f"{number}") == number
        remove(folder / "0")
        assert list_files(folder) == [("1", 1), ("2", 2)]

    def test_odd_names_are_literal(self, folder: Location) -> None:
        for name in ODD_NAMES:
            write_bytes(folder / name, name.encode())
        assert [file.name for file in list_files(folder)] == sorted(ODD_NAMES)
        for name in ODD_NAMES:
            assert read_bytes(folder / name) == name.encode()
            assert size(folder / name) == len(name.encode())
            remove(folder / name)
        assert list_files(folder) == []

    def test_removing_twice_is_no_error(self, folder: Location) -> None:
        write_bytes(folder / "x", DATA)
        remove(folder / "x")
        remove(folder / "x")
        assert not exists(folder / "x")

    def test_rewritten_file_is_read_anew(self, folder: Location, tmp_path: Path) -> None:
        for content in (b"old content", b"new content"):
            write_bytes(folder / "x", content)
            assert read_range(folder / "x", 0, 3) == content[:3]
        (tmp_path / "shard").write_bytes(b"the newest")
        publish(tmp_path / "shard", folder / "x")
        assert read_range(folder / "x", 0, 10) == b"the newest"

    def test_published_file_is_moved(self, folder: Location, tmp_path: Path) -> None:
        source = tmp_path / "shard.tar"
        source.write_bytes(DATA)
        publish(source, folder / "train/000000.tar")
        assert read_bytes(folder / "train/000000.tar") == DATA
        assert not source.exists()
        assert list_files(folder) == [("train/000000.tar", len(DATA))]

    def test_publishing_what_is_missing_is_not_found(self, folder: Location, tmp_path: Path) -> None:
        with pytest.raises(NotFoundError, match=r"nothing\.tar"):
            publish(tmp_path / "nothing.tar", folder / "x")
        assert not exists(folder / "x")

    def test_checking_leaves_nothing_behind(self, folder: Location) -> None:
        check_writable(folder / "new/place")
        assert list_files(folder) == []
        make_folder(folder / "new/place")
        make_folder(folder / "new/place")
        check_writable(folder / "new/place")
        assert list_files(folder) == []

    def test_leftovers_of_killed_writes_are_passed_over_and_removable(self, folder: Location) -> None:
        write_bytes(folder / "train/.shardkit-0123.tmp", DATA)
        write_bytes(folder / "train/x", DATA)
        assert [file.name for file in list_files(folder)] == ["train/x"]
        assert remove_leftovers(folder) == 1
        assert not exists(folder / "train/.shardkit-0123.tmp")
        assert [file.name for file in list_files(folder)] == ["train/x"]

    def test_reader_is_a_file_object(self, folder: Location, tmp_path: Path) -> None:
        with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
            (tmp_path / "member").write_bytes(DATA * 100)
            for number in range(5):
                archive.add(tmp_path / "member", f"{number}.bin")
        write_bytes(folder / "x.tar", (tmp_path / "x.tar").read_bytes())
        traffic = Traffic()
        with (
            open_reader(folder / "x.tar", block_size=4096, traffic=traffic) as file,
            tarfile.open(fileobj=file) as archive,
        ):
            assert archive.getnames() == [f"{number}.bin" for number in range(5)]
            member = archive.extractfile("3.bin")
            assert member is not None
            assert member.read() == DATA * 100
            assert file.seek(0, os.SEEK_END) == size(folder / "x.tar")
            assert file.read() == b""
            file.seek(512)
            assert file.read(1024) == DATA
        assert 0 < traffic.bytes_read < 3 * len(DATA) * 100

    def test_traffic_counts_what_was_asked(self, folder: Location) -> None:
        write_bytes(folder / "x", DATA)
        traffic = Traffic()
        read_range(folder / "x", 5, 25, traffic=traffic)
        read_bytes(folder / "x", traffic=traffic)
        assert (traffic.requests, traffic.bytes_read) == (2, 20 + len(DATA))

    def test_threads_read_what_is_there(self, folder: Location) -> None:
        contents = {name: name.encode() * 100 for name in "abcdefgh"}
        for name, content in contents.items():
            write_bytes(folder / name, content)
        traffic = Traffic()

        def read(number: int) -> bool:
            name, start = "abcdefgh"[number % 8], number % 50
            return read_range(folder / name, start, start + 50, traffic=traffic) == contents[name][start : start + 50]

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(read, range(200)))
        assert (traffic.requests, traffic.bytes_read) == (200, 200 * 50)

    def test_locations_travel_to_other_processes(self, folder: Location) -> None:
        write_bytes(folder / "x", DATA)
        copy = pickle.loads(pickle.dumps(folder / "x"))  # noqa: S301  (our own bytes)
        assert (copy, hash(copy)) == (folder / "x", hash(folder / "x"))
        assert read_range(copy, 3, 9) == DATA[3:9]


class SharedConformance(Conformance):
    """Further, for what other processes see too."""

    def test_file_must_have_the_size_its_index_says(self, folder: Location) -> None:
        write_bytes(folder / "x", DATA)
        assert read_range(folder / "x", 5, 9, expected_size=1024) == DATA[5:9]
        for start, stop, expected in ((5, 9, 1025), (5, 9, 1023), (1000, 1030, 1030)):
            with pytest.raises(
                CorruptDataError, match=rf"the tar has 1,024 bytes, its index says {expected:,}; it was"
            ):
                read_range(folder / "x", start, stop, expected_size=expected)
        assert read_range(folder / "x", 5, 9, expected_size=1024) == DATA[5:9]

    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python 3.12: beside threads, as is meant
    def test_forked_child_reads_and_the_parent_goes_on(self, folder: Location) -> None:
        write_bytes(folder / "x", DATA)
        assert read_range(folder / "x", 0, 5) == DATA[:5]  # so that there is something to inherit
        with multiprocessing.get_context("fork").Pool(2) as pool:
            results = pool.starmap(read_range, [(folder / "x", i, i + 10) for i in range(20)])
        assert results == [DATA[i : i + 10] for i in range(20)]
        assert read_range(folder / "x", 5, 9) == DATA[5:9]


class TestLocal(SharedConformance):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Location:
        return locate(tmp_path / "storage")


class TestFileUrl(Conformance):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Location:
        return locate(f"file://{tmp_path}/with space #1")


class TestMemory(Conformance):
    @pytest.fixture
    def folder(self) -> Location:
        return locate(f"memory://{uuid4()}")


class TestS3(SharedConformance):
    @pytest.fixture
    def folder(self, s3: Any) -> Location:
        return locate(f"{s3.url}/{uuid4()}")
