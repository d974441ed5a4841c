"""The local file system as a backend: ranged reads without a seek, writes that appear whole."""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from shardkit.storage.backend import TEMPORARY_PREFIX, Status, StoredFile
from shardkit.storage.conditional import link_new, locked
from shardkit.storage.descriptors import Descriptors
from shardkit.storage.location import Location
from shardkit.storage.traffic import Traffic
from shardkit.storage.versions import wrong_size

MAX_DESCRIPTORS = 128  # far below the usual limit of 1,024 a process

_Identity = tuple[int, int]  # (device, inode)


class LocalBackend:
    """Files of this machine, or of a file system mounted on it."""

    def __init__(self) -> None:
        self._descriptors = Descriptors(MAX_DESCRIPTORS)
        os.register_at_fork(after_in_child=self._descriptors.reset_in_child)

    def read(self, location: Location) -> bytes:
        """Return the whole file."""
        return location.local_path.read_bytes()

    def read_range(
        self,
        location: Location,
        start: int,
        stop: int,
        expected_size: int | None = None,
        traffic: Traffic | None = None,  # noqa: ARG002  (no retries to count)
    ) -> bytes:
        """Return the bytes [start, stop), or fewer at the end of the file, through a descriptor kept open.

        A file of an expected size goes on being read as it was when somebody replaces it, unless by that its size is
        not the expected one any more. Without, what is there now is read.
        """
        return self.read_ranges(location, [(start, stop)], expected_size)[0]

    def read_ranges(
        self, location: Location, ranges: Sequence[tuple[int, int]], expected_size: int | None = None
    ) -> list[bytes]:
        """Return the bytes of some ranges of a file, each as ``read_range`` does."""
        for looks_again in (False, True):
            file = self._descriptors.borrow(location.path, current=expected_size is None)
            try:
                if expected_size is None or file.size == expected_size:
                    return [_pread(file.descriptor, start, stop) for start, stop in ranges]
            finally:
                self._descriptors.give_back(file)
            if looks_again:
                break
            # Replaced or written on since it was opened, maybe in time for the index that is read now: look again.
            self._descriptors.forget(location.path)
        raise wrong_size(location, file.size, expected_size or 0)

    def status(self, location: Location) -> Status | None:
        """Return what is there, None for nothing."""
        try:
            found = location.local_path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        is_folder = stat.S_ISDIR(found.st_mode)
        if not is_folder and not stat.S_ISREG(found.st_mode):
            raise OSError("it is a pipe, a socket or a device, which is not read; name a file")
        return Status(0 if is_folder else found.st_size, is_folder)

    def files(self, folder: Location) -> Iterator[StoredFile]:
        """Yield all files below a folder, through symbolic links too, but not around a loop of them.

        A link to nothing is listed, with size 0: reading it is then a located error, where leaving it out would be
        silent.
        """
        for name, found in self._below(folder):
            if found is None or stat.S_ISREG(found.st_mode):
                yield StoredFile(name, 0 if found is None else found.st_size)

    def irregular(self, folder: Location) -> Iterator[str]:
        """Yield the names below a folder of what is neither a file nor a folder nor a link to one."""
        for name, found in self._below(folder):
            if found is not None and not stat.S_ISREG(found.st_mode):
                yield name

    def write(self, location: Location, data: bytes) -> None:
        """Store ``data`` in one step and have it on disk before returning."""
        target = location.local_path
        target.parent.mkdir(parents=True, exist_ok=True)
        with _appearing(target) as temporary, temporary.open("wb") as file:
            file.write(data)
            _flush(file.fileno())
        self._descriptors.forget(location.path)

    def create(self, location: Location, data: bytes) -> bool:
        """Store ``data`` where there is no file; return whether there was none."""
        target = location.local_path
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / _temporary_name()
        try:
            with temporary.open("wb") as file:
                file.write(data)
                _flush(file.fileno())
            created = link_new(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        _flush_folder(target.parent)
        return created

    def replace(self, location: Location, data: bytes, is_old: Callable[[bytes], bool]) -> bool:
        """Store ``data`` in place of a file that ``is_old`` knows; return whether it was that one."""
        with locked(location.local_path.parent):
            if not is_old(location.local_path.read_bytes()):
                return False
            self.write(location, data)
        return True

    def publish(self, path: str, location: Location) -> None:
        """Move a finished file in one step; across file systems it is copied beside the target first."""
        source, target = Path(path), location.local_path
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as file:
            _flush(file.fileno())
        try:
            source.replace(target)
            _flush_folder(target.parent)
        except OSError as err:
            if err.errno != errno.EXDEV:
                raise
            self._copy(source, target)
            source.unlink()
        self._descriptors.forget(location.path)

    def make_folder(self, folder: Location) -> None:
        """Make a folder and those above it."""
        folder.local_path.mkdir(parents=True, exist_ok=True)

    def check_writable(self, folder: Location) -> None:
        """Make and remove a file in the folder, or in the nearest one above it that exists.

        Permission bits are not asked: they say nothing about root, read-only mounts, quotas or /proc.
        """
        above = folder.local_path
        while not os.path.lexists(above):
            above = above.parent
        probe = above / _temporary_name()
        with probe.open("xb"):
            pass
        probe.unlink()

    def remove(self, location: Location) -> None:
        """Remove a file; there may be none."""
        location.local_path.unlink(missing_ok=True)
        self._descriptors.forget(location.path)

    def abort_uploads(self, folder: Location) -> int:  # noqa: ARG002
        """Return 0: what is half-written is a file here."""
        return 0

    def _below(self, folder: Location) -> Iterator[tuple[str, os.stat_result | None]]:
        try:
            found = folder.local_path.stat()
        except FileNotFoundError:
            return iter(())
        return _walk(folder.path, "", frozenset({(found.st_dev, found.st_ino)}))

    def _copy(self, source: Path, target: Path) -> None:
        with _appearing(target) as temporary, source.open("rb") as old, temporary.open("wb") as new:
            shutil.copyfileobj(old, new, 1 << 20)
            _flush(new.fileno())


def _pread(descriptor: int, start: int, stop: int) -> bytes:
    data = os.pread(descriptor, stop - start, start)
    if len(data) == stop - start:
        return data
    parts = [data]  # Linux transfers at most 2 GiB a call, network file systems less: see pread(2)
    while data:
        start += len(data)
        data = os.pread(descriptor, stop - start, start)
        parts.append(data)
    return b"".join(parts)


def _temporary_name() -> str:
    # Not made from the target's name: with a prefix that could be longer than the 255 bytes a name may have.
    return f"{TEMPORARY_PREFIX}{token_hex(8)}.tmp"


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """Give a temporary path in the target's folder; a clean end moves it onto the target, an error removes it.

    POSIX rename(2) is atomic within one file system, which is why it lies in the same folder. The file is made by
    ``open``, not ``tempfile``, so that it gets the permissions of the umask and not 0600.
    """
    temporary = target.parent / _temporary_name()
    try:
        yield temporary
        temporary.replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    _flush_folder(target.parent)


def _flush(descriptor: int) -> None:
    os.fsync(descriptor)


def _flush_folder(folder: Path) -> None:
    """Have a rename on disk: it is the folder that changed, see fsync(2)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _walk(folder: str, below: str, ancestors: frozenset[_Identity]) -> Iterator[tuple[str, os.stat_result | None]]:
    """Yield what lies in ``folder`` and its folders with its status, None for a link to nothing or to itself.

    A folder that is its own ancestor is a loop of links, passed over.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            name = below + entry.name
            try:
                found = entry.stat()
            except OSError as err:
                if err.errno not in (errno.ENOENT, errno.ELOOP):
                    raise
                if entry.is_symlink():
                    yield name, None
                continue  # else removed since it was seen, as another process's temporary file may be
            identity = (found.st_dev, found.st_ino)
            if not stat.S_ISDIR(found.st_mode):
                yield name, found
            elif identity not in ancestors:
                yield from _walk(entry.path, name + "/", ancestors | {identity})
