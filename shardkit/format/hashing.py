"""The checksums of the format: xxh3, fast enough to be computed on every byte that is written.

They find damage, not forgery: xxh3 is not a cryptographic hash.
"""

import xxhash

PREFIX = "xxh3_128:"


def member_hash(data: bytes | memoryview) -> int:
    """Return the xxh3 (64 bit, seed 0) of a member's bytes, as stored in the index."""
    return xxhash.xxh3_64_intdigest(data)


class MemberHash:
    """Running ``member_hash`` of a member that is not in memory as a whole."""

    def __init__(self) -> None:
        self._state = xxhash.xxh3_64()

    def update(self, data: bytes | memoryview) -> None:
        """Take in the next bytes of the member."""
        self._state.update(data)

    def value(self) -> int:
        """Return the hash of everything taken in so far."""
        return self._state.intdigest()


class FileHash:
    """Running xxh3 (128 bit) of a whole file, written as ``xxh3_128:<32 hex digits>``."""

    def __init__(self) -> None:
        self._state = xxhash.xxh3_128()

    def update(self, data: bytes | memoryview) -> None:
        """Take in the next bytes of the file."""
        self._state.update(data)

    def text(self) -> str:
        """Return the hash of everything taken in so far."""
        return PREFIX + self._state.hexdigest()


def file_hash(data: bytes | memoryview) -> str:
    """Return the hash of a whole file held in memory."""
    running = FileHash()
    running.update(data)
    return running.text()
