"""One set of the block cache: a folder of block files that never takes more than its share of the disk.

    SET/NAME             the bytes of a block, then 8 bytes: xxh3-64 of bytes and label
    SET/.shardkit-block  the one being written, by whoever holds the lock

Only the holder of the folder's flock(2) adds files, and before it does it removes what was least recently used (mtime)
until the new file fits. So the bound needs no counter that a killed process could leave wrong: it is the sum of what
is listed, and a temporary file that a killed process left is listed too, and removed by the next holder.

Readers take no lock. A file is complete under its name or not there (rename(2)), and the hash tells what a crash of
the machine has torn. An evicted file goes on taking space while a reader has it open, for microseconds.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from xxhash import xxh3_64

TEMPORARY = ".shardkit-block"
PAGE = 4096  # of file systems: what a file takes is a multiple
TRAILER = 8  # bytes of the hash
_TOUCH_AFTER_S = 1.0  # a hit sets the mtime if it is older, so that a busy block costs no write each time
_LOCK_TRIES, _LOCK_WAIT_S = 20, 0.002  # then the block is not stored: reading must never wait for a stuck process

_held: set[int] = set()  # descriptors of locked folders


def _close_in_child() -> None:
    """Close the locks inherited over a fork: they would last as long as the child, if the parent were killed now."""
    for descriptor in list(_held):
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)


class Entry(NamedTuple):
    """A file of a set; the first to go sorts first."""

    mtime_ns: int
    name: str
    taken: int  # bytes of disk


def space_of(num_bytes: int) -> int:
    """Return the bytes of disk that a block of ``num_bytes`` takes."""
    return -(-(num_bytes + TRAILER) // PAGE) * PAGE


def load(path: str, num_bytes: int, label: bytes) -> memoryview | None:
    """Return the block at ``path``, None where there is none; a file that is not that block is removed.

    Args:
        path: Of the file.
        num_bytes: Size of the block.
        label: What the block is of; part of its hash.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        raw = memoryview(os.read(descriptor, num_bytes + TRAILER + 1))
        if len(raw) == num_bytes + TRAILER and raw[num_bytes:] == _hash(raw[:num_bytes], label):
            _touch(descriptor)
            return raw[:num_bytes]
    except OSError:  # of a failing disk: what can't be read is not there
        pass
    finally:
        os.close(descriptor)
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108  (this module works on text paths and descriptors, at a tenth of Path's cost)
    return None


def insert(folder: str, name: str, block: memoryview, label: bytes, share_bytes: int) -> bool:
    """Store a block, after removing what was least recently used as far as it needs space.

    Returns:
        Whether it is stored now: not if the set stays locked, or a block is larger than the share.

    Raises:
        OSError: There is no such folder, no space, no permission.
    """
    needed = space_of(len(block))
    with locked(folder) as descriptor:
        if descriptor is None or needed > share_bytes:
            return False
        _remove(TEMPORARY, descriptor)  # of a killed process
        entries = sorted(list_set(descriptor))
        if any(entry.name == name for entry in entries):
            return True  # another process was quicker
        taken = sum(entry.taken for entry in entries)
        for entry in entries:
            if taken + needed <= share_bytes:
                break
            _remove(entry.name, descriptor)
            taken -= entry.taken
        _write(descriptor, name, block, label)
    return True


def list_set(folder: int | str) -> Iterator[Entry]:
    """Yield all files of a set, whatever they are."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # a bad block that a reader has just removed
                found = entry.stat(follow_symlinks=False)
                yield Entry(found.st_mtime_ns, entry.name, -(-found.st_size // PAGE) * PAGE)


def _write(folder: int, name: str, block: memoryview, label: bytes) -> None:
    """Write and rename, both relative to the locked folder: another that took its place is not touched."""
    descriptor = os.open(TEMPORARY, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        for part in (block, memoryview(_hash(block, label))):
            rest = part
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        os.rename(TEMPORARY, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            _remove(TEMPORARY, folder)
        raise
    finally:
        os.close(descriptor)


def _remove(name: str, folder: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _hash(block: memoryview, label: bytes) -> bytes:
    state = xxh3_64(block)
    state.update(label)
    return state.digest()


def _touch(descriptor: int) -> None:
    with suppress(OSError):  # a read-only file system
        if time.time() - os.fstat(descriptor).st_mtime > _TOUCH_AFTER_S:
            os.utime(descriptor)


@contextmanager
def locked(folder: str | os.PathLike[str], tries: int = _LOCK_TRIES) -> Iterator[int | None]:
    """Give the descriptor of a folder, locked for this thread alone; None if others keep it locked.

    ``tries`` are 2 ms apart.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    _held.add(descriptor)
    try:
        yield descriptor if _try_lock(descriptor, tries) else None
    finally:
        # Unlocked by name: closing alone would not, while a child forked in between has a copy open.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        _held.discard(descriptor)
        os.close(descriptor)


def _try_lock(descriptor: int, tries: int) -> bool:
    for attempt in range(tries):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            if err.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            if attempt < tries - 1:
                time.sleep(_LOCK_WAIT_S)
        else:
            return True
    return False


def make_set(folder: Path) -> None:
    """Make the folder of a set; it may exist."""
    folder.mkdir(mode=0o700, exist_ok=True)
