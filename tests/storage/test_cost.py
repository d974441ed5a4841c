"""What requests cost: the line that was put in comes out, whatever the sizes, and soon after it changes."""

import math
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.storage.cost import MIN_REQUESTS, CostEstimate, Costs, cost_of
from shardkit.storage.location import locate
from shardkit.storage.store import Traffic, read_range, write_bytes

ASSUMED = 100e6


def estimate(latency_s: float, bytes_per_s: float, sizes: list[int], noise: float = 0.0) -> CostEstimate:
    made, rng = CostEstimate(ASSUMED), random.Random(0)  # noqa: S311  (noise)
    for size in sizes:
        made.add(size, (latency_s + size / bytes_per_s) * (1 + rng.uniform(-noise, noise)))
    return made


@pytest.mark.parametrize("latency_s", [0.0002, 0.03, 0.5])
@pytest.mark.parametrize("bytes_per_s", [2e6, 50e6, 3e9])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_sizes_that_differ_tell_latency_and_throughput_apart(
    latency_s: float, bytes_per_s: float, noise: float
) -> None:
    rng = random.Random(1)  # noqa: S311  (sizes)
    cost = estimate(latency_s, bytes_per_s, [rng.choice([4_000, 200_000, 2_000_000]) for _ in range(1000)], noise).cost
    assert cost is not None
    for size in (4_000, 200_000, 2_000_000):
        scale = latency_s + 2_000_000 / bytes_per_s
        assert cost.seconds(size) == pytest.approx(latency_s + size / bytes_per_s, rel=0.1, abs=0.12 * scale)


@given(
    size=st.integers(0, 1 << 40),
    seconds=st.floats(0, 0.2),
    count=st.integers(MIN_REQUESTS, 200),
)
def test_equal_sizes_give_their_mean_and_sane_numbers(size: int, seconds: float, count: int) -> None:
    made = CostEstimate(ASSUMED)
    for _ in range(count):
        made.add(size, seconds)
    assert made.cost is not None
    latency_s, bytes_per_s = made.cost
    assert 0 <= latency_s < math.inf
    assert 0 < bytes_per_s < math.inf
    # Bytes that took no time at all are still not free: no throughput above 100 GB/s is given.
    assert made.cost.seconds(size) == pytest.approx(max(seconds, size / 1e11), rel=1e-6, abs=1e-9)


def test_nothing_is_said_before_enough_was_seen() -> None:
    made = CostEstimate(ASSUMED)
    for _ in range(MIN_REQUESTS - 1):
        made.add(1000, 0.01)
    assert made.cost is None
    made.add(1000, 0.01)
    assert made.cost is not None


def test_rare_stalls_change_little_and_a_lasting_change_is_followed() -> None:
    made = estimate(0.02, 50e6, [200_000, 100_000] * 300)
    made.add(200_000, 20.0)
    for _ in range(32):
        made.add(200_000, 0.024)
    assert made.cost is not None
    assert made.cost.seconds(200_000) < 0.03
    for _ in range(1500):
        made.add(200_000, 2.0)
    assert made.cost.seconds(200_000) == pytest.approx(2.0, rel=0.05)


def test_endpoints_are_kept_apart(tmp_path: Path) -> None:
    costs = Costs()
    here, there = locate(tmp_path / "a/b.tar"), locate("s3://one/x/y.tar")
    for _ in range(MIN_REQUESTS):
        costs.add(there, 1000, 0.05)
    assert costs.cost_of(there) == costs.cost_of(locate("s3://one/z"))
    assert costs.cost_of(there) is not None
    assert costs.cost_of(locate("s3://two/x/y.tar")) is None
    assert costs.cost_of(locate("s3://one/x", {"endpoint_url": "http://127.0.0.1:9"})) is None
    assert costs.cost_of(here) is None


def test_reads_are_measured(s3: Any, tmp_path: Path) -> None:
    for place in (locate(f"{s3.url}/{uuid4()}"), locate(tmp_path / "x")):
        write_bytes(place, bytes(100_000))
        traffic = Traffic()
        started = time.perf_counter()
        for number in range(2 * MIN_REQUESTS):
            read_range(place, 0, 1000 * (number % 50 + 1), traffic=traffic)
        took = time.perf_counter() - started
        assert 0 < traffic.seconds <= took
        cost = cost_of(place)
        assert cost is not None
        assert 0 < cost.seconds(25_000) < 1


def test_counting_takes_microseconds_also_beside_threads() -> None:
    costs, place = Costs(), locate("s3://bucket/shard.tar")

    def count(_: int) -> float:
        started = time.thread_time()
        for _ in range(2000):
            costs.add(place, 200_000, 0.03)
        return (time.thread_time() - started) / 2000

    with ThreadPoolExecutor(8) as threads:
        assert min(threads.map(count, range(8))) < 50e-6  # about 2 µs; machines that run tests are shared
    cost = costs.cost_of(place)
    assert cost is not None
    assert cost.seconds(200_000) == pytest.approx(0.03)
