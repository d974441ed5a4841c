"""Reads that several draws share: what a shuffle by blocks keeps together on storage is fetched together.

The draws of a window of blocks lie side by side in a shard, but many batches apart in the stream. When the first of
them is due, the pieces of all that this process will deliver are planned, those that touch are joined, and each joined
read waits for its draws:

    position          64        128       192       256          one lane of a stream of 64 lanes
    row                7          5         6         4
    read          [4 5 6 7]       ↑         ↑         ↑          one request for four draws

What is read is what is delivered, plus the headers and metadata between neighbours in a tar: never what belongs to
another rank.
"""

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shardkit.core.errors import ShardkitError
from shardkit.stream.fetch import Fetcher, Join, joined
from shardkit.stream.piece import Piece, pieces_of
from shardkit.stream.plan import BatchPlan, Planner
from shardkit.stream.sources import Source

Planned = list[tuple[Piece, "SharedRead | None"]]


class SharedRead:
    """Bytes [lo, hi) of a tar, read by whoever needs them first and kept until all who wait for them have come.

    Args:
        join: Where, and the pieces that will be taken from it.
        fetcher: Fetches it.
    """

    def __init__(self, join: Join, fetcher: Fetcher) -> None:
        self.size = join.hi - join.lo
        self.num_waiting = len(join.pieces)
        self._join = join
        self._fetcher = fetcher
        self._lock = threading.Lock()
        self._data: memoryview | None = None

    def bytes_of(self, piece: Piece) -> memoryview:
        """Return the bytes of a piece.

        Raises:
            StorageError, CorruptDataError: They can't be read; whoever comes next tries again.
        """
        with self._lock:
            if self._data is None:
                self._data = self._fetcher.fetch(self._join)
            return self._join.slice_of(piece, self._data)


class NeighbourReads:
    """The shared reads of one iteration of a stream.

    Args:
        planner: Says what positions deliver.
        sources: What its draws refer to.
        fields: Fields that are delivered.
        rank, world_size: Whose positions these are.
        start: Position of the first global batch that this iteration delivers.
        stride: Positions from one global batch that it delivers to the next, and
        batch: how many of those a global batch has; fewer where several processes divide the batches of a rank.
        end: No position from here on is delivered; None: endless.
        memory: Bytes that may wait; beyond, draws are read alone.
        fetcher: Fetches the bytes.
    """

    def __init__(
        self,
        planner: Planner,
        sources: Sequence[Source],
        fields: Sequence[str],
        *,
        rank: int,
        world_size: int,
        start: int,
        stride: int,
        batch: int,
        end: int | None,
        memory: int,
        fetcher: Fetcher,
    ) -> None:
        self._planner = planner
        self._sources = sources
        self._fields = fields
        self._rank, self._world_size = rank, world_size
        self._start, self._stride, self._batch, self._end = start, stride, batch, end
        self._memory = memory
        self._fetcher = fetcher
        self._waiting: dict[tuple[int, int], Planned] = {}  # by position and view
        self._held = 0

    def plan(self, positions: Sequence[int]) -> None:
        """Plan the reads of draws that are due now, and of those that share a read with them."""
        for position in positions:
            if (position, 0) not in self._waiting:
                self._plan(position)

    def take(self, plan: BatchPlan, index: int) -> Planned | None:
        """Return the pieces of a draw that is due now, each with the read that holds it; None: it is not planned."""
        planned = self._waiting.pop((int(plan.positions[index]), index % self._planner.views.count), None)
        for _, shared in planned or ():
            if shared is not None:
                shared.num_waiting -= 1
                if not shared.num_waiting:
                    self._held -= shared.size
        return planned

    def _plan(self, position: int) -> None:
        positions = self._planner.neighbours(position)
        positions = positions[(positions >= position) & self._mine(positions)]
        if len(positions) < 2:
            return
        try:
            pieces = self._pieces(positions)
        except ShardkitError:
            return  # each is read alone, and the one that can't be is reported when it is due
        joins, count = joined(pieces), self._planner.views.count
        held = sum(join.hi - join.lo for join in joins if len(join.pieces) > 1)
        affordable = self._held + held <= self._memory
        self._held += held * affordable
        for join in joins:
            shared = SharedRead(join, self._fetcher) if affordable and len(join.pieces) > 1 else None
            for number, piece in join.pieces:
                at, view = divmod(number, count)
                self._waiting.setdefault((int(positions[at]), view), []).append((piece, shared))

    def _mine(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which positions this iteration delivers."""
        mine = (positions % self._world_size == self._rank) & ((positions - self._start) % self._stride < self._batch)
        return np.asarray(mine if self._end is None else mine & (positions < self._end))

    def _pieces(self, positions: NDArray[np.int64]) -> list[tuple[int, Piece]]:
        """Return the pieces of all views of some positions, numbered in that order."""
        draws, _ = self._planner.draws(positions)
        found = []
        for number, draw in enumerate(draws):
            if draw is not None:
                catalog = self._sources[draw.source].catalog
                pieces = pieces_of(catalog, self._fields, draw.row, draw.start, draw.stop, source=draw.source)
                found += [(number, piece) for piece in pieces]
        return found
