"""When to ask again after a failure, and when to give up.

    wait before try n+1   0.05 s · 2^(n-1), at most 10 s, times a random number from 0.5 to 1.5; a Retry-After if longer
    given up              after ``retry_for`` seconds, ``tries`` requests, or 10 answers in a row that were wrong

Many threads of many processes fail at once when a store does. So that their retries don't keep it down, each process
has a budget of them beside the waits: ten a second, and one for each five reads that succeed.

Sources:
    Exponential backoff with jitter: M. Brooker (2015), "Exponential Backoff And Jitter", AWS Architecture Blog.
    The budget's shape, a part of the requests and some a second: Finagle's RetryBudget (Twitter).
    Retry-After: RFC 9110, section 10.2.3.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shardkit.storage import faults
from shardkit.storage.patience import Patience

FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 10.0
LONGEST_RETRY_AFTER_S = 120.0  # a server that asks for more is asked again before
MOST_WRONG = 10  # a cache that always gives other bytes is no outage
EXPIRED_FOR_S = 60.0  # whoever renews credentials is waited for
_RETRIES_PER_S = 10.0
_RETRIES_PER_SUCCESS = 0.2
_BURST = 20.0
_TELL_EVERY_S = 30.0
_LOOK_S = 0.1  # between looks for whether anybody still waits
_LOG = logging.getLogger("shardkit")
_THREAD = threading.local()


class GaveUpError(Exception):
    """What the last failure is the cause of: ``told`` says how often and for how long it was tried."""

    def __init__(self, tries: int, seconds: float) -> None:
        super().__init__()
        self.told = f"tried {tries} times in {seconds:.1f} s"


class RetryBudget:
    """Retries that one process may make. Thread-safe; made anew after a fork with its client."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokens = _BURST  # below zero: what threads that wait have been promised
        self._at = time.monotonic()

    def succeeded(self) -> None:
        """Note a read that succeeded. Without the lock: one that is not counted does no harm."""
        if self._tokens < _BURST:
            self._tokens += _RETRIES_PER_SUCCESS

    def reserve(self) -> float:
        """Take one retry, and return the seconds after which it may be made."""
        with self._lock:
            now = time.monotonic()
            self._tokens = min(_BURST, self._tokens + (now - self._at) * _RETRIES_PER_S) - 1
            self._at = now
            return max(0.0, -self._tokens / _RETRIES_PER_S)


class Retries:
    """The failures of one read, or of whatever is done to a location.

    Args:
        patience: How long and how often.
        budget: Of this process.
        name: What is read, for the log.
        began: When the first try began, by ``time.monotonic``.
    """

    def __init__(self, patience: Patience, budget: RetryBudget, name: str, began: float) -> None:
        self._patience = patience
        self._budget = budget
        self._name = name
        self._began = self._told_at = began
        self._tries = self._wrong = 0

    def wait(self, err: Exception, *, answered: bool) -> None:
        """Wait until it is time to try again.

        Args:
            err: What the last try failed with.
            answered: Whether the endpoint ever answered; see ``faults.is_transient``.

        Raises:
            GaveUpError: No more tries, caused by ``err``.
            Exception: ``err`` itself, where trying again can't help.
        """
        self._tries += 1
        self._wrong = self._wrong + 1 if faults.is_wrong_answer(err) else 0
        expired = answered and faults.is_expired(err)
        if not expired and not faults.is_transient(err, answered=answered):
            raise err
        patience, now = self._patience, time.monotonic()
        wait_s = max(backoff_s(self._tries), self._budget.reserve())
        asked_s = min(faults.retry_after_s(err), LONGEST_RETRY_AFTER_S)
        wait_s = max(wait_s, asked_s * random.uniform(1.0, 1.1))  # noqa: S311  (so that workers don't return as one)
        left_s = (min(patience.retry_for, EXPIRED_FOR_S) if expired else patience.retry_for) - (now - self._began)
        out_of_tries = patience.tries is not None and self._tries >= patience.tries
        if left_s <= 0 or out_of_tries or self._wrong >= MOST_WRONG:
            raise GaveUpError(self._tries, now - self._began) from err
        self._tell(err, now, left_s)
        if not _slept(min(wait_s, left_s)):  # the last try is made when the time is up, not before
            raise GaveUpError(self._tries, time.monotonic() - self._began) from err

    def _tell(self, err: Exception, now: float, left_s: float) -> None:
        if now - self._told_at >= _TELL_EVERY_S:
            self._told_at = now
            _LOG.warning(
                "%s: still failing after %d tries in %.0f s (%s); trying for another %.0f s",
                *(self._name, self._tries, now - self._began, faults.detail(err), left_s),
            )


def backoff_s(tries: int) -> float:
    """Return the seconds to wait after so many tries."""
    wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(tries - 1, 30))
    return wait_s * random.uniform(0.5, 1.5)  # noqa: S311  (spread, so that workers don't return as one)


@contextmanager
def until(ended: Callable[[], bool]) -> Iterator[None]:
    """Within the block, this thread waits for no storage once ``ended`` is true: nobody wants the bytes any more."""
    _THREAD.ended = ended
    try:
        yield
    finally:
        _THREAD.ended = None


def _slept(seconds: float) -> bool:
    """Wait; return whether that was to the end."""
    ended: Callable[[], bool] | None = getattr(_THREAD, "ended", None)
    if ended is None:
        time.sleep(seconds)
        return True
    limit = time.monotonic() + seconds
    while not ended() and (left := limit - time.monotonic()) > 0:
        time.sleep(min(left, _LOOK_S))
    return not ended()
