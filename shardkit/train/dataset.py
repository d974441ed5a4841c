"""``StreamingDataset``: a stream for torch's DataLoader, its batches divided among worker processes."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from shardkit.stream.stream import Stream
from shardkit.train.batch import TorchBatch
from shardkit.train.checks import check_stream
from shardkit.train.cursor import Cursor


class StreamingDataset(IterableDataset[TorchBatch]):
    """A stream as a torch dataset whose items are whole batches: ``DataLoader(dataset, batch_size=None)``.

    Worker w of W reads every W-th batch of this rank, starting with the w-th, and DataLoader takes from its workers
    in turn, so the sequence is the same for every number of workers:

        batch     0   1   2   3   4   5   6
        worker    0   1   0   1   0   1   0        num_workers=2

    Ranks are the stream's affair: each rank makes its own stream, and workers share that rank's batches.

    Without workers, a new iteration of an endless stream goes on where the last one stopped. Worker processes are
    copies, and what they read does not move the position of the original: every iteration through them begins where
    the stream stood. ``Loader(stream, workers=2)`` reads through the same processes and does move it. With a
    DataLoader of your own, say so yourself, ``stream.advance(batch.position)`` for each batch used.

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
        self._cursor = Cursor(stream)
        self._loaded_in_worker: int | None = None  # where the next iteration of a worker's copy begins
        self._next_of_worker: int | None = None  # where the current iteration of a worker's copy goes on

    def __iter__(self) -> Iterator[TorchBatch]:
        """Yield this rank's batches, or a worker's share of them."""
        worker = get_worker_info()
        if worker is None:
            return self._all(self._cursor.begin())
        # Set here rather than in the generator: StatefulDataLoader asks for the state before the first batch.
        if self._loaded_in_worker is None:
            self._next_of_worker = self.stream.position + worker.id * self.stream.global_batch_size
        else:
            self._next_of_worker, self._loaded_in_worker = self._loaded_in_worker, None
        return self._share(self._next_of_worker, worker.num_workers)

    def __len__(self) -> int:
        """Return the number of batches of a one-pass stream; an endless one raises TypeError."""
        return len(self.stream)

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the last batch delivered by this copy of the dataset.

        In the main process of a DataLoader with workers that is the state before all of them; take
        ``stream.state_at(batch.position)`` there.
        """
        if self._next_of_worker is None:
            return self.stream.state_dict()
        return self.stream.state_at(self._next_of_worker)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken; in a worker process, with that worker's own batches.

        Raises:
            StateError: The state is of another stream; the message names what differs.
        """
        before = self.stream.state_dict()
        self._cursor.load_state_dict(state)
        if get_worker_info() is not None:
            self._loaded_in_worker = self._next_of_worker = int(state["position"])
            self.stream.load_state_dict(before)  # the next iteration of all workers begins where this one did

    def _all(self, position: int) -> Iterator[TorchBatch]:
        for batch in self.stream.batches(position):
            self._cursor.advance(batch.position)
            yield TorchBatch.from_numpy(batch)
        self._cursor.advance(None)

    def _share(self, position: int, num_workers: int) -> Iterator[TorchBatch]:
        others = (num_workers - 1) * self.stream.global_batch_size
        for batch in self.stream.batches(position, step=num_workers):
            self._next_of_worker = batch.position + others
            yield TorchBatch.from_numpy(batch)
