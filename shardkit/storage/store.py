"""Reading, listing and writing at locations: the one seam where failures become shardkit's errors.

    NotFoundError     nothing is there: no such file, folder or bucket
    AccessError       permission denied, wrong or missing credentials
    CorruptDataError  a file is shorter than the range asked of it
    InputError        the request can't be: an option, a bucket's name, writing to HTTP
    StorageError      all else: no connection, no space, a store that keeps failing

Every function may be called from any thread, and in forked or spawned processes. Writes appear whole or not at all.
"""

import io
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from shardkit.core.errors import CorruptDataError, InputError, NotFoundError, ShardkitError, StorageError
from shardkit.storage.backend import TEMPORARY_PREFIX, Backend, Status, StoredFile
from shardkit.storage.cost import add_request
from shardkit.storage.faults import explain
from shardkit.storage.local import LocalBackend
from shardkit.storage.location import Location, locate
from shardkit.storage.reader import RangeReader
from shardkit.storage.remote import RemoteBackend
from shardkit.storage.traffic import Traffic

__all__ = [
    "StoredFile",
    "Traffic",
    "check_writable",
    "create",
    "exists",
    "is_folder",
    "list_files",
    "list_irregular",
    "make_folder",
    "open_reader",
    "publish",
    "read_bytes",
    "read_range",
    "read_ranges",
    "remove",
    "remove_leftovers",
    "replace",
    "size",
    "write_bytes",
]

_LOCAL = LocalBackend()
_REMOTE: Backend = RemoteBackend()


def read_bytes(location: Location, *, traffic: Traffic | None = None) -> bytes:
    """Return the content of a whole file."""
    started = time.perf_counter()
    with _explained(location, "read"):
        data = _backend(location).read(location)
    if traffic is not None:
        traffic.add(len(data), time.perf_counter() - started)
    return data


def read_range(
    location: Location, start: int, stop: int, *, expected_size: int | None = None, traffic: Traffic | None = None
) -> bytes:
    """Return exactly the bytes [start, stop) of a file, by one request without read-ahead.

    Args:
        location: The file.
        start: First byte.
        stop: The byte after the last.
        expected_size: Bytes that the whole file has by its index. Where the answer tells another size, or that the
            file was replaced since this process first read it (by ETag or date), that is an error even if the range
            is there; S3, plain HTTP and local files tell, other stores don't.
        traffic: Counts the request. What requests cost at each place is measured too, see ``cost``.

    Raises:
        CorruptDataError: The file ends before ``stop``, or is not the expected one.
        StorageError: It can't be read, see above; or the server ignores ranges and ``start`` lies far behind.
    """
    if not 0 <= start <= stop:
        raise InputError(f"{location}: bytes {start:,} to {stop:,} are no range; give 0 <= start <= stop")
    if start == stop:
        return b""
    started = time.perf_counter()
    try:
        data = _backend(location).read_range(location, start, stop, expected_size, traffic)
    except ShardkitError:
        raise
    except Exception as err:  # as in _explained
        raise explain(err, location, f"read bytes {start:,} to {stop:,}") from err
    seconds = time.perf_counter() - started
    add_request(location, len(data), seconds)
    if traffic is not None:
        traffic.add(len(data), seconds)
    if len(data) != stop - start:
        raise _wrong_length(location, start, stop, len(data))
    return data


