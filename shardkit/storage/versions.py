"""Whether a file is the one its index was made of, and still the one that was read before."""

from collections.abc import Mapping

from shardkit.core.errors import CorruptDataError
from shardkit.storage.location import Location

MAX_OBJECTS = 1 << 16  # remembered, about 300 bytes each


def wrong_size(location: Location, found: int, expected: int) -> CorruptDataError:
    """Return the error for a file that has another size than its index says, both in bytes."""
    return CorruptDataError(
        f"{location}: the tar has {found:,} bytes, its index says {expected:,}; it was replaced or is still being "
        "written: run 'shardkit verify' on the dataset, or 'shardkit index' anew"
    )


def version_of(headers: Mapping[str, str]) -> str:
    """Return what names an object's version in an answer, by itself: its ETag, else when it was last modified."""
    return headers.get("etag", "") or headers.get("last-modified", "")


class Versions:
    """The version in which each object was first seen by this process: its ETag, else when it was last modified.

    Kept for what an index expects, told by the size it gives: a dataset that was packed anew and opened again in the
    same process is another one. Dictionary operations are atomic, and an object first seen by two threads at once is
    remembered as one of them saw it, so no lock is needed.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], str] = {}

    def check(self, location: Location, expected_size: int, headers: Mapping[str, str]) -> None:
        """Raise CorruptDataError if an answer is from another version of the object than the first one was."""
        # A proxy that compresses on the way marks an ETag as weak; the bytes of a range it leaves alone.
        version = headers.get("etag", "").removeprefix("W/").strip('"') or headers.get("last-modified", "")
        key = (location.url, expected_size)
        first = self._seen.get(key)
        if first == version or not version:
            return
        if first is None:
            if len(self._seen) >= MAX_OBJECTS:
                self._seen.clear()  # the cost is one replacement not noticed
            self._seen[key] = version
            return
        raise CorruptDataError(
            f"{location}: it was replaced while it was read: its version was {first[:80]!r}, now it is "
            f"{version[:80]!r}; run 'shardkit verify' on the dataset and start again"
        )

    def forget(self, location: Location) -> None:
        """Forget an object, whatever size was expected of it."""
        for key in [key for key in list(self._seen) if key[0] == location.url]:
            self._seen.pop(key, None)
