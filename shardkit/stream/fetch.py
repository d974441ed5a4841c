"""What to fetch for some pieces, and fetching it: near pieces are one request, and all is counted by source.

How much lies between two pieces that are fetched together follows from what requests to that storage have cost so
far. Between that and what a piece is, all strategies are one: single crops where requests are cheap, whole members and
whole blocks of neighbours where they are dear.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np

from shardkit.core.errors import AudioError, FormatError, NotFoundError, ShardkitError
from shardkit.core.ranges import Limits, coalesce
from shardkit.storage.blockcache import BlockCache
from shardkit.storage.cost import cost_of
from shardkit.storage.location import Location
from shardkit.storage.store import read_range, read_ranges
from shardkit.stream.activity import Activity
from shardkit.stream.catalog import Catalog
from shardkit.stream.counters import SourceCounts
from shardkit.stream.piece import Piece, whole_member

T = TypeVar("T")
_LOG = logging.getLogger(__name__)

# Between neighbours in a tar lie headers and the sample's KEY.json: two or three KB in vain, and a request is saved.
FREE_GAP = 4 * 1024
MAX_WASTE = 0.25  # of the bytes asked for; more may be what another rank reads as well
MAX_READ = 8 * 1024 * 1024  # beyond this, one request no longer costs noticeably less than two
MOST_READS = 10  # of bytes that are other ones each time


@dataclass(slots=True, eq=False)
class Join:
    """Bytes [lo, hi) of a shard's tar that hold some pieces; each comes with the number that it was asked for with."""

    catalog: Catalog
    shard: int
    lo: int
    hi: int
    pieces: list[tuple[int, Piece]]

    @classmethod
    def of(cls, number: int, piece: Piece) -> "Join":
        """Return what holds one piece."""
        return cls(piece.catalog, piece.shard, piece.lo, piece.hi, [(number, piece)])

    @property
    def tar(self) -> Location:
        """The tar that holds it."""
        return self.catalog.tars[self.shard]

    def slice_of(self, piece: Piece, data: memoryview) -> memoryview:
        """Return the bytes of a piece from those of the join."""
        return data[piece.lo - self.lo : piece.hi - self.lo]


def joined(pieces: Iterable[tuple[int, Piece]]) -> list[Join]:
    """Return what to read for some pieces, tar by tar: those between which little lies are read together."""
    by_tar: dict[tuple[int, int], list[tuple[int, Piece]]] = {}
    for asked in pieces:
        piece = asked[1]
        by_tar.setdefault((id(piece.catalog), piece.shard), []).append(asked)
    joins = []
    for listed in by_tar.values():
        catalog, shard = listed[0][1].catalog, listed[0][1].shard
        max_gap = _gap_worth_a_request(catalog.tars[shard])
        bounds = [(piece.lo, piece.hi) for _, piece in listed]
        if _all_apart(bounds, max(max_gap, FREE_GAP)):
            joins += [Join(catalog, shard, lo, hi, [asked]) for asked, (lo, hi) in zip(listed, bounds, strict=True)]
            continue
        starts, stops = np.array(bounds).T
        merged = coalesce(
            starts,
            stops,
            Limits(free_gap=FREE_GAP, max_gap=max_gap, max_waste=MAX_WASTE, max_size=MAX_READ),
        )
        found = zip(merged.starts.tolist(), merged.stops.tolist(), strict=True)
        of_tar = [Join(catalog, shard, lo, hi, []) for lo, hi in found]
        for asked, group in zip(listed, merged.group_of.tolist(), strict=True):
            of_tar[group].pieces.append(asked)
        joins += of_tar
    return joins


def _all_apart(bounds: Sequence[tuple[int, int]], gap: int) -> bool:
    """Return whether more than so many bytes lie between any two stretches: then none are joined."""
    return all(after[0] - before[1] > gap for before, after in pairwise(sorted(bounds)))


def _gap_worth_a_request(tar: Location) -> int:
    """Return how many bytes that storage delivers in the time that a request costs beside its bytes."""
    cost = cost_of(tar)
    return FREE_GAP if cost is None else min(MAX_READ, int(cost.latency_s * cost.bytes_per_s))


