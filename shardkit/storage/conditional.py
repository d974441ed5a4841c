"""Writes that happen only if a file is as it was believed to be: not there, or with a certain content.

                 a file that must not exist              a file that must still be the one that was read
    local        link(2) of a finished file: atomic      a lock on the folder, compare, rename
    S3           If-None-Match: * on the PUT             If-Match: ETag on the PUT
    others       looked at, then written                 looked at, then written

Two that write at one time are told apart in the first two lines by the file system and by the store. A store that
ignores the headers, as some copies of S3 do, is like the others: there the second of two writers within some
milliseconds replaces the first, unnoticed.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shardkit.storage.location import S3, Location

_REFUSED = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}
_UNKNOWN = {"501", "NotImplemented"}  # what a store says that takes no conditions


def link_new(temporary: Path, target: Path) -> bool:
    """Give a finished file a name that no file has yet; return whether it has it.

    Sources: link(2), and open(2) on NFS, where a link may be made and reported as refused: the count of links tells.
    """
    try:
        os.link(temporary, target)
    except FileExistsError:
        return temporary.stat().st_nlink > 1
    except OSError:  # a file system without links
        with suppress(FileExistsError), target.open("xb") as file:
            file.write(temporary.read_bytes())
            file.flush()
            os.fsync(file.fileno())
            return True
        return False
    return True


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder among the processes that ask for it, where its file system has such locks."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # NFS and some others lock no folders
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def put_new(filesystem: Any, location: Location, data: bytes) -> bool:
    """Store an object that must not exist; return whether it does so now by this call."""
    if filesystem.exists(location.url):
        return False
    return _put(filesystem, location, data, {"IfNoneMatch": "*"})


def put_instead(filesystem: Any, location: Location, data: bytes, is_old: Callable[[bytes], bool]) -> bool:
    """Store an object in place of one that ``is_old`` knows; return whether that was there."""
    version = filesystem.info(location.url).get("ETag")
    if not is_old(filesystem.cat_file(location.url)):
        return False
    return _put(filesystem, location, data, {"IfMatch": version} if version else {})


def _put(filesystem: Any, location: Location, data: bytes, condition: dict[str, str]) -> bool:
    if location.protocol not in S3 or not condition:
        filesystem.pipe_file(location.url, data)
        return True
    try:
        filesystem.pipe_file(location.url, data, chunksize=max(50 << 20, len(data)), **condition)
    except Exception as err:  # botocore's, or what s3fs makes of it
        marks = set(_codes(err))
        if not marks & _UNKNOWN:
            if marks & _REFUSED:
                return False
            raise
        filesystem.pipe_file(location.url, data)
    return True


def _codes(err: BaseException | None) -> Iterator[str]:
    while err is not None:
        response = getattr(err, "response", None)
        if isinstance(response, dict):
            yield str(response.get("Error", {}).get("Code"))
            yield str(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
        err = err.__cause__ or err.__context__
