"""Plan which byte ranges to fetch: near ranges are merged, so that many small reads become few larger ones.

A pure plan; storage carries it out. A request has a fixed cost (latency, and CPU for signing), so fetching a short gap
that nobody asked for is cheaper than a second request; a size limit bounds the memory of one request and leaves
several to run side by side.

Source: the ``_coalesce`` of zarr-python's sharding codec, for a plan of ranges kept apart from its execution.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardkit.core.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MergedRanges:
    """Half-open byte ranges to fetch, and which of them holds each range that was asked for.

    Attributes:
        starts: First byte of each merged range, ascending, (merged,).
        stops: Byte after the last of each merged range, (merged,).
        group_of: Index of the merged range that holds all of each input range, (input,).
    """

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    group_of: NDArray[np.int64]


def coalesce(starts: NDArray[np.int64], stops: NDArray[np.int64], *, max_gap: int, max_size: int) -> MergedRanges:
    """Return merged ranges that hold all the given ones.

        input     |--a--|   |--b--|                 |--c--|
        merged    |-------0-------|                 |--1--|       gap of a and b <= max_gap < gap of b and c

    Ranges are taken by their start, and each joins the merged range before it if it lies inside, or if the gap and
    the joint size allow. Where ``max_size`` keeps overlapping ranges apart, the shared bytes are fetched twice.

    Args:
        starts: First byte of each range, in any order; overlaps and repeats are allowed, (input,).
        stops: Byte after the last of each range, (input,).
        max_gap: Most bytes between two ranges that are fetched only to join them.
        max_size: Most bytes of a merged range; only a single range that is larger by itself exceeds it.

    Returns:
        The merged ranges and where each input lies.

    Raises:
        InputError: A range is negative or ends before it starts, or a limit is out of range.
    """
    _check(starts, stops, max_gap=max_gap, max_size=max_size)
    order = np.lexsort((-stops, starts))  # of equal starts the longest first, so that the others lie inside it
    merged: list[list[int]] = []
    group_of = np.empty(len(starts), dtype=np.int64)
    for index, start, stop in zip(order.tolist(), starts[order].tolist(), stops[order].tolist(), strict=True):
        if merged and _joins(merged[-1], start, stop, max_gap=max_gap, max_size=max_size):
            merged[-1][1] = max(merged[-1][1], stop)
        else:
            merged.append([start, stop])
        group_of[index] = len(merged) - 1
    bounds = np.array(merged, dtype=np.int64).reshape(-1, 2)
    return MergedRanges(starts=bounds[:, 0], stops=bounds[:, 1], group_of=group_of)


def _joins(last: list[int], start: int, stop: int, *, max_gap: int, max_size: int) -> bool:
    if stop <= last[1]:
        return True
    return start - last[1] <= max_gap and stop - last[0] <= max_size


def _check(starts: NDArray[np.int64], stops: NDArray[np.int64], *, max_gap: int, max_size: int) -> None:
    if max_gap < 0 or max_size < 1:
        raise InputError(f"max_gap {max_gap} and max_size {max_size} must be at least 0 and 1 bytes")
    if starts.ndim != 1 or starts.shape != stops.shape:
        raise InputError(f"{starts.shape} starts and {stops.shape} stops are not two lists of one length")
    wrong = np.flatnonzero((starts < 0) | (stops < starts))
    if wrong.size:
        first = wrong[0]
        raise InputError(f"byte range {first} is [{starts[first]}, {stops[first]}); it must be 0 <= start <= stop")