class Fetcher:
    """Fetches what joins hold.

    Args:
        counts: Of each source; None counts nothing.
        cache: Where bytes of remote tars are kept on this node; None: nowhere.

    Attributes:
        activity: What the threads that use it are doing.
    """

    def __init__(self, counts: Sequence[SourceCounts] | None = None, cache: BlockCache | None = None) -> None:
        self.cache = cache
        self.activity = Activity()
        self._counts = counts

    def fetch(self, join: Join, *, fresh: bool = False) -> memoryview:
        """Return the bytes of a join; ``fresh``: not those that the node's cache has.

        Raises:
            CorruptDataError: The tar is not the one that was indexed.
            NotFoundError, StorageError: It can't be read.
        """
        tar, info = join.tar, join.catalog.shards[join.shard]
        traffic = None if self._counts is None else self._counts[join.pieces[0][1].source].asked
        before = self.activity.begin("storage", join)
        try:
            if self.cache is not None and not tar.is_local:
                data = self.cache.read(
                    tar, join.lo, join.hi, identity=info.hash, size=info.bytes, traffic=traffic, fresh=fresh
                )
            else:
                data = read_range(tar, join.lo, join.hi, traffic=traffic, expected_size=info.bytes)
        finally:
            self.activity.end(before)
        return memoryview(data)

    def fetch_short(self, joins: Sequence[Join]) -> list[memoryview]:
        """Return the bytes of some short joins of one local tar; see ``fetch``."""
        first = joins[0]
        traffic = None if self._counts is None else self._counts[first.pieces[0][1].source].asked
        ranges = [(join.lo, join.hi) for join in joins]
        size = first.catalog.shards[first.shard].bytes
        before = self.activity.begin("storage", joins)
        try:
            found = read_ranges(first.tar, ranges, expected_size=size, traffic=traffic)
        finally:
            self.activity.end(before)
        return [memoryview(data) for data in found]

    def deliver(self, piece: Piece, data: memoryview, use: Callable[[Piece, memoryview], T]) -> T:
        """Return what ``use`` makes of a piece and its bytes, read again if they are not as they should be.

        Raises:
            AudioError, FormatError: The bytes are not what they should be.
        """
        try:
            return use(piece, data)
        except (AudioError, FormatError) as err:
            return self.deliver_again(piece, data, use, err)

    def deliver_again(
        self, piece: Piece, data: memoryview, use: Callable[[Piece, memoryview], T], error: ShardkitError
    ) -> T:
        """Return what ``use`` makes of a piece, after an error of the bytes that were read of it.

        Bytes that a network has damaged are other ones when they are read again. Where they are the same, they are
        what is stored, and all of the member is the slow, safe way: it has a hash and needs no seek table. A member
        that was damaged or replaced does not pass that, and the first error stands, which says where. One that does is
        sound, and what was wrong is its seek table.

        Raises:
            AudioError, FormatError: The bytes are not what they should be.
            NotFoundError, StorageError: They can't be read again.
        """
        try:
            return self._used_again(piece, [bytes(data)], use, error)
        except (AudioError, FormatError) as err:
            whole, error = piece.whole(), err
        if whole is None:
            raise error
        try:
            made = self._used_again(whole, [], use, error)
        except (AudioError, FormatError, NotFoundError):
            raise error from None
        _LOG.warning(
            "%s; the member itself is sound and was read whole: its seek table is wrong",
            error,
            extra={"event": "wrong_seek_table", "shard": str(piece.tar), "key": piece.catalog.key(piece.row)},
        )
        return made

    def _used_again(
        self, piece: Piece, known: list[bytes], use: Callable[[Piece, memoryview], T], error: ShardkitError
    ) -> T:
        """Return what ``use`` makes of a piece that is read again, until some bytes come for the second time.

        Args:
            piece: What to read.
            known: What was read of it before, and was of no use.
            use: As for ``deliver``.
            error: What to raise where reading again can't help.
        """
        for _ in range(MOST_READS):
            if known and piece.tar.is_local:
                break  # where no network is between, they would be the same
            if known and self._counts is not None:
                self._counts[piece.source].asked.add_retry()
            data = self.fetch(Join.of(0, piece), fresh=bool(known))
            if any(data == other for other in known):
                break
            try:
                made = use(piece, data)
            except (AudioError, FormatError) as err:
                error = err
                known.append(bytes(data))
                continue
            if known:
                _LOG.warning(
                    "%s; it was read again and is sound: what was read first was damaged on the way",
                    error,
                    extra={"event": "damaged_on_the_way", "shard": str(piece.tar), "key": piece.catalog.key(piece.row)},
                )
            return made
        raise error

    def count_used(self, source: int, num_bytes: int, seconds: float) -> None:
        """Count the bytes of what was delivered from a source, and the seconds that decoding them took."""
        if self._counts is not None:
            self._counts[source].used.add(num_bytes, seconds)


def read_member(catalog: Catalog, field: str, row: int) -> bytes:
    """Return the bytes of a whole member, checked against the index.

    Raises:
        CorruptDataError: They are not those that were packed.
        NotFoundError, StorageError: They can't be read.
    """
    piece = whole_member(catalog, field, row)
    fetcher = Fetcher()
    return fetcher.deliver(piece, fetcher.fetch(Join.of(0, piece)), _checked)


def _checked(piece: Piece, data: memoryview) -> bytes:
    piece.check_whole(data)
    return bytes(data)
