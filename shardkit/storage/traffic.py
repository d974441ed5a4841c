"""Counters of what was read, one per stream, thread or whatever their owner wants to know about."""

from threading import get_ident


class Traffic:
    """Requests made, bytes read and seconds waited; give one to the reading functions of ``store``, look at any time.

    Every thread counts in its own cell, so counting takes no lock: nothing to wait for, nothing that a fork could
    leave locked. A forked or unpickled copy goes on from the counts it was made with, on its own.
    """

    def __init__(self) -> None:
        self._cells: dict[
            int, tuple[int, int, float]
        ] = {}  # thread -> (requests, bytes, s); only that thread writes it
        self._troubles: dict[int, tuple[int, int]] = {}  # thread -> (retries, second requests)

    def add(self, num_bytes: int, seconds: float = 0.0, *, requests: int = 1) -> None:
        """Count requests that returned ``num_bytes`` after ``seconds``; a retried request counts once."""
        thread = get_ident()
        before, total, waited = self._cells.get(thread, (0, 0, 0.0))
        self._cells[thread] = (before + requests, total + num_bytes, waited + seconds)

    def add_retry(self) -> None:
        """Count a request that was made again after a failure."""
        thread = get_ident()
        retries, hedges = self._troubles.get(thread, (0, 0))
        self._troubles[thread] = (retries + 1, hedges)

    def add_hedge(self) -> None:
        """Count a second request that was made because the first took long."""
        thread = get_ident()
        retries, hedges = self._troubles.get(thread, (0, 0))
        self._troubles[thread] = (retries, hedges + 1)

    @property
    def retries(self) -> int:
        """Requests that were made again after a failure."""
        return sum(retries for retries, _ in list(self._troubles.values()))

    @property
    def hedges(self) -> int:
        """Second requests that were made because the first took long."""
        return sum(hedges for _, hedges in list(self._troubles.values()))

    @property
    def requests(self) -> int:
        """Reads so far."""
        return sum(requests for requests, _, _ in list(self._cells.values()))

    @property
    def bytes_read(self) -> int:
        """Bytes they returned."""
        return sum(total for _, total, _ in list(self._cells.values()))

    @property
    def seconds(self) -> float:
        """Seconds spent in them, all threads together; waits before trying again count."""
        return sum(waited for _, _, waited in list(self._cells.values()))

    def totals(self) -> tuple[int, int, float, int, int]:
        """Return requests, bytes, seconds, retries and hedges, as ``add_totals`` of a copy elsewhere takes them."""
        return self.requests, self.bytes_read, self.seconds, self.retries, self.hedges

    def add_totals(self, requests: float, num_bytes: float, seconds: float, retries: float, hedges: float) -> None:
        """Count what a copy in another process has counted."""
        self.add(int(num_bytes), seconds, requests=int(requests))
        thread = get_ident()
        before = self._troubles.get(thread, (0, 0))
        self._troubles[thread] = (before[0] + int(retries), before[1] + int(hedges))

    def __repr__(self) -> str:
        return f"Traffic(requests={self.requests:,}, bytes_read={self.bytes_read:,}, seconds={self.seconds:.3f})"
