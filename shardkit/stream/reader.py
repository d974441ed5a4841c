"""Reads and decodes what a plan asks for, into the batch's own arrays.

Reading is separate from order: which bytes are fetched together depends on where they lie and on nothing that the
batch's content depends on.
"""

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardkit.audio.resample import mix_channels, resample
from shardkit.core.ranges import coalesce
from shardkit.format.index import PRIMARY
from shardkit.storage.location import Location
from shardkit.storage.store import read_range
from shardkit.storage.traffic import Traffic
from shardkit.stream.piece import Piece, stem_bounds
from shardkit.stream.plan import BatchPlan, Draw, Source

MAX_GAP = 64 * 1024  # bytes worth fetching in vain to save a request
MAX_READ = 8 * 1024 * 1024  # beyond this, one request no longer costs noticeably less than two


@dataclass(slots=True)
class AudioBuffers:
    """Where a batch's audio goes: (batch, channel, time) for each field, and the lengths of the primary audio."""

    fields: dict[str, NDArray[np.float32]]
    lengths: NDArray[np.int64]
    sample_rate: int


@dataclass(frozen=True, slots=True)
class _Request:
    """A piece of audio for place ``index`` of the batch."""

    index: int
    piece: Piece


def start_reading(
    plan: BatchPlan,
    buffers: AudioBuffers,
    sources: Sequence[Source],
    fields: Sequence[str],
    *,
    executor: Executor,
    traffic: Traffic,
) -> list[Future[None]]:
    """Begin to fill the buffers; they are complete when every future is done.

    Args:
        plan: What to read.
        buffers: Where to put it; zeros.
        sources: What the plan's draws refer to.
        fields: Audio fields to read, the primary one among them.
        executor: Threads to read and decode on.
        traffic: Counts requests and bytes.
    """
    by_tar: dict[Location, list[_Request]] = {}
    for index, draw in enumerate(plan.draws):
        if draw is None:
            continue
        for field in fields:
            request = _request(index, sources[draw.source], field, draw)
            if request is not None:
                by_tar.setdefault(request.piece.tar, []).append(request)
    return [
        executor.submit(_fill, tar, lo, hi, requests, buffers, traffic)
        for tar, listed in by_tar.items()
        for lo, hi, requests in _together(listed)
    ]


def _request(index: int, source: Source, field: str, draw: Draw) -> _Request | None:
    fields = source.catalog.fields
    if field not in fields or not fields[field].present[draw.row]:
        return None
    start, stop = draw.start, draw.stop
    if field != PRIMARY:
        start, stop = stem_bounds(
            start,
            stop,
            rate=int(fields[PRIMARY].sample_rate[draw.row]),
            stem_rate=int(fields[field].sample_rate[draw.row]),
            stem_frames=int(fields[field].frames[draw.row]),
        )
        if start >= stop:
            return None
    return _Request(index, Piece.of(source.catalog, field, draw.row, start, stop))


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
) -> None:
    data = memoryview(read_range(tar, lo, hi, traffic=traffic))
    for index, piece in ((request.index, request.piece) for request in requests):
        samples = piece.decode(data[piece.lo - lo : piece.hi - lo])
        target = buffers.fields[piece.field][index]
        rate = piece.member.facts.sample_rate
        samples = mix_channels(samples, target.shape[0])
        if rate != buffers.sample_rate:
            samples = resample(samples, rate, buffers.sample_rate)
        length = min(samples.shape[1], target.shape[1])
        target[:, :length] = samples[:, :length]
