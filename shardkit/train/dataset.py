"""``StreamingDataset``: a stream for torch's DataLoader, its batches divided among worker processes."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from shardkit.stream.stream import Stream
from shardkit.train.batch import TorchBatch
from shardkit.train.checks import check_stream
from shardkit.train.sharedcounts import SharedCounts


class StreamingDataset(IterableDataset[TorchBatch]):
    """A stream as a torch dataset whose items are whole batches: ``DataLoader(dataset, batch_size=None)``.

    Worker w of W reads every W-th batch of this rank, starting with the w-th, and DataLoader takes from its workers
    in turn, so the sequence is the same for every number of workers:

        batch     0   1   2   3   4   5   6
        worker    0   1   0   1   0   1   0        num_workers=2

    Ranks are the stream's affair: each rank makes its own stream, and workers share that rank's batches.

    Without workers, a new iteration of an endless stream goes on where the last one stopped. Worker processes are
    copies, and what they read does not move the position of the original: every iteration through them begins where
    the stream stood. ``Loader(stream, workers=2)`` does move it, and costs less, as here each batch is copied into
    shared memory of its own. With a DataLoader say so yourself: ``stream.advance(batch.position)`` for each batch used.

    torchdata's StatefulDataLoader asks each worker's copy for its state and returns it to a worker of the same
    number, so the state of a copy says where that worker's own batches go on.

    Args:
        stream: What to read; must not be iterated elsewhere at the same time.

    Attributes:
        stream: The same.

    Raises:
        InputError: It is no stream.
    """

    def __init__(self, stream: Stream) -> None:
        check_stream(stream)
        self.stream = stream
        self._counts = SharedCounts(stream.ledger)
        self._loaded_in_worker: tuple[int, int | None] | None = None  # as _place, for a worker's next iteration
        # Of a worker's copy: where its current iteration goes on, and where the iteration of all workers ends.
        self._place: tuple[int, int | None] | None = None

    def __iter__(self) -> Iterator[TorchBatch]:
        """Yield this rank's batches, or a worker's share of them."""
        worker = get_worker_info()
        if worker is None:
            return map(TorchBatch.from_numpy, iter(self.stream))
        # Set here rather than in the generator: StatefulDataLoader asks for the state before the first batch.
        if self._loaded_in_worker is None:
            begin = self.stream.begin()
            self._place = begin + worker.id * self.stream.global_batch_size, self.stream.end_of_iteration(begin)
        else:
            self._place, self._loaded_in_worker = self._loaded_in_worker, None
        return self._share(*self._place, worker.id, worker.num_workers)

    def __len__(self) -> int:
        """Return ``len(stream)``: the batches of a whole iteration; an endless stream raises TypeError."""
        return len(self.stream)

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the last batch delivered by this copy of the dataset.

        In the main process of a DataLoader with workers that is the state before all of them; take
        ``stream.state_at(batch.position)`` there.
        """
        if self._place is None:
            return self.stream.state_dict()
        position, end = self._place
        return self.stream.state_at(position) | {"end": end}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken; in a worker process, with that worker's own batches.

        Raises:
            StateError: The state is of another stream; the message names what differs.
        """
        if get_worker_info() is None:
            self.stream.load_state_dict(state)
            return
        before = self.stream.state_dict()
        self.stream.load_state_dict(state)
        position = self.stream.position
        self._loaded_in_worker = self._place = position, state.get("end", self.stream.end_of_iteration(position))
        self.stream.load_state_dict(before)  # the next iteration of all workers begins where this one did

    def stats(self) -> dict[str, Any]:
        """Return ``stream.stats()`` with what worker processes have counted, up to the last batch each has made.

        What they fail to read is counted here; which samples those were, the workers' log says.
        """
        self._counts.collect(self.stream.ledger)
        return self.stream.stats()

    def _share(self, position: int, end: int | None, worker: int, num_workers: int) -> Iterator[TorchBatch]:
        others = (num_workers - 1) * self.stream.global_batch_size
        ledger = self.stream.ledger
        mark = ledger.mark(delivered=True)
        for batch in self.stream.batches(position, step=num_workers, end=end):
            mark = self._counts.add(worker, ledger, mark)
            self._place = batch.position + others, end
            yield TorchBatch.from_numpy(batch)
