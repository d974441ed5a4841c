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


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When two ranges are worth one request.

    Attributes:
        free_gap: Bytes between two ranges that always are.
        max_gap: Bytes between two ranges that are, as long as
        max_waste: no more than this share of what was asked for is fetched in vain.
        max_size: Most bytes of one request; only a single range that is larger by itself exceeds it.

    Raises:
        InputError: One of them is negative, or ``max_size`` is zero.
    """

    free_gap: int
    max_gap: int = 0
    max_waste: float = 0.0
    max_size: int

    def __post_init__(self) -> None:
        if min(self.free_gap, self.max_gap, self.max_waste) < 0 or self.max_size < 1:
            raise InputError(f"{self}: gaps and waste must be at least 0, and a request at least 1 byte")


def coalesce(starts: NDArray[np.int64], stops: NDArray[np.int64], limits: Limits) -> MergedRanges:
    """Return merged ranges that hold all the given ones.

        input     |--a--|   |--b--|                 |--c--|
        merged    |-------0-------|                 |--1--|       gap of a and b <= max_gap < gap of b and c

    Ranges are taken by their start, and each joins the merged range before it if it lies inside, or if the gap and
    the joint size allow. Where ``max_size`` keeps overlapping ranges apart, the shared bytes are fetched twice.

    Args:
        starts: First byte of each range, in any order; overlaps and repeats are allowed, (input,).
        stops: Byte after the last of each range, (input,).
        limits: Which ranges are joined.

    Returns:
        The merged ranges and where each input lies.

    Raises:
        InputError: A range is negative or ends before it starts.
    """
    _check(starts, stops)
    order = np.lexsort((-stops, starts))  # of equal starts the longest first, so that the others lie inside it
    merged: list[_Merged] = []
    group_of = np.empty(len(starts), dtype=np.int64)
    for index, start, stop in zip(order.tolist(), starts[order].tolist(), stops[order].tolist(), strict=True):
        if not merged or not merged[-1].take(start, stop, limits):
            merged.append(_Merged(start, stop))
        group_of[index] = len(merged) - 1
    bounds = np.array([(each.start, each.stop) for each in merged], dtype=np.int64).reshape(-1, 2)
    return MergedRanges(starts=bounds[:, 0], stops=bounds[:, 1], group_of=group_of)


@dataclass(slots=True)
class _Merged:
    start: int
    stop: int
    wasted: int = 0

    def take(self, start: int, stop: int, limits: Limits) -> bool:
        """Join a range that begins at or after this one's start, if that is worth it; say whether."""
        if stop <= self.stop:
            return True
        gap = max(0, start - self.stop)
        if stop - self.start > limits.max_size:
            return False
        wasted = self.wasted + gap
        if gap > limits.free_gap:
            wanted = stop - self.start - wasted
            if gap > limits.max_gap or wasted > limits.max_waste * wanted:
                return False
        self.stop, self.wasted = stop, wasted
        return True


def _check(starts: NDArray[np.int64], stops: NDArray[np.int64]) -> None:
    if starts.ndim != 1 or starts.shape != stops.shape:
        raise InputError(f"{starts.shape} starts and {stops.shape} stops are not two lists of one length")
    wrong = np.flatnonzero((starts < 0) | (stops < starts))
    if wrong.size:
        first = wrong[0]
        raise InputError(f"byte range {first} is [{starts[first]}, {stops[first]}); it must be 0 <= start <= stop")
