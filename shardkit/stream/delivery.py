"""One rank's batches, some of them under way ahead of who uses them.

planned  ──>  pending: read and decoded by threads  ──>  delivered
          [b+3] [b+2] [b+1]                          [b]
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial

from shardkit.core.errors import ShardkitError
from shardkit.core.shuffle import Shuffle
from shardkit.stream.assemble import Assembler, Pending
from shardkit.stream.batch import Batch
from shardkit.stream.counters import Counters
from shardkit.stream.neighbours import NeighbourReads
from shardkit.stream.plan import BatchPlan
from shardkit.stream.pool import Empty
from shardkit.stream.watchdog import Watch
from shardkit.stream.workers import Pace, Workers, available_cores, check_process

# Batches under way: two, so that one is read while one is used, and more where a batch has fewer samples than keep the
# threads busy. Each further one is memory that no processor has in its cache.
_MIN_AHEAD = 2
_AHEAD_PER_JOB = 8  # samples for each job that runs at once


@dataclass(frozen=True, slots=True)
class Threads:
    """Threads that read and decode: so many at most, and fewer where ``paced`` and fewer are enough."""

    most: int
    paced: bool

    def start(self) -> Workers:
        """Return them, running."""
        pace = Pace(cores=available_cores(), most=self.most) if self.paced else self.most
        return Workers(pace, most=self.most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Which positions are one rank's."""

    rank: int
    world_size: int
    batch_size: int

    @property
    def global_batch_size(self) -> int:
        """Samples that all ranks together deliver in one step."""
        return self.batch_size * self.world_size


class Delivery:
    """Has a rank's batches read ahead of who uses them, within a bound of memory.

    Args:
        assembler: Makes the batches; its planner, at the time an iteration begins, says what they hold.
        counters: Told of each batch.
        share: The rank.
        shuffle: Of the stream; by blocks, draws share reads.
        threads: Start with each iteration and end with it.
        memory: Bytes of batches, and of shared reads, that may be held ahead. One batch is, whatever the bound.
    """

    def __init__(
        self,
        assembler: Assembler,
        counters: Counters,
        *,
        share: Share,
        shuffle: Shuffle,
        threads: Threads,
        memory: int,
    ) -> None:
        self._assembler = assembler
        self._counters = counters
        self._share = share
        self._by_blocks = shuffle.kind != "full"
        self._threads = threads
        self._memory = memory // 2 if self._by_blocks else memory  # the other half: neighbour reads

    def batches(
        self, position: int, *, step: int, end: int | None, empty: Empty | None, watch: Watch
    ) -> Generator[Batch, None, None]:
        """Yield batches; the arguments are those of ``Stream.batches``, and who watches over the waits."""
        neighbours = self._neighbour_reads(position, step, end)
        share = self._share
        plans = self._assembler.planner.plans(
            position,
            step=step,
            end=end,
            rank=share.rank,
            world_size=share.world_size,
            batch_size=share.batch_size,
        )
        pending: deque[Pending] = deque()
        with self._threads.start() as workers:
            try:
                begin = partial(self._assembler.begin, workers=workers, watch=watch, neighbours=neighbours, empty=empty)
                yield from self._deliver(plans, pending, begin, workers)
            finally:
                if not workers.is_inherited:  # locks of jobs may be held by threads that have stayed behind
                    for job in pending:
                        job.cancel()

    def _deliver(
        self,
        plans: Iterator[BatchPlan],
        pending: deque[Pending],
        begin: Callable[[BatchPlan], Pending],
        workers: Workers,
    ) -> Iterator[Batch]:
        failed: ShardkitError | None = None  # of a later batch; those before it are delivered first
        ahead = 1
        while True:
            check_process(workers.process)
            while len(pending) < ahead and failed is None:
                try:
                    plan = next(plans, None)
                    if plan is None:
                        break
                    pending.append(begin(plan))
                except ShardkitError as err:
                    failed = err
                    break
                ahead = self._num_ahead(pending[-1], workers.limit)
            if pending:
                batch = self._finish(pending[0])
                pending.popleft()
                yield batch
            elif failed is not None:
                raise failed
            else:
                return

    def _num_ahead(self, pending: Pending, jobs_at_once: int) -> int:
        """Return how many batches of this size may be under way within the memory bound."""
        # While a batch is read, its undecoded bytes and one decoded copy of each sample exist beside its arrays.
        size = 2 * sum(array.nbytes for array in (*pending.buffers.audio.values(), *pending.buffers.arrays.values()))
        wanted = max(_MIN_AHEAD, -(-_AHEAD_PER_JOB * jobs_at_once // len(pending.plan.draws)))
        return max(1, min(wanted, self._memory // max(1, size)))

    def _finish(self, pending: Pending) -> Batch:
        began, watch = time.perf_counter(), pending.watch
        watch.look = self._assembler.look
        watch.begin()
        batch = self._assembler.finish(pending)
        watch.end()
        self._counters.delivered([name for name in batch.sources if name], time.perf_counter() - began)
        return batch

    def _neighbour_reads(self, position: int, step: int, end: int | None) -> NeighbourReads | None:
        if not self._by_blocks:
            return None
        share = self._share
        return NeighbourReads(
            self._assembler.planner,
            self._assembler.sources,
            self._assembler.fields,
            rank=share.rank,
            world_size=share.world_size,
            start=position,
            stride=step * share.global_batch_size,
            batch=share.global_batch_size,
            end=end,
            memory=self._memory,
            fetcher=self._assembler.fetcher,
        )
