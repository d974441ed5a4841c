"""As many jobs at once as the storage needs: against storages of known latency and bandwidth."""

import heapq
import threading
import time
from concurrent.futures import CancelledError

import pytest

from shardkit.stream.workers import Pace, Workers


def settled(latency_s, per_s, *, cores=2, most=64, jobs=3_000):
    """Return the limit that a pace settles at, and the rate it then reaches.

    Jobs take the latency of a request, then a turn at something that serves so many a second, one after the other.
    """
    pace = Pace(cores=cores, most=most)
    now, free, running, ended = 0.0, 0.0, [], []
    while len(ended) < jobs:
        while len(running) < pace.limit:
            free = max(free, now + latency_s) + 1 / per_s
            heapq.heappush(running, (free, now))
        now, began = heapq.heappop(running)
        pace.note(now, now - began)
        ended.append(now)
    return pace.limit, (jobs // 2) / (ended[-1] - ended[jobs // 2])


@pytest.mark.parametrize("latency_s", [0.001, 0.003, 0.02, 0.05, 0.1])
@pytest.mark.parametrize("per_s", [100, 400])
def test_all_that_can_be_delivered_is(latency_s, per_s):
    limit, rate = settled(latency_s, per_s)
    assert rate > 0.95 * per_s
    assert limit <= 2 + 2 * per_s * (latency_s + 2 / per_s) + 2  # and with no more at once than that asks for


def test_what_is_near_gets_few_and_what_is_far_many():
    assert settled(0.002, 400)[0] <= 8
    assert settled(0.1, 400)[0] == 64
    assert settled(0.1, 400, most=16)[0] == 16


def test_a_store_that_becomes_slow_is_followed():
    pace, now, running, free = Pace(cores=2, most=64), 0.0, [], 0.0
    limits = []
    for latency_s, until in ((0.002, 30.0), (0.08, 60.0), (0.002, 90.0)):
        while now < until:
            while len(running) < pace.limit:
                free = max(free, now + latency_s) + 1 / 400
                heapq.heappush(running, (free, now))
            now, began = heapq.heappop(running)
            pace.note(now, now - began)
        limits.append(pace.limit)
    assert limits[0] <= 8
    assert limits[1] > 40
    assert limits[2] <= 8


def test_results_and_errors_reach_who_asks():
    with Workers(3, most=3) as workers:
        squares = [workers.submit(pow, number, 2) for number in range(50)]
        wrong = workers.submit(lambda: 1 / 0)
        assert [square.result() for square in squares] == [number**2 for number in range(50)]
        with pytest.raises(ZeroDivisionError):
            wrong.result()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_never_more_at_once_than_there_may_be(threads):
    lock, running, most = threading.Lock(), [0], [0]

    def job():
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.002)
        with lock:
            running[0] -= 1

    with Workers(threads, most=threads) as workers:
        for done in [workers.submit(job) for _ in range(60)]:
            done.result()
    assert most[0] == threads


def test_a_pace_starts_more_threads_when_it_finds_that_it_should():
    with Workers(Pace(cores=2, most=64), most=64) as workers:
        began = time.perf_counter()
        for done in [workers.submit(time.sleep, 0.05) for _ in range(600)]:
            done.result()
        assert workers.limit > 30
    assert time.perf_counter() - began < 600 * 0.05 / 16  # what the first limit would have taken


def test_leaving_drops_what_has_not_begun():
    begun = threading.Event()
    with Workers(1, most=1) as workers:
        first = workers.submit(lambda: begun.set() or time.sleep(0.05))
        others = [workers.submit(time.sleep, 5) for _ in range(20)]
        begun.wait()
        left = time.perf_counter()
    assert time.perf_counter() - left < 2
    assert first.done()
    for other in others:
        with pytest.raises(CancelledError):
            other.result()


def test_a_job_that_was_cancelled_is_not_run():
    ran = []
    gate = threading.Event()
    with Workers(1, most=1) as workers:
        workers.submit(gate.wait)
        dropped = workers.submit(ran.append, 1)
        kept = workers.submit(ran.append, 2)
        assert dropped.cancel()
        gate.set()
        kept.result()
    assert ran == [2]
