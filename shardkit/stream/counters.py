"""What a stream has done so far."""

import threading
from collections.abc import Sequence
from typing import Any

from shardkit.storage.traffic import Traffic


class Counters:
    """Counts batches, samples by source, waiting and traffic; safe to read from any thread."""

    def __init__(self, source_names: Sequence[str]) -> None:
        self.traffic = Traffic()
        self._lock = threading.Lock()
        self._samples = dict.fromkeys(source_names, 0)
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
                self._samples[name] += 1

    def snapshot(self) -> dict[str, Any]:
        """Return plain numbers."""
        with self._lock:
            return {
                "batches": self._batches,
                "samples": sum(self._samples.values()),
                "samples_by_source": dict(self._samples),
                "waited_s": round(self._waited_s, 6),
                "requests": self.traffic.requests,
                "bytes_read": self.traffic.bytes_read,
            }
