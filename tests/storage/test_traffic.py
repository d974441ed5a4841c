"""Counters of reads."""

import pickle
from concurrent.futures import ThreadPoolExecutor

from shardkit.storage.traffic import Traffic


def test_no_count_is_lost_between_threads() -> None:
    traffic = Traffic()

    def count(_: int) -> None:
        for _ in range(5000):
            traffic.add(3, 0.5)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(count, range(8)))
    assert (traffic.requests, traffic.bytes_read, traffic.seconds) == (40_000, 120_000, 20_000.0)


def test_copies_count_on_their_own() -> None:
    traffic = Traffic()
    traffic.add(10)
    copy = pickle.loads(pickle.dumps(traffic))  # noqa: S301  (our own bytes)
    copy.add(5)
    assert (copy.requests, copy.bytes_read) == (2, 15)
    assert repr(traffic) == "Traffic(requests=1, bytes_read=10, seconds=0.000)"
