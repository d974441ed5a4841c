"""Whole files that are parsed as they are read: what was damaged on the way is read again."""

from collections.abc import Callable
from typing import TypeVar

from shardkit.core.errors import FormatError
from shardkit.storage.location import Location
from shardkit.storage.store import read_bytes

T = TypeVar("T")

MOST_READS = 10  # of bytes that are other ones each time


def read_parsed(location: Location, parse: Callable[[bytes], T], *, vouched: bool) -> T:
    """Return what ``parse`` makes of a file.

    A remote file that it makes nothing of is read again until some bytes come for the second time: these are what is
    stored, and its error counts.

    Args:
        location: The file.
        parse: Raises FormatError for what is not as it should be.
        vouched: Whether ``parse`` would notice any damage, by a hash. If not, a remote file counts as read when two
            reads of it agree.

    Raises:
        FormatError: What ``parse`` raises.
        NotFoundError, AccessError, StorageError: It can't be read.
    """
    data = read_bytes(location)
    if location.is_local:
        return parse(data)
    known = [data]
    for _ in range(MOST_READS):
        if vouched:
            try:
                return parse(known[-1])
            except FormatError:
                pass
        data = read_bytes(location)
        if data in known:
            break
        known.append(data)
    return parse(data)
