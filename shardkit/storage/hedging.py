"""A second request for a read that takes long: whichever is first is taken, the other is ended.

    first request   |-----------------------------------X   ended
    second request                |---------|  taken
                    0             wait      ^

``wait`` is what a part of the reads before took, such as 95 of 100. As reads are of many sizes, what is remembered of
each is how much longer it took than ``cost`` expects of one of its size. Second requests are a bounded share of all, so
that a store that is slow because it is busy gets no second load.

Each request has a thread of its own, which ends with it: kept ones would be left behind when nobody reads any more.

Source:
    Dean, Barroso (2013), "The Tail at Scale", CACM 56(2): hedged requests, deferred to the 95th percentile.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from threading import Thread
from time import perf_counter

from shardkit.storage.cost import cost_of
from shardkit.storage.traffic import Traffic
from shardkit.storage.transfer import WHOLE, Cancel, Transfer

MIN_READS = 32  # before any is hedged
_KEPT = 512
_SORT_EVERY = 32


class Hedging:
    """Reads of one client. Thread-safe; made anew after a fork with its client.

    Args:
        percentile: A part of one; reads that take longer than this part of those before are hedged.
        share: Second requests at most, as a part of all reads.
    """

    def __init__(self, percentile: float, share: float) -> None:
        self._percentile = percentile
        self._share = share
        self._reads = self._hedges = 0
        self._ratios: deque[float] = deque(maxlen=_KEPT)  # seconds by those expected
        self._slow = float("inf")  # the ratio beyond which a read is hedged

    def read(self, transfer: Transfer, run: Callable[[Transfer], bytes], traffic: Traffic | None) -> bytes:
        """Return what ``run(transfer)`` returns, or the same of another transfer if that is there sooner."""
        if transfer.stop == WHOLE:  # of no size that is known
            return run(transfer)
        began = perf_counter()
        cost = cost_of(transfer.location)
        expected_s = None if cost is None else cost.seconds(transfer.stop - transfer.start)
        self._reads += 1  # not exact beside other threads, and need not be
        if expected_s is None or self._slow == float("inf"):
            data = run(transfer)
        else:
            data = self._race(transfer, run, expected_s * self._slow, traffic)
        if expected_s:
            self._note((perf_counter() - began) / expected_s)
        return data

    def _race(
        self, transfer: Transfer, run: Callable[[Transfer], bytes], wait_s: float, traffic: Traffic | None
    ) -> bytes:
        first = self._start(transfer, run)
        done, _ = wait([first[0]], timeout=wait_s)
        if done or self._hedges >= self._share * self._reads:
            return first[0].result()
        self._hedges += 1
        if traffic is not None:
            traffic.add_hedge()
        again = Transfer(transfer.location, transfer.start, transfer.stop, transfer.expected_size)
        second = self._start(again, run)
        futures = {first[0], second[0]}
        while futures:
            done, futures = wait(futures, return_when=FIRST_COMPLETED)
            for future in done:
                if future.exception() is None:
                    for _, cancel in (first, second):
                        cancel.set()
                    return future.result()
        return first[0].result()  # both failed: it raises what the first did, whose transfer goes on

    def _start(self, transfer: Transfer, run: Callable[[Transfer], bytes]) -> tuple["Future[bytes]", Cancel]:
        transfer.cancel = cancel = Cancel()
        future: Future[bytes] = Future()
        Thread(target=_run, args=(future, run, transfer), name="shardkit-hedge", daemon=True).start()
        return future, cancel

    def _note(self, ratio: float) -> None:
        self._ratios.append(ratio)
        if len(self._ratios) >= MIN_READS and self._reads % _SORT_EVERY == 0:
            ordered = sorted(self._ratios)
            self._slow = ordered[int(self._percentile * (len(ordered) - 1))]


def _run(future: "Future[bytes]", run: Callable[[Transfer], bytes], transfer: Transfer) -> None:
    try:
        data = run(transfer)
    except BaseException as err:
        future.set_exception(err)
    else:
        future.set_result(data)
