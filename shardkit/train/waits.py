"""``Waits``: where the time of a loader goes, on both of its sides.

    thread      | reading | transfer | transform |  (room for one more?)  | reading ...
    consumer    . . . waited . . . | used in a training step | waited | used ...
    its GPU     . . . . . . device waited | device used . . . . | ...

The consumer's side is counted in pairs, the use of a batch and the wait for the next one, so that the share of time
waiting does not depend on how often it starts. A GPU lags behind the program that drives it, and so may have work left
while that waits, or wait while that does not. Events tell: one is queued when a batch is asked for, after all that is
to be done with the last, and one where the batch may be used. They are read once they have passed.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch

Part = Literal["reading", "transfer", "transform"]

_NOTICEABLE = 0.05  # of the time; less goes into waking a thread where a step takes a millisecond


@dataclass(slots=True)
class _Side:
    """Seconds that the consumer, or its GPU, waited for batches and used them."""

    waited_s: float = 0.0
    used_s: float = 0.0

    @property
    def share(self) -> float | None:
        """The part of the time that was spent waiting; None before there is any."""
        total = self.waited_s + self.used_s
        return self.waited_s / total if total > 0 else None

    def snapshot(self, prefix: str = "") -> dict[str, float | None]:
        share = self.share
        return {
            f"{prefix}waited_s": round(self.waited_s, 6),
            f"{prefix}used_s": round(self.used_s, 6),
            f"{prefix}waiting_share": None if share is None else round(share, 6),
        }


_Events = tuple[torch.cuda.Event, torch.cuda.Event, torch.cuda.Event]  # the last batch had, the next asked for, had


class Waits:
    """Adds up what a loader's thread and its consumer spend. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spent: dict[Part, float] = {"reading": 0.0, "transfer": 0.0, "transform": 0.0}
        self._host, self._device = _Side(), _Side()
        self._starting_s = 0.0
        self._batches, self._pairs, self._ready = 0, 0, 0
        self._passing: deque[_Events] = deque()
        self._stalls = 0
        self._now: tuple[Part, float] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Let a copy begin anew: neither locks nor events can be copied."""
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        del state
        self.__init__()  # type: ignore[misc]

    @contextmanager
    def spent(self, part: Part) -> Iterator[None]:
        """Count the time that the loader's thread spends in a part of its work."""
        began = time.perf_counter()
        self._now = part, began
        try:
            yield
        finally:
            self._now = None
            with self._lock:
                self._spent[part] += time.perf_counter() - began

    @property
    def now(self) -> tuple[Part | None, float]:
        """The part of its work that the loader's thread is at, and for how many seconds."""
        part, since = self._now or (None, 0.0)
        return part, time.perf_counter() - since

    def stalled(self) -> None:
        """Count a batch that is late."""
        with self._lock:
            self._stalls += 1

    def delivered(self, *, ready: int, waited_s: float, used_s: float | None, events: _Events | None) -> None:
        """Count a batch.

        Args:
            ready: Batches that lay ready when it was asked for.
            waited_s: From then until it was delivered.
            used_s: From when the one before was delivered until it was asked for; None: it is an iteration's first.
            events: The same on a GPU; None: there is none, or it is an iteration's first.
        """
        with self._lock:
            self._batches += 1
            if used_s is None:
                self._starting_s += waited_s
                return
            self._pairs += 1
            self._ready += ready
            self._host.waited_s += waited_s
            self._host.used_s += used_s
            if events is not None:
                self._passing.append(events)
                self._count_passed()

    def snapshot(self) -> dict[str, Any]:
        """Return plain numbers; see ``Loader.stats``."""
        with self._lock:
            self._count_passed()
            return {
                "batches": self._batches,
                "stalls": self._stalls,
                "starting_s": round(self._starting_s, 6),
                **self._host.snapshot(),
                "ready": round(self._ready / self._pairs, 3) if self._pairs else None,
                **self._device.snapshot("device_"),
                **{f"{part}_s": round(seconds, 6) for part, seconds in self._spent.items()},
                "waits_for": self._verdict(),
            }

    def _count_passed(self) -> None:
        """Count the steps that the GPU is done with; the lock is held."""
        while self._passing and all(event.query() for event in self._passing[0]):  # type: ignore[no-untyped-call]
            had, asked, has = self._passing.popleft()
            self._device.used_s += had.elapsed_time(asked) / 1e3
            self._device.waited_s += asked.elapsed_time(has) / 1e3

    def _verdict(self) -> str | None:
        """Say what the consumer waits for: the slowest part of the thread's work, if for anything."""
        host, device = self._host.share, self._device.share
        if host is None:
            return None
        if device is not None and device < _NOTICEABLE:
            return "nothing"  # the program may wait as long as the GPU has work
        if host < _NOTICEABLE:
            # The thread was ahead with what it asked the GPU to do; that itself was late.
            return "nothing" if device is None else "device"
        return max(self._spent, key=lambda part: self._spent[part])


class Stopwatch:
    """Times the consumer of one iteration.

    Args:
        waits: Where its times are counted.
        device: Where batches are delivered.
    """

    def __init__(self, waits: Waits, device: torch.device) -> None:
        self._waits, self._device = waits, device
        self._asked_s = 0.0
        self._had_s: float | None = None
        self._asked: torch.cuda.Event | None = None
        self._had: torch.cuda.Event | None = None

    def ask(self) -> None:
        """Note that a batch is asked for."""
        self._asked_s, self._asked = time.perf_counter(), self._queued()

    def get(self, ready: int) -> None:
        """Note that it is there; so many lay ready when it was asked for."""
        now, has = time.perf_counter(), self._queued()
        used_s = None if self._had_s is None else self._asked_s - self._had_s
        events = (self._had, self._asked, has) if self._had and self._asked and has else None
        self._waits.delivered(ready=ready, waited_s=now - self._asked_s, used_s=used_s, events=events)
        self._had_s, self._had = now, has

    def _queued(self) -> torch.cuda.Event | None:
        """Return an event behind all that the consumer has asked its GPU to do so far."""
        if self._device.type != "cuda":
            return None
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event
