"""Folders for what is not whole yet, and their removal when the process that made them was killed.

Each is locked by its process, through a descriptor of the folder: the lock ends with the process, however that ends.
So what is left behind is told from what another pack is writing. Folders of other machines, whose locks may not reach
here, are left alone until the dataset is committed, when no other pack has work to do in it.
"""

import fcntl
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shardkit.core.errors import ShardkitError, StorageError
from shardkit.storage.location import Location

PARTIAL_PREFIX = ".shardkit-partial-"


@contextmanager
def partial_folder(output: Location) -> Iterator[Path]:
    """A folder for what is not whole yet, beside the output or, for remote ones, where temporary files go.

    Inputs and the output have errors of their own; what is left to fail in here is the disk under this folder.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=_own_prefix(), dir=_place(output)) as folder, _locked(Path(folder)):
            yield Path(folder)
    except ShardkitError:
        raise
    except OSError as err:
        where, advice = str(output), "free some space"
        if not output.is_local:
            where, advice = tempfile.gettempdir(), "free some space or set TMPDIR to a larger disk"
        raise StorageError(f"{where}: can't write a shard: {err.strerror or err}; {advice}") from err


def remove_partial(output: Location, *, all_hosts: bool = False) -> None:
    """Remove the folders that killed processes left behind.

    Args:
        output: What they were writing to.
        all_hosts: Whether, beside a local output, those of other machines go too, and where there are no locks all.
    """
    shared = all_hosts and output.is_local
    place = _place(output) or Path(tempfile.gettempdir())
    for folder in place.glob(f"{PARTIAL_PREFIX if shared else _own_prefix()}*"):
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:  # gone meanwhile, or another user's
            continue
        try:
            if _is_free(descriptor, undecided=shared):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)


def _own_prefix() -> str:
    return f"{PARTIAL_PREFIX}{re.sub('[^A-Za-z0-9]', '-', socket.gethostname())[:64]}-"


def _place(output: Location) -> Path | None:
    return output.local_path if output.is_local else None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _is_free(descriptor)
        yield
    finally:
        os.close(descriptor)


def _is_free(descriptor: int, *, undecided: bool = False) -> bool:
    """Take the lock of a folder; return whether it could be taken, or ``undecided`` where there are no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return undecided
    return True
