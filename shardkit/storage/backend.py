"""The contract between ``store`` and what holds the bytes: the local file system, or fsspec for everything else.

Backends raise whatever their system raises; ``store`` alone turns that into shardkit's errors. tests/storage holds
the conformance suite that every backend passes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from shardkit.storage.location import Location
from shardkit.storage.traffic import Traffic

# Names that start so are shardkit's own half-written files: listings pass over what a killed process left behind.
TEMPORARY_PREFIX = ".shardkit-"


class StoredFile(NamedTuple):
    """A file below a listed folder: ``name`` is its path from there, with forward slashes; ``size`` is in bytes."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Status:
    """What is stored at a location; the size of a folder is 0."""

    size: int
    is_folder: bool


class Backend(Protocol):
    """What storage must be able to do; every call is thread-safe and may be made in a forked process."""

    def read(self, location: Location) -> bytes:
        """Return the whole file."""

    def read_range(
        self,
        location: Location,
        start: int,
        stop: int,
        expected_size: int | None = None,
        traffic: Traffic | None = None,
    ) -> bytes:
        """Return the bytes [start, stop), or fewer where the file ends before.

        Raise CorruptDataError where the file is seen to have another size than ``expected_size`` bytes. ``traffic``
        counts the retries and second requests that it took.
        """

    def status(self, location: Location) -> Status | None:
        """Return what is there, None for nothing."""

    def files(self, folder: Location) -> Iterator[StoredFile]:
        """Yield all files below a folder, in any order; none where there is no folder."""

    def irregular(self, folder: Location) -> Iterator[str]:
        """Yield the names below a folder of what is neither a file nor a folder: pipes, sockets, devices."""

    def write(self, location: Location, data: bytes) -> None:
        """Store ``data`` in one step: readers see the old file or the new one; folders are made as needed."""

    def create(self, location: Location, data: bytes) -> bool:
        """Store ``data`` as ``write`` does where there is no file; return whether this call did."""

    def replace(self, location: Location, data: bytes, is_old: Callable[[bytes], bool]) -> bool:
        """Store ``data`` in place of a file that ``is_old`` knows by its content; return whether it was that one."""

    def publish(self, path: str, location: Location) -> None:
        """Store a finished local file in one step, and leave nothing at ``path``."""

    def make_folder(self, folder: Location) -> None:
        """Make a folder and those above it, where the storage has folders."""

    def check_writable(self, folder: Location) -> None:
        """Raise unless files can be made in ``folder``, which need not exist yet; leave nothing behind."""

    def remove(self, location: Location) -> None:
        """Remove a file; there may be none."""

    def abort_uploads(self, folder: Location) -> int:
        """End uploads in parts below a folder that were never finished, where there are such; return how many."""
