"""Everything that fsspec reads, as a backend: object stores, HTTP and memory.

Ranges are read with ``cat_file``, one request for exactly those bytes; fsspec's file objects would read ahead by
megabytes.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from shardkit.core.errors import InputError
from shardkit.storage import faults
from shardkit.storage.answers import WrongAnswerError
from shardkit.storage.backend import TEMPORARY_PREFIX, Status, StoredFile
from shardkit.storage.clients import Clients
from shardkit.storage.conditional import put_instead, put_new
from shardkit.storage.location import HTTP, OBJECT_STORES, S3, Location
from shardkit.storage.traffic import Traffic
from shardkit.storage.transfer import WHOLE, Transfer
from shardkit.storage.uploads import abort_uploads, upload

if TYPE_CHECKING:
    from shardkit.storage.direct import DirectReader

T = TypeVar("T")

_PROBE = TEMPORARY_PREFIX + "write-check"


class RemoteBackend:
    """What fsspec reads, by URL."""

    def __init__(self) -> None:
        self._clients = Clients()

    def read(self, location: Location) -> bytes:
        """Return the whole object."""
        return self.read_range(location, 0, WHOLE)

    def read_range(
        self,
        location: Location,
        start: int,
        stop: int,
        expected_size: int | None = None,
        traffic: Traffic | None = None,
    ) -> bytes:
        """Return the bytes [start, stop), or fewer at the end of the object."""
        client = self._clients.get(location)
        transfer = Transfer(location, start, stop, expected_size)
        try:
            hedging = client.hedging
            if hedging is not None:
                return client.attempt(
                    location,
                    lambda fs: hedging.read(transfer, lambda other: _read_range(client.direct, fs, other), traffic),
                    known=expected_size is not None,
                    traffic=traffic,
                )
            return client.attempt(
                location,
                lambda fs: _read_range(client.direct, fs, transfer),
                known=expected_size is not None,
                traffic=traffic,
            )
        except Exception as err:  # see Client.attempt
            if faults.is_past_end(err):
                return b""
            raise

    def status(self, location: Location) -> Status | None:
        """Return what is there, None for nothing; object stores have a folder where a name begins with it."""
        try:
            info = self._run(location, lambda fs: fs.info(location.url))
        except Exception as err:  # see Client.attempt
            if faults.is_missing(err, location):
                return None
            raise
        if info["type"] == "directory":
            return Status(0, is_folder=True)
        if info["size"] is None:
            raise OSError("the server does not tell its size")
        return Status(info["size"], is_folder=False)

    def files(self, folder: Location) -> Iterator[StoredFile]:
        """Yield all files below a folder."""
        if folder.protocol in HTTP:
            raise InputError(f"{folder}: HTTP has no listing of files; name them in a manifest, or use s3://")
        root, found = self._run(folder, lambda fs: (fs._strip_protocol(folder.url), fs.find(folder.url, detail=True)))
        if root in found:
            raise NotADirectoryError(root)
        for path, info in found.items():
            name = path[len(root) :].lstrip("/")
            if name and not name.endswith("/"):  # consoles mark an empty folder by an object named "folder/"
                yield StoredFile(name, info["size"])

    def irregular(self, folder: Location) -> Iterator[str]:  # noqa: ARG002
        """Yield nothing: what has a URL is a file or a folder."""
        return iter(())

    def write(self, location: Location, data: bytes) -> None:
        """Store ``data``; object stores do so in one step."""
        _refuse_writing(location)
        self._make_parent(location)
        self._change(location, lambda fs: fs.pipe_file(location.url, data))

    def create(self, location: Location, data: bytes) -> bool:
        """Store ``data`` where there is no object; return whether there was none."""
        _refuse_writing(location)
        self._make_parent(location)
        return self._change(location, lambda fs: put_new(fs, location, data))

    def replace(self, location: Location, data: bytes, is_old: Callable[[bytes], bool]) -> bool:
        """Store ``data`` in place of an object that ``is_old`` knows; return whether it was that one."""
        _refuse_writing(location)
        return self._change(location, lambda fs: put_instead(fs, location, data, is_old))

    def publish(self, path: str, location: Location) -> None:
        """Upload a finished file, in parts when it is large, and remove it here once its size is confirmed there."""
        _refuse_writing(location)
        self._make_parent(location)
        size = os.path.getsize(path)  # noqa: PTH202
        if location.protocol in S3:
            upload(path, location, lambda call: self._change(location, call))
        else:
            self._change(location, lambda fs: fs.put_file(path, location.url))
        stored = self.status(location)
        if stored is None or stored.size != size:
            raise OSError(f"{size:,} bytes were sent, {stored.size if stored else 0:,} are stored; try again")
        os.remove(path)  # noqa: PTH107

    def make_folder(self, folder: Location) -> None:
        """Make a folder and those above it; nothing to do in object stores."""
        _refuse_writing(folder)
        if folder.protocol not in OBJECT_STORES:
            self._run(folder, lambda fs: fs.makedirs(folder.url, exist_ok=True))

    def check_writable(self, folder: Location) -> None:
        """Store and remove an empty object."""
        probe = folder / _PROBE
        self.write(probe, b"")
        # Some buckets allow writing and not deleting; the probe has one name, so at most one stays behind.
        with suppress(PermissionError):
            self.remove(probe)

    def remove(self, location: Location) -> None:
        """Remove an object; there may be none."""
        _refuse_writing(location)
        try:
            self._change(location, lambda fs: fs.rm_file(location.url))
        except FileNotFoundError as err:
            if not faults.is_missing(err, location):
                raise

    def abort_uploads(self, folder: Location) -> int:
        """End uploads in parts below a folder."""
        return self._run(folder, lambda fs: abort_uploads(fs, folder))

    def _run(self, location: Location, call: Callable[[Any], T]) -> T:
        return self._clients.get(location).attempt(location, call)

    def _change(self, location: Location, call: Callable[[Any], T]) -> T:
        result = self._run(location, call)
        direct = self._clients.get(location).direct
        if direct is not None:
            direct.forget(location)
        return result

    def _make_parent(self, location: Location) -> None:
        if location.protocol not in OBJECT_STORES:
            self.make_folder(location.parent)


def _read_range(direct: "DirectReader | None", filesystem: Any, transfer: Transfer) -> bytes:
    data = None if direct is None else direct.read(transfer)
    if data is None:
        data = _read_by_fsspec(filesystem, transfer)
        if direct is not None:
            direct.refused(transfer.location)
    size = transfer.expected_size
    if size is not None and len(data) != min(transfer.stop, size) - transfer.start and not transfer.believes(len(data)):
        transfer.drop()
        raise WrongAnswerError(f"asked for bytes {transfer.start:,} to {transfer.stop:,}, was sent {len(data):,}")
    return data


def _read_by_fsspec(filesystem: Any, transfer: Transfer) -> bytes:
    url = transfer.location.url
    if transfer.stop == WHOLE:
        return bytes(filesystem.cat_file(url))
    return bytes(filesystem.cat_file(url, start=transfer.start, end=transfer.stop))


def _refuse_writing(location: Location) -> None:
    if location.protocol in HTTP:
        raise InputError(f"{location}: HTTP is read only here; write to a path or to s3://")
