"""What a stream has done so far."""

import threading
from collections.abc import Sequence
from typing import Any

from shardkit.storage.traffic import Traffic


class SourceCounts:
    """What was read for one source.

    Attributes:
        asked: Requests to the storage, their bytes and the seconds that threads spent in them.
        used: Pieces of audio and other fields that were taken from these, and their bytes.
    """

    def __init__(self) -> None:
        self.asked = Traffic()
        self.used = Traffic()
        self.samples = 0

    def snapshot(self) -> dict[str, Any]:
        """Return plain numbers."""
        return {
            "samples": self.samples,
            "requests": self.asked.requests,
            "bytes_read": self.asked.bytes_read,
            "bytes_used": self.used.bytes_read,
            "storage_s": round(self.asked.seconds, 6),
            "retries": self.asked.retries,
            "hedges": self.asked.hedges,
        }


class Counters:
    """Counts batches, samples, waiting and traffic by source; safe to read from any thread."""

    def __init__(self, source_names: Sequence[str]) -> None:
        self.sources = {name: SourceCounts() for name in source_names}
        self.of_source = list(self.sources.values())
        self._lock = threading.Lock()
        self._waited_s = 0.0
        self._batches = 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave the lock behind: a stream is pickled for worker processes that are spawned."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def delivered(self, sources: Sequence[str], waited_s: float) -> None:
        """Note one batch handed over, after the consumer waited that long for it."""
        with self._lock:
            self._batches += 1
            self._waited_s += waited_s
            for name in sources:
                self.sources[name].samples += 1

    def snapshot(self) -> dict[str, Any]:
        """Return plain numbers: the totals, and those of each source under ``sources``."""
        with self._lock:
            sources = {name: counts.snapshot() for name, counts in self.sources.items()}
            totals = {what: sum(counts[what] for counts in sources.values()) for what in next(iter(sources.values()))}
            return {
                "batches": self._batches,
                "waited_s": round(self._waited_s, 6),
                **totals,
                "storage_s": round(totals["storage_s"], 6),
                "sources": sources,
            }
