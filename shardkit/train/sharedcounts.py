"""What the worker processes of a DataLoader have counted, in memory that the main process sees too.

    worker 0    | requests, bytes, seconds | of the next counter | ... | samples that failed |
    worker 1    | ...

DataLoader brings home batches and nothing else, so each worker adds what it counted to a row of its own. Rows are never
cleared: workers of the next epoch add to them, and what was collected before is subtracted.
"""

import torch

from shardkit.storage.traffic import Traffic
from shardkit.stream.ledger import Ledger, Mark, News

MAX_WORKERS = 1024  # further ones are not counted; a row takes memory from when it is first written to
_NUMBERS = len(Traffic().totals())  # of one counter


class SharedCounts:
    """The rows, of which a worker's copy sees the same.

    Args:
        ledger: Of the stream in the main process.
    """

    def __init__(self, ledger: Ledger) -> None:
        size = _NUMBERS * len(ledger.mark(delivered=True).totals) + 1
        self._rows = torch.zeros(MAX_WORKERS, size, dtype=torch.float64).share_memory_()  # type: ignore[no-untyped-call]
        self._collected = torch.zeros(size, dtype=torch.float64)

    def add(self, worker: int, ledger: Ledger, mark: Mark) -> Mark:
        """Add what a worker's copy of the ledger has counted since a mark; return the next mark."""
        news, now = ledger.since(mark), ledger.mark(delivered=True)
        if worker < MAX_WORKERS:
            flat = [number for total in news.totals for number in total]
            self._rows[worker] += torch.tensor([*flat, len(news.faults)], dtype=torch.float64)
        return now

    def collect(self, ledger: Ledger) -> None:
        """Add to the main process's ledger what the workers have counted since the last time."""
        now = self._rows.sum(dim=0)
        flat, self._collected = (now - self._collected).tolist(), now
        totals = [tuple(flat[first : first + _NUMBERS]) for first in range(0, len(flat) - 1, _NUMBERS)]
        ledger.add(News(totals, [], delivered=True))
        ledger.faults.elsewhere += round(flat[-1])
