"""Reads and decodes what a plan asks for, into the batch's own arrays.

Reading is separate from order: which bytes are fetched together depends on where they lie and on nothing that the
batch's content depends on.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardkit.audio.resample import mix_channels, resample
from shardkit.core.errors import AudioError, FormatError, NotFoundError, ShardkitError
from shardkit.storage.store import read_range
from shardkit.storage.traffic import Traffic
from shardkit.stream.neighbours import NeighbourReads, SharedRead
from shardkit.stream.piece import Join, Piece, joined, pieces_of
from shardkit.stream.plan import BatchPlan, Source

# What is wrong with a sample and not with the storage: an outage is no reason to go on without a sample.
SAMPLE_FAULTS = (AudioError, FormatError, NotFoundError)

Faults = list[tuple[int, ShardkitError]]  # place in the batch, and what is wrong there


@dataclass(slots=True)
class AudioBuffers:
    """Where a batch's audio goes: (batch, channel, time) for each field, and the lengths of the primary audio."""

    fields: dict[str, NDArray[np.float32]]
    lengths: NDArray[np.int64]
    sample_rate: int

    def clear(self, index: int) -> None:
        """Make one sample silent."""
        for field in self.fields.values():
            field[index] = 0.0
        self.lengths[index] = 0

    def extend(self, num_samples: int) -> None:
        """Make room for longer samples."""
        for name, field in self.fields.items():
            missing = num_samples - field.shape[-1]
            if missing > 0:
                self.fields[name] = np.pad(field, ((0, 0), (0, 0), (0, missing)))


def start_reading(
    plan: BatchPlan,
    indices: Iterable[int],
    buffers: AudioBuffers,
    sources: Sequence[Source],
    fields: Sequence[str],
    *,
    executor: Executor,
    traffic: Traffic,
    neighbours: NeighbourReads | None,
) -> list[Future[Faults]]:
    """Begin to fill the buffers; they are complete when every future is done.

    Args:
        plan: What to read.
        indices: Which of its draws.
        buffers: Where to put it; zeros.
        sources: What the plan's draws refer to.
        fields: Audio fields to read, the primary one among them.
        executor: Threads to read and decode on.
        traffic: Counts requests and bytes.
        neighbours: Reads that several draws share, of this batch and later ones.

    Returns:
        What is done by now and by then. Each result lists the samples that can't be read; errors that are no fault
        of a sample are raised.
    """
    alone: list[tuple[int, Piece]] = []
    jobs: list[Future[Faults]] = []
    for index in indices:
        draw = plan.draws[index]
        if draw is None:
            continue
        planned = None if neighbours is None else neighbours.take(int(plan.positions[index]))
        if planned is None:
            try:
                pieces = pieces_of(sources[draw.source].catalog, fields, draw.row, draw.start, draw.stop)
            except SAMPLE_FAULTS as err:  # the index contradicts itself
                jobs.append(_done([(index, err)]))
                continue
            planned = [(piece, None) for piece in pieces]
        for piece, shared in planned:
            if shared is None:
                alone.append((index, piece))
            else:
                jobs.append(executor.submit(_fill_shared, shared, index, piece, buffers, traffic))
    jobs += [executor.submit(_fill, join, buffers, traffic) for join in joined(alone)]
    return jobs


def _fill(join: Join, buffers: AudioBuffers, traffic: Traffic) -> Faults:
    try:
        data = memoryview(read_range(join.tar, join.lo, join.hi, traffic=traffic))
    except SAMPLE_FAULTS as err:
        if len(join.pieces) == 1:
            ((index, piece),) = join.pieces
            return [(index, piece.explained(err))]
        return [fault for index, piece in join.pieces for fault in _fill_alone(index, piece, buffers, traffic)]
    return [
        fault for index, piece in join.pieces for fault in _decode(index, piece, join.slice_of(piece, data), buffers)
    ]


def _fill_alone(index: int, piece: Piece, buffers: AudioBuffers, traffic: Traffic) -> Faults:
    """Read one piece by itself: where those that it was joined with can't be read, it may be there."""
    return _fill(Join(piece.tar, piece.lo, piece.hi, [(index, piece)]), buffers, traffic)


def _fill_shared(shared: SharedRead, index: int, piece: Piece, buffers: AudioBuffers, traffic: Traffic) -> Faults:
    try:
        data = shared.bytes_of(piece)
    except SAMPLE_FAULTS:
        return _fill_alone(index, piece, buffers, traffic)
    return _decode(index, piece, data, buffers)


def _decode(index: int, piece: Piece, data: memoryview, buffers: AudioBuffers) -> Faults:
    try:
        samples = piece.decode(data)
    except SAMPLE_FAULTS as err:
        return [(index, err)]
    target = buffers.fields[piece.field][index]
    rate = piece.member.facts.sample_rate
    samples = mix_channels(samples, target.shape[0])
    if rate != buffers.sample_rate:
        samples = resample(samples, rate, buffers.sample_rate)
    length = min(samples.shape[1], target.shape[1])
    target[:, :length] = samples[:, :length]
    return []


def _done(faults: Faults) -> Future[Faults]:
    future: Future[Faults] = Future()
    future.set_result(faults)
    return future
