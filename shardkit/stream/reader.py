"""Reads and decodes what a plan asks for, into the batch's own arrays.

Reading is separate from order: which bytes are fetched together depends on where they lie and on nothing that the
batch's content depends on.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from shardkit.audio.resample import mix_channels, resample
from shardkit.core.errors import AudioError, FormatError, NotFoundError, ShardkitError
from shardkit.storage.location import Location
from shardkit.stream.fetch import Fetcher, Join, joined
from shardkit.stream.neighbours import NeighbourReads, SharedRead
from shardkit.stream.piece import AudioPiece, Piece, pieces_of
from shardkit.stream.plan import BatchPlan
from shardkit.stream.sources import Source
from shardkit.stream.workers import Workers

# What is wrong with a sample and not with the storage: an outage is no reason to go on without a sample.
SAMPLE_FAULTS = (AudioError, FormatError, NotFoundError)

SHORT = 32 * 1024  # bytes of a read beside which what is done around it counts
SHARE = 256 * 1024  # bytes of reads below which they are not worth being divided among threads

Faults = list[tuple[int, ShardkitError]]  # place in the batch, and what is wrong there
Task = Callable[[], Faults]
T = TypeVar("T")


@dataclass(slots=True)
class Buffers:
    """Where the content of a batch goes.

    Attributes:
        audio: (batch, channel, time) of float32, or of int16 which nothing needs to be done to, for each audio field.
        arrays: (batch, row, ...) for each array field whose crops are of one shape.
        paddings: What rows of these are padded with.
        values: Everything else by field: a list, None where absent.
        lengths: Of the primary audio.
        longest: Samples that there is room for.
        sample_rate: Of all audio.
    """

    audio: dict[str, NDArray[Any]]
    arrays: dict[str, NDArray[Any]]
    paddings: dict[str, NDArray[Any] | int]
    values: dict[str, list[Any]]
    lengths: NDArray[np.int64]
    longest: int
    sample_rate: int

    def clear(self, index: int) -> None:
        """Make one sample silent and empty."""
        for field in (*self.audio.values(), *self.arrays.values()):
            field[index] = 0
        for listed in self.values.values():
            listed[index] = None
        self.lengths[index] = 0

    def clear_but(self, index: int, fields: Sequence[str]) -> None:
        """Make the fields of one sample silent and empty that nothing will be put into."""
        for name, field in (*self.audio.items(), *self.arrays.items()):
            if name not in fields:
                field[index] = 0

    def extend(self, num_samples: int) -> None:
        """Make room for longer samples."""
        missing = num_samples - self.longest
        if missing > 0:
            self.longest = num_samples
            for name, field in self.audio.items():
                self.audio[name] = np.pad(field, ((0, 0), (0, 0), (0, missing)))

    def put(self, index: int, piece: Piece, data: memoryview) -> None:
        """Put what a piece's bytes hold into its place.

        Raises:
            AudioError, FormatError: They can't be decoded.
        """
        if isinstance(piece, AudioPiece):
            self._put_audio(self.audio[piece.field][index], piece, data)
        elif piece.field in self.arrays:
            target, rows = self.arrays[piece.field][index], piece.value(data)
            target[: len(rows)] = rows[: len(target)]
            target[len(rows) :] = self.paddings[piece.field]
        else:
            self.values[piece.field][index] = piece.value(data)

    def _put_audio(self, target: NDArray[Any], piece: AudioPiece, data: memoryview) -> None:
        facts, length, (channels, room) = piece.member.facts, piece.stop - piece.start, target.shape
        if facts.sample_rate == self.sample_rate and facts.channels == channels and length <= room:
            if length == room:
                piece.put(data, target)
            else:
                piece.put(data, target[:, :length])
                target[:, length:] = 0
            return
        samples = mix_channels(piece.value(data), len(target))
        if facts.sample_rate != self.sample_rate:
            samples = resample(samples, facts.sample_rate, self.sample_rate)
        length = min(samples.shape[1], target.shape[1])
        target[:, :length] = samples[:, :length]
        target[:, length:] = 0.0


def start_reading(
    plan: BatchPlan,
    indices: Iterable[int],
    buffers: Buffers,
    sources: Sequence[Source],
    fields: Sequence[str],
    *,
    workers: Workers,
    fetcher: Fetcher,
    neighbours: NeighbourReads | None,
) -> list[Future[Faults]]:
    """Begin to fill the buffers; they are complete when every future is done.

    Args:
        plan: What to read.
        indices: Which of its draws.
        buffers: Where to put it.
        sources: What the plan's draws refer to.
        fields: Fields to read.
        workers: Threads to read and decode on.
        fetcher: Fetches bytes.
        neighbours: Reads that several draws share, of this batch and later ones.

    Returns:
        What is done by now and by then. Each result lists the samples that can't be read; errors that are no fault
        of a sample are raised.
    """
    alone: list[tuple[int, Piece]] = []
    tasks: list[tuple[Location, Task]] = []
    jobs: list[Future[Faults]] = []
    for index in indices:
        draw = plan.draws[index]
        if draw is None:
            buffers.clear(index)
            continue
        planned = None if neighbours is None else neighbours.take(plan, index)
        if planned is None:
            catalog = sources[draw.source].catalog
            try:
                pieces = pieces_of(catalog, fields, draw.row, draw.start, draw.stop, source=draw.source)
            except SAMPLE_FAULTS as err:  # the index contradicts itself
                jobs.append(_done([(index, err)]))
                continue
            alone += [(index, piece) for piece in pieces]
        else:
            pieces = [piece for piece, _ in planned]
            for piece, shared in planned:
                if shared is None:
                    alone.append((index, piece))
                else:
                    tasks.append((piece.tar, partial(_fill_shared, shared, index, piece, buffers, fetcher)))
        if len(pieces) < len(fields):
            buffers.clear_but(index, [piece.field for piece in pieces])
    joins = joined(alone)
    local = [join for join in joins if join.tar.is_local]
    num_bytes = sum(join.hi - join.lo for join in local)
    # First of all: a job that is handed over starts as many threads as there may be then.
    workers.take_turns(num_bytes < SHARE and len(local) == len(joins) and not tasks)
    jobs += [workers.submit(_fill, join, buffers, fetcher) for join in joins if not join.tar.is_local]
    near = [task for tar, task in tasks if tar.is_local]
    jobs += [workers.submit(task) for tar, task in tasks if not tar.is_local]
    jobs += [workers.submit(_run_all, share) for share in _shares(near, 2 * workers.limit)]
    number = min(2 * workers.limit, 1 + num_bytes // SHARE)
    return jobs + [workers.submit(_fill_all, share, buffers, fetcher) for share in _shares(local, number)]


def _shares(tasks: Sequence[T], number: int) -> Iterator[Sequence[T]]:
    """Yield the tasks in at most so many shares: handing one over takes as long as some tasks."""
    size = max(1, -(-len(tasks) // number))
    for start in range(0, len(tasks), size):
        yield tasks[start : start + size]


def _run_all(tasks: Sequence[Task]) -> Faults:
    return [fault for task in tasks for fault in task()]


def _fill_all(joins: Sequence[Join], buffers: Buffers, fetcher: Fetcher) -> Faults:
    """Fill the buffers with what some joins of local tars hold; short ones that follow each other in a tar at once."""
    faults: Faults = []
    for run in _runs(joins):
        if len(run) > 1:
            try:
                found = fetcher.fetch_short(run)
            except SAMPLE_FAULTS:
                pass  # each is read alone, and the one that can't be is reported
            else:
                faults += _put_all(run, found, buffers, fetcher)
                continue
        for join in run:
            faults += _fill(join, buffers, fetcher)
    return faults


def _runs(joins: Sequence[Join]) -> list[list[Join]]:
    """Return the joins in lists: short ones that follow each other in a tar in one, any other in one of its own."""
    runs: list[list[Join]] = []
    last = None
    for join in joins:
        if join.hi - join.lo > SHORT:
            last = None
        elif last is not None and last.shard == join.shard and last.catalog is join.catalog:
            runs[-1].append(join)
            continue
        else:
            last = join
        runs.append([join])
    return runs


def _fill(join: Join, buffers: Buffers, fetcher: Fetcher) -> Faults:
    try:
        data = fetcher.fetch(join)
    except SAMPLE_FAULTS as err:
        if len(join.pieces) == 1:
            ((index, piece),) = join.pieces
            return [(index, piece.explained(err))]
        # Where those that a piece was joined with can't be read, it may be there.
        return [fault for index, piece in join.pieces for fault in _fill(Join.of(index, piece), buffers, fetcher)]
    return _put_all([join], [data], buffers, fetcher)


def _fill_shared(shared: SharedRead, index: int, piece: Piece, buffers: Buffers, fetcher: Fetcher) -> Faults:
    try:
        data = shared.bytes_of(piece)
    except SAMPLE_FAULTS:
        return _fill(Join.of(index, piece), buffers, fetcher)
    return _put_all([Join.of(index, piece)], [data], buffers, fetcher)


def _put_all(joins: Sequence[Join], found: Sequence[memoryview], buffers: Buffers, fetcher: Fetcher) -> Faults:
    """Put what joins of one catalog hold into the buffers."""
    faults: Faults = []
    used: dict[int, int] = {}  # bytes, by source
    activity, began = fetcher.activity, perf_counter()
    try:
        for join, data in zip(joins, found, strict=True):
            for index, piece in join.pieces:
                part = data if len(join.pieces) == 1 else join.slice_of(piece, data)
                activity.begin("decode", piece)
                try:
                    buffers.put(index, piece, part)
                except SAMPLE_FAULTS as err:
                    try:
                        fetcher.deliver_again(piece, part, partial(buffers.put, index), err)
                    except SAMPLE_FAULTS as still:
                        faults.append((index, still))
                        continue
                used[piece.source] = used.get(piece.source, 0) + piece.hi - piece.lo
    finally:
        activity.end(None)
    seconds = (perf_counter() - began) / len(used) if used else 0.0  # joins of two sources are few
    for source, num_bytes in used.items():
        fetcher.count_used(source, num_bytes, seconds)
    return faults


def _done(faults: Faults) -> Future[Faults]:
    future: Future[Faults] = Future()
    future.set_result(faults)
    return future
