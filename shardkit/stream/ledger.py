"""What a stream has counted and noted, and how what its copies in other processes count comes home.

    reading process   mark ─► reads ─► since(mark) ─► reads ─► since ...
    consumer                              └─► add                └─► add

A copy counts on from where it was made, or from nothing; it is only what it counted since then that is sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from shardkit.storage.blockcache import BlockCache
from shardkit.storage.traffic import Traffic
from shardkit.stream.counters import Counters
from shardkit.stream.faults import Fault, FaultLog

Totals = list[tuple[float, ...]]


class Mark(NamedTuple):
    """A moment in a ledger."""

    totals: Totals
    num_faults: int
    delivered: bool  # whether batches and samples are among the totals


class News(NamedTuple):
    """What was counted and noted since a mark."""

    totals: Totals
    faults: list[Fault]
    delivered: bool = False


@dataclass(frozen=True, slots=True)
class Ledger:
    """The books of one stream in one process.

    Attributes:
        counters: Of batches, samples and traffic.
        faults: Samples that could not be read.
        cache: The node's, if there is one.
    """

    counters: Counters
    faults: FaultLog
    cache: BlockCache | None

    def mark(self, *, delivered: bool = False) -> Mark:
        """Return this moment, of what is read, and with ``delivered`` of what is handed over."""
        return Mark([traffic.totals() for traffic in self._traffic(delivered)], len(self.faults.noted), delivered)

    def since(self, mark: Mark) -> News:
        """Return what was counted since a moment."""
        now = self.mark(delivered=mark.delivered)
        return News(_less(now.totals, mark.totals), self.faults.noted[mark.num_faults :], mark.delivered)

    def add(self, news: News) -> None:
        """Count what a copy of the stream has counted in another process."""
        for traffic, more in zip(self._traffic(news.delivered), news.totals, strict=True):
            if any(more):
                traffic.add_totals(*more)
        self.faults.noted.extend(news.faults)

    def snapshot(self) -> dict[str, Any]:
        """Return plain numbers; see ``Stream.stats``."""
        found = self.counters.snapshot() | {"failures": len(self.faults.noted) + self.faults.elsewhere}
        if self.cache is not None:
            cache = self.cache
            found["cache"] = {"hits": cache.hits, "misses": cache.misses, "bytes_served": cache.bytes_served}
        return found

    def _traffic(self, delivered: bool) -> list[Traffic]:
        read = [*self.counters.reading, *(() if self.cache is None else self.cache.traffic)]
        return read + (self.counters.delivering if delivered else [])


def _less(totals: Sequence[tuple[float, ...]], before: Sequence[tuple[float, ...]]) -> Totals:
    return [tuple(now - then for now, then in zip(*pair, strict=True)) for pair in zip(totals, before, strict=True)]
