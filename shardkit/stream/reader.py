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
from shardkit.core.ranges import coalesce
from shardkit.storage.location import Location
from shardkit.storage.store import read_range
from shardkit.storage.traffic import Traffic
from shardkit.stream.neighbours import MAX_GAP, MAX_READ, NeighbourReads, SharedRead
from shardkit.stream.piece import Piece, pieces_of
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


@dataclass(frozen=True, slots=True)
class _Request:
    """A piece of audio for place ``index`` of the batch."""

    index: int
    piece: Piece


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
    by_tar: dict[Location, list[_Request]] = {}
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
            request = _Request(index, piece)
            if shared is None:
                by_tar.setdefault(piece.tar, []).append(request)
            else:
                jobs.append(executor.submit(_fill_shared, shared, request, buffers, traffic))
    for tar, listed in by_tar.items():
        for lo, hi, requests in _together(listed):
            jobs.append(executor.submit(_fill, tar, lo, hi, requests, buffers, traffic))
    return jobs


def _together(requests: Sequence[_Request]) -> list[tuple[int, int, list[_Request]]]:
    """Return (lo, hi, requests) for each read of one tar: requests that lie close share one."""
    merged = coalesce(
        np.array([request.piece.lo for request in requests]),
        np.array([request.piece.hi for request in requests]),
        max_gap=MAX_GAP,
        max_size=MAX_READ,
    )
    reads: list[tuple[int, int, list[_Request]]] = [
        (int(lo), int(hi), []) for lo, hi in zip(merged.starts, merged.stops, strict=True)
    ]
    for request, group in zip(requests, merged.group_of, strict=True):
        reads[group][2].append(request)
    return reads


def _fill(
    tar: Location, lo: int, hi: int, requests: Sequence[_Request], buffers: AudioBuffers, traffic: Traffic
) -> Faults:
    try:
        data = memoryview(read_range(tar, lo, hi, traffic=traffic))
    except SAMPLE_FAULTS as err:
        if len(requests) == 1:
            return [(requests[0].index, requests[0].piece.explained(err))]
        alone = ((request, request.piece.lo, request.piece.hi) for request in requests)  # some may be there
        return [fault for request, lo, hi in alone for fault in _fill(tar, lo, hi, [request], buffers, traffic)]
    return [
        fault
        for request in requests
        for fault in _decode(request, data[request.piece.lo - lo : request.piece.hi - lo], buffers)
    ]


def _fill_shared(shared: SharedRead, request: _Request, buffers: AudioBuffers, traffic: Traffic) -> Faults:
    try:
        data = shared.bytes_of(request.piece)
    except SAMPLE_FAULTS:
        piece = request.piece
        return _fill(piece.tar, piece.lo, piece.hi, [request], buffers, traffic)
    return _decode(request, data, buffers)


def _decode(request: _Request, data: memoryview, buffers: AudioBuffers) -> Faults:
    piece = request.piece
    try:
        samples = piece.decode(data)
    except SAMPLE_FAULTS as err:
        return [(request.index, err)]
    target = buffers.fields[piece.field][request.index]
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