def read_ranges(
    location: Location, ranges: Sequence[tuple[int, int]], *, expected_size: int, traffic: Traffic | None = None
) -> list[bytes]:
    """Return exactly the bytes [start, stop) of some short ranges of a local file, as ``read_range`` does of one.

    For a few KB, what is done around a read takes longer than it: here that is done once.
    """
    started = time.perf_counter()
    with _explained(location, "read"):
        found = _LOCAL.read_ranges(location, ranges, expected_size)
    seconds, total = time.perf_counter() - started, sum(map(len, found))
    add_request(location, total // len(ranges), seconds / len(ranges))
    if traffic is not None:
        traffic.add(total, seconds, requests=len(ranges))
    for (start, stop), data in zip(ranges, found, strict=True):
        if len(data) != stop - start:
            raise _wrong_length(location, start, stop, len(data))
    return found


def open_reader(location: Location, *, block_size: int = 1 << 20, traffic: Traffic | None = None) -> io.BufferedReader:
    """Return a seekable binary file object, for pyarrow, tarfile and others that want one.

    Args:
        location: The file.
        block_size: Bytes that small reads fetch at once; larger reads go through as they are.
        traffic: Counts what is fetched.
    """
    raw = RangeReader(
        str(location), size(location), lambda start, stop: read_range(location, start, stop, traffic=traffic)
    )
    return io.BufferedReader(raw, block_size)


def size(location: Location) -> int:
    """Return the bytes of a file."""
    found = _status(location)
    if found is None:
        raise NotFoundError(f"{location}: nothing is stored there; check the name")
    if found.is_folder:
        raise StorageError(f"{location}: it is a folder, not a file; name a file")
    return found.size


def exists(location: Location) -> bool:
    """Return whether a file or a folder is there."""
    try:
        return _status(location) is not None
    except NotFoundError:  # not even its bucket
        return False


def is_folder(location: Location) -> bool:
    """Return whether a folder is there; in object stores, whether any name begins with it."""
    try:
        found = _status(location)
    except NotFoundError:  # not even its bucket
        return False
    return found is not None and found.is_folder


def list_files(folder: Location, suffixes: Iterable[str] | None = None) -> list[StoredFile]:
    """Return all files below a folder, through its sub-folders, sorted by name; none where there is no folder.

    Args:
        folder: Where to look; symbolic links are followed. What a killed write left behind is passed over.
        suffixes: Ends of names to keep, ``.flac``, in whatever case; None: all.

    Raises:
        StorageError: It is a file, its bucket does not exist, or it can't be listed.
    """
    ends = None if suffixes is None else tuple(suffix.lower() for suffix in suffixes)
    return [
        file
        for file in _all_files(folder)
        if not _is_temporary(file.name) and (ends is None or file.name.lower().endswith(ends))
    ]


def list_irregular(folder: Location) -> list[str]:
    """Return the names of pipes, sockets and devices below a folder, sorted; reading one could wait for ever."""
    with _explained(folder, "list"):
        return sorted(_backend(folder).irregular(folder))


def write_bytes(location: Location, data: bytes | bytearray | memoryview) -> None:
    """Store a file in one step; folders above are made. A reader sees the old content or the new, never a part."""
    with _explained(location, "write"):
        _backend(location).write(location, bytes(data))


def create(location: Location, data: bytes) -> bool:
    """Store a file in one step where there is none, and return True; where there is one, leave it and return False.

    True also where a file of the same content is there: a request may have done its work though its answer was lost.
    Locally and on S3 only one of several that create a file at one time succeeds; see ``conditional``.
    """
    with _explained(location, "write"):
        return _backend(location).create(location, data) or read_bytes(location) == data


def replace(location: Location, data: bytes, *, is_old: Callable[[bytes], bool]) -> bool:
    """Store a file in one step in place of one whose content ``is_old`` knows; return False, and leave it, where not.

    True also where it holds ``data`` already.
    """
    with _explained(location, "write"):
        return _backend(location).replace(location, data, is_old) or read_bytes(location) == data


def publish(path: str | os.PathLike[str], location: Location) -> None:
    """Move a finished local file to a location in one step; it stays where it is if that fails.

    Uploads to S3 of 32 MiB and more go in parts, 64 MiB in memory at most. A local move keeps the file's permissions.
    """
    size(locate(path))  # speaks for the source, before anything is done to the target
    with _explained(location, "write"):
        _backend(location).publish(os.fspath(path), location)


def make_folder(folder: Location) -> None:
    """Make a folder and those above it; it may exist. Object stores need none."""
    with _explained(folder, "write"):
        _backend(folder).make_folder(folder)


def check_writable(folder: Location) -> None:
    """Raise now what the first write to ``folder`` would raise; the folder need not exist and is not made."""
    with _explained(folder, "write"):
        _backend(folder).check_writable(folder)


def remove(location: Location) -> None:
    """Remove a file; there may be none."""
    with _explained(location, "remove"):
        _backend(location).remove(location)


def remove_leftovers(folder: Location) -> int:
    """Remove what killed writes left below a folder, and return how many files that were; none may be going on.

    Uploads in parts that were never finished are ended too.
    """
    with _explained(folder, "remove"):
        uploads = _backend(folder).abort_uploads(folder)
    leftovers = [file.name for file in _all_files(folder) if _is_temporary(file.name)]
    for name in leftovers:
        remove(folder / name)
    return len(leftovers) + uploads


def _backend(location: Location) -> Backend:
    return _LOCAL if location.is_local else _REMOTE


def _status(location: Location) -> Status | None:
    with _explained(location, "read"):
        return _backend(location).status(location)


@contextmanager
def _explained(location: Location, doing: str) -> Iterator[None]:
    """Turn any failure of a backend into one of shardkit's errors."""
    try:
        yield
    except ShardkitError:
        raise
    except Exception as err:  # fsspec's backends share no base class of errors
        raise explain(err, location, doing) from err


def _all_files(folder: Location) -> list[StoredFile]:
    with _explained(folder, "list"):
        return sorted(_backend(folder).files(folder))


def _is_temporary(name: str) -> bool:
    return name.rpartition("/")[2].startswith(TEMPORARY_PREFIX)


def _wrong_length(location: Location, start: int, stop: int, got: int) -> ShardkitError:
    asked = f"{location}: asked for bytes {start:,} to {stop:,}, got {got:,} of {stop - start:,}"
    if got > stop - start:
        return StorageError(f"{asked}; this server ignores ranges, use one that honours them")
    found = _status(location)
    whole = f"the file has {found.size:,} bytes" if found is not None else "the file has gone"
    return CorruptDataError(f"{asked}: {whole}; it was cut off or replaced, or its index belongs to another version")
