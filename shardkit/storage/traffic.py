"""Counters of what was read, one per stream, thread or whatever their owner wants to know about."""

from threading import get_ident


class Traffic:
    """Requests and bytes read; give one to the reading functions of ``store`` and look at it at any time.

    Every thread counts in its own cell, so counting takes no lock: nothing to wait for, nothing that a fork could
    leave locked. A forked or unpickled copy goes on from the counts it was made with, on its own.
    """

    def __init__(self) -> None:
        self._cells: dict[int, tuple[int, int]] = {}  # thread -> (requests, bytes); only that thread writes it

    def add(self, num_bytes: int) -> None:
        """Count one request that returned ``num_bytes``; a retried request counts once."""
        thread = get_ident()
        requests, total = self._cells.get(thread, (0, 0))
        self._cells[thread] = (requests + 1, total + num_bytes)

    @property
    def requests(self) -> int:
        """Reads so far."""
        return sum(requests for requests, _ in list(self._cells.values()))

    @property
    def bytes_read(self) -> int:
        """Bytes they returned."""
        return sum(total for _, total in list(self._cells.values()))

    def __repr__(self) -> str:
        return f"Traffic(requests={self.requests:,}, bytes_read={self.bytes_read:,})"
