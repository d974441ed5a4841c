"""What a stream has done so far."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from shardkit.storage.traffic import Traffic


class SourceCounts:
    """What was read for one source.

    Attributes:
        asked: Requests to the storage, their bytes and the seconds that threads spent in them.
        used: Pieces of audio and other fields that were taken from these, their bytes, and the seconds that threads
            spent in decoding them.
        samples: Delivered ones, as requests.
    """

    def __init__(self) -> None:
        self.asked = Traffic()
        self.used = Traffic()
        self.samples = Traffic()

    def snapshot(self) -> dict[str, Any]:
        """Return plain numbers."""
        return {
            "samples": self.samples.requests,
            "requests": self.asked.requests,
            "bytes_read": self.asked.bytes_read,
            "bytes_used": self.used.bytes_read,
            "storage_s": round(self.asked.seconds, 6),
            "retries": self.asked.retries,
            "hedges": self.asked.hedges,
            "decode_s": round(self.used.seconds, 6),
        }


class Counters:
    """Counts batches, samples, waiting and traffic by source.

    From any thread and without locks, as ``Traffic`` does: a forked process would find one locked for ever.
    """

    def __init__(self, source_names: Sequence[str]) -> None:
        self.sources = {name: SourceCounts() for name in source_names}
        self.of_source = list(self.sources.values())
        self._batches = Traffic()
        self._stalls = Traffic()

    def delivered(self, sources: Sequence[str], waited_s: float) -> None:
        """Note one batch handed over, after the consumer waited that long for it."""
        self._batches.add(0, waited_s)
        for name, count in Counter(sources).items():
            self.sources[name].samples.add(0, requests=count)

    def stalled(self) -> None:
        """Note that a batch is late; see ``watchdog``."""
        self._stalls.add(0)

    @property
    def reading(self) -> list[Traffic]:
        """What is counted where it is read and decoded."""
        return [traffic for counts in self.of_source for traffic in (counts.asked, counts.used)]

    @property
    def delivering(self) -> list[Traffic]:
        """What is counted where batches are handed over."""
        return [self._batches, self._stalls, *(counts.samples for counts in self.of_source)]

    def snapshot(self) -> dict[str, Any]:
        """Return plain numbers: the totals, and those of each source under ``sources``."""
        sources = {name: counts.snapshot() for name, counts in self.sources.items()}
        totals = {what: sum(counts[what] for counts in sources.values()) for what in next(iter(sources.values()))}
        return {
            "batches": self._batches.requests,
            "waited_s": round(self._batches.seconds, 6),
            "stalls": self._stalls.requests,
            **totals,
            "storage_s": round(totals["storage_s"], 6),
            "decode_s": round(totals["decode_s"], 6),
            "sources": sources,
        }
