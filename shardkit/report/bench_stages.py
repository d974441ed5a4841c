"""The stages of ``shardkit bench``: ranged reads, decoding, and the stream, each for a bounded time."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from shardkit.report.bench_crops import Fetched
from shardkit.storage.store import read_range
from shardkit.stream.piece import AudioPiece
from shardkit.stream.stream import Stream

T = TypeVar("T")

KEEP_CROPS, KEEP_BYTES = 256, 64_000_000  # of what was fetched is kept in memory about so much, to be decoded
_PROBE_BATCHES = 4  # from which the stream's speed is guessed, to know how many samples fill the time
_PATIENCE = 3  # times the budget after which a stream that has become slower is left


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What the storage gave to so many requests in flight.

    Latencies are of one request, in seconds; processor time is that of this process, all threads.
    """

    in_flight: int
    requests: int
    bytes: int
    wall_s: float
    cpu_s: float
    median_s: float
    p95_s: float

    def facts(self) -> dict[str, float]:
        """Return plain values."""
        return {
            "in_flight": self.in_flight,
            "requests": self.requests,
            "requests_per_s": round(self.requests / self.wall_s, 2),
            "bytes_per_s": round(self.bytes / self.wall_s),
            "bytes_per_request": round(self.bytes / self.requests),
            "cpu_ms_per_request": round(1e3 * self.cpu_s / self.requests, 4),
            "cores": round(self.cpu_s / self.wall_s, 3),
            "median_ms": round(1e3 * self.median_s, 3),
            "p95_ms": round(1e3 * self.p95_s, 3),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """What the processor gave to so many threads."""

    threads: int
    crops: int
    wall_s: float
    cpu_s: float

    def facts(self) -> dict[str, float]:
        """Return plain values."""
        return {
            "threads": self.threads,
            "crops": self.crops,
            "crops_per_s": round(self.crops / self.wall_s, 2),
            "cpu_ms_per_crop": round(1e3 * self.cpu_s / self.crops, 4),
        }


def read_crops(crops: Sequence[AudioPiece], *, in_flight: int, seconds: float) -> tuple[Reading, list[Fetched]]:
    """Read crops from storage, so many at once, and again where there are too few for the time.

    Returns:
        What that took, and the bytes of some of them.
    """
    kept: dict[int, bytes] = {}

    def fetch(number: int) -> tuple[float, int]:
        crop, began = crops[number % len(crops)], time.perf_counter()
        data = read_range(crop.tar, crop.lo, crop.hi)
        latency = time.perf_counter() - began
        if number < KEEP_CROPS and number * len(data) < KEEP_BYTES:
            kept[number] = data
        return latency, len(data)

    began, cpu_began = time.perf_counter(), time.process_time()
    latencies, sizes = zip(*_repeated(fetch, threads=in_flight, seconds=seconds), strict=True)
    reading = Reading(
        in_flight=in_flight,
        requests=len(latencies),
        bytes=sum(sizes),
        wall_s=time.perf_counter() - began,
        cpu_s=time.process_time() - cpu_began,
        median_s=float(np.median(latencies)),
        p95_s=float(np.percentile(latencies, 95)),
    )
    return reading, [Fetched(crops[number % len(crops)], data) for number, data in kept.items()]


def decode_crops(kept: Sequence[Fetched], *, sample_rate: int, channels: int, threads: int, seconds: float) -> Decoding:
    """Decode crops that are in memory, again and again, on so many threads."""

    def run(number: int) -> None:
        kept[number % len(kept)].decode(sample_rate=sample_rate, channels=channels)

    began, cpu_began = time.perf_counter(), time.process_time()
    crops = len(_repeated(run, threads=threads, seconds=seconds))
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    return Decoding(threads=threads, crops=crops, wall_s=wall_s, cpu_s=cpu_s)


def run_stream(make: Callable[[int], Stream], *, seconds: float) -> dict[str, Any]:
    """Return what a stream delivers a second, and what it asked of the storage for that.

    Args:
        make: Returns a stream whose iteration ends after so many samples: so all that is read ahead is delivered,
            and requests a sample are exact.
        seconds: About how long.
    """
    began = time.perf_counter()
    _drain(make(1), deadline=began + seconds)
    first_s, began = time.perf_counter() - began, time.perf_counter()
    batch = make(1).batch_size
    delivered = _drain(make(_PROBE_BATCHES * batch), deadline=began + seconds)
    number = max(batch, int(delivered / (time.perf_counter() - began) * seconds))
    stream, began, cpu_began = make(number), time.perf_counter(), time.process_time()
    samples = _drain(stream, deadline=began + _PATIENCE * seconds)
    wall_s, cpu_s, stats = time.perf_counter() - began, time.process_time() - cpu_began, stream.stats()
    return {
        "samples": samples,
        "samples_per_s": round(samples / wall_s, 2),
        "batches_per_s": round(stats["batches"] / wall_s, 3),
        "cpu_ms_per_sample": round(1e3 * cpu_s / samples, 4),
        "first_batch_s": round(first_s, 4),
        "seconds": round(wall_s, 4),
        "waited_s": round(stats["waited_s"], 4),
        "requests_per_sample": round(stats["requests"] / samples, 4),
        "bytes_per_sample": round(stats["bytes_read"] / samples),
        "stats": {name: value for name, value in stats.items() if isinstance(value, int | float)},
    }


def _drain(stream: Stream, *, deadline: float) -> int:
    """Take the stream's batches to its end, or until the deadline; return the samples."""
    samples = 0
    for batch in stream:
        samples += len(batch)
        if time.perf_counter() > deadline:
            break
    return samples


def _repeated(run: Callable[[int], T], *, threads: int, seconds: float) -> list[T]:
    """Return the results of running 0, 1, 2, ... on so many threads until the time is up; at least one for each."""
    deadline = time.perf_counter() + seconds

    def work(first: int) -> list[T]:
        found = [run(first)]
        while time.perf_counter() < deadline:
            found.append(run(first + threads * len(found)))
        return found

    with ThreadPoolExecutor(threads, thread_name_prefix="bench") as executor:
        return [result for found in executor.map(work, range(threads)) for result in found]
