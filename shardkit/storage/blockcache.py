"""A bounded cache of remote files on a node's own disk, shared by its processes.

    FOLDER/shardkit-cache.json   the geometry: limit, block size, number of sets
    FOLDER/SET/NAME              a block; SET and NAME are digits of a hash of what it is a block of

Files are cut into aligned blocks of equal size; a block may stand in one set only, and each set keeps to its share of
the limit by itself (see ``blockset``). So the bound holds at any instant, whoever is killed, without a count that all
processes would have to keep. What a block is of is told by the content hash of its file, not by its name or place: a
file packed anew is another one, and the old one's blocks are the first to go.

The cache never makes a read fail: what it can't read it fetches, what it can't store it goes without.
"""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from xxhash import xxh3_128_hexdigest

from shardkit.core.errors import InputError
from shardkit.storage import geometry
from shardkit.storage.blockset import insert, load, make_set
from shardkit.storage.location import Location
from shardkit.storage.store import read_range
from shardkit.storage.traffic import Traffic

BLOCK_BYTES = 256 << 10  # a crop of 200 KB is in one or two
PAUSE_S = 60.0  # without storing, after that failed
_LOG = logging.getLogger(__name__)


class _Block(NamedTuple):
    """Block ``number`` of a file: its bytes [start, stop), where it is kept, and the label that its hash covers."""

    number: int
    start: int
    stop: int
    folder: str
    name: str
    label: bytes


class BlockCache:
    """Reads of files that never change, kept on disk; for any threads and processes at once.

    Args:
        folder: On a local disk, for this cache alone; made if need be. For processes of one user.
        limit_bytes: What the blocks may take on disk, at any instant.
        block_bytes: Size of a block, a multiple of 4,096.

    Raises:
        InputError: The cache in ``folder`` has another geometry, or it is no place for a cache.

    A folder that can't be written is no error: the first failure is logged, reads go on without storing. A pickled
    copy is the same cache; its counts start at 0, those of a forked one go on from where they were.
    """

    def __init__(self, folder: str | os.PathLike[str], limit_bytes: int, block_bytes: int = BLOCK_BYTES) -> None:
        self._folder = Path(folder).absolute()
        self._geometry = geometry.choose(self._folder, limit_bytes, block_bytes)
        self._served, self._fetched = Traffic(), Traffic()  # of blocks
        self._paused_until = 0.0
        self._warned = False
        try:
            geometry.agree(self._folder, self._geometry)
        except NotADirectoryError as err:
            raise InputError(f"{self._folder}: a part of it is a file; name a folder for the cache") from err
        except FileExistsError as err:
            raise InputError(f"{self._folder}: it is a file; name a folder for the cache") from err
        except OSError as err:
            self._pause(err)

    def __reduce__(self) -> tuple[type["BlockCache"], tuple[Path, int, int]]:
        return BlockCache, (self._folder, self._geometry.limit_bytes, self._geometry.block_bytes)

    def read(
        self,
        location: Location,
        start: int,
        stop: int,
        *,
        identity: str,
        size: int,
        traffic: Traffic | None = None,
        fresh: bool = False,
    ) -> bytes:
        """Return the bytes [start, stop) of a file, from the cache as far as they are there.

        Args:
            location: Where to fetch what is not; adjacent blocks by one request.
            start: First byte.
            stop: The byte after the last.
            identity: The file's content hash, from its manifest.
            size: Bytes of the whole file, from its manifest.
            traffic: Counts what is fetched.
            fresh: Fetch and store them even if they are there, because what is there was found to be damaged.

        Raises:
            CorruptDataError, NotFoundError, StorageError: As ``store.read_range`` does.
            InputError: It is no range of a file of that size, or there is no identity.
        """
        if not 0 <= start <= stop <= size:
            raise InputError(f"{location}: bytes {start:,} to {stop:,} are no range of the {size:,} that it has")
        if not identity:
            raise InputError(
                f"{location}: has no content hash in its manifest, so it can't be cached; read it directly"
            )
        parts: list[memoryview] = []
        missing: list[_Block] = []
        for block in self._blocks(start, stop, identity, size):
            place = f"{block.folder}/{block.name}"
            if fresh:
                with suppress(OSError):
                    os.unlink(place)  # noqa: PTH108  (a Path would cost more than all else here)
            data = load(place, block.stop - block.start, block.label)
            if data is None:
                missing.append(block)
                continue
            if missing:
                parts.append(self._fetch(location, missing, start, stop, size, traffic))
                missing = []
            part = data[max(0, start - block.start) : stop - block.start]
            parts.append(part)
            self._served.add(len(part))
        if missing:
            parts.append(self._fetch(location, missing, start, stop, size, traffic))
        return b"".join(parts)

    @property
    def traffic(self) -> tuple[Traffic, Traffic]:
        """What was read from the cache, and what was fetched; a request for each block."""
        return self._served, self._fetched

    @property
    def hits(self) -> int:
        """Blocks that were read from the cache."""
        return self._served.requests

    @property
    def misses(self) -> int:
        """Blocks that were fetched."""
        return self._fetched.requests

    @property
    def bytes_served(self) -> int:
        """Bytes delivered from the cache."""
        return self._served.bytes_read

    def __repr__(self) -> str:
        return f"BlockCache({str(self._folder)!r}, hits={self.hits:,}, misses={self.misses:,})"

    def _blocks(self, start: int, stop: int, identity: str, size: int) -> Iterator[_Block]:
        if start == stop:
            return
        block_bytes, num_sets = self._geometry.block_bytes, self._geometry.num_sets
        for number in range(start // block_bytes, -(-stop // block_bytes)):
            first = number * block_bytes
            label = f"{identity} {size} {block_bytes} {number}".encode()
            name = xxh3_128_hexdigest(label)
            folder = f"{self._folder}/{int(name[:12], 16) % num_sets:05x}"
            yield _Block(number, first, min(first + block_bytes, size), folder, name, label)

    def _fetch(
        self, location: Location, blocks: list[_Block], start: int, stop: int, size: int, traffic: Traffic | None
    ) -> memoryview:
        """Return what is wanted of adjacent blocks, after fetching them by one request and storing each."""
        lo, hi = blocks[0].start, blocks[-1].stop
        data = memoryview(read_range(location, lo, hi, expected_size=size, traffic=traffic))
        for block in blocks:
            self._fetched.add(block.stop - block.start)
            self._store(block, data[block.start - lo : block.stop - lo])
        return data[max(start, lo) - lo : min(stop, hi) - lo]

    def _store(self, block: _Block, data: memoryview) -> None:
        if time.monotonic() < self._paused_until:
            return
        share = self._geometry.share_bytes
        try:
            try:
                insert(block.folder, block.name, data, block.label, share)
            except FileNotFoundError:  # the first block of its set, or somebody removed the cache
                geometry.agree(self._folder, self._geometry)
                make_set(Path(block.folder))
                insert(block.folder, block.name, data, block.label, share)
        except (OSError, InputError) as err:
            self._pause(err)

    def _pause(self, err: Exception) -> None:
        self._paused_until = time.monotonic() + PAUSE_S
        if not self._warned:
            self._warned = True
            reason = getattr(err, "strerror", None) or err
            _LOG.warning(
                "%s: the cache can't store anything (%s), so reads go on without it; free some space or choose "
                "another folder",
                self._folder,
                reason,
                extra={"event": "cache_off", "folder": str(self._folder), "reason": str(reason)},
            )
