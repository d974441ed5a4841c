"""``Loader``: a stream as torch batches on a device, read ahead by a thread.

    thread      read batch 3 ─► to tensors ─► to the device ─► at most ``prefetch`` batches ready
    consumer                                                  ready batch 1 ─► transform ─► training step

With ``workers``, processes read and decode, and the thread takes the batches from them in turn; the audio stays where
they decoded it, in memory that both see (``stream.processes``).

The transform runs in the consumer's thread and on its CUDA stream: its launches cost microseconds there, a transform
that draws random numbers does so in an order that no thread decides, and autocast and devices are the consumer's own.
"""

import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from shardkit.core.checks import checked_whole
from shardkit.stream.batch import Batch
from shardkit.stream.processes import read_in_processes
from shardkit.stream.stream import Stream
from shardkit.train.batch import TorchBatch
from shardkit.train.checks import check_stream, check_transform
from shardkit.train.readahead import ReadAhead
from shardkit.train.transfer import Sent, Transfer, resolve_device


class Loader:
    """This rank's batches of a stream, on a device and with features.

    Iterating an endless stream goes on where the last iteration stopped. Each iteration of a one-pass stream is a
    whole pass, but the first after ``load_state_dict``, which is what was left of one.

    The thread that reads ahead, and the worker processes, live as long as an iteration: they end with the stream, with
    ``break``, with an exception on either side, and when the iterator is dropped. What was read but not delivered is
    not counted by ``state_dict``.

    Args:
        stream: What to read; its position follows what this loader delivers.
        device: Where to deliver, such as ``cpu`` or ``cuda:1``; None: the current CUDA device if there is one, else
            the CPU.
        transform: Module such as ``LogMel``, or function, that makes ``batch.features`` of ``batch.audio``. A module
            is moved to the device and set to eval mode. It runs without gradients.
        prefetch: Batches to have ready on the device.
        workers: Processes to read in, each with the stream's threads and memory bound; 0: this one. The sequence and
            the state are the same for any number. They start by multiprocessing's default method. Their batches lie in
            anonymous memory, used again once nothing refers to them, which the size of ``/dev/shm`` does not bound.
            What they read is not in this process's ``stream.stats()``.

    Attributes:
        stream: As given.
        device: Where batches are delivered.
        transform: As given, on the device.

    Raises:
        InputError: Something in the above can't be; the message says what would work.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        device: torch.device | str | None = None,
        transform: Callable[[Tensor], Any] | None = None,
        prefetch: int = 2,
        workers: int = 0,
    ) -> None:
        check_stream(stream)
        if transform is not None:
            check_transform(transform, sample_rate=stream.sample_rate)
        self.stream = stream
        self.device = resolve_device(device)
        self.transform = transform.to(self.device).eval() if isinstance(transform, nn.Module) else transform
        self._prefetch = checked_whole(prefetch, "prefetch")
        self._workers = checked_whole(workers, "workers", least=0, most=2**16)

    def __iter__(self) -> Iterator[TorchBatch]:
        """Yield this rank's batches from the stream's position on.

        Raises:
            AudioError, CorruptDataError, StorageError: A sample can't be read; raised in its place in the sequence.
            ShardkitError: A worker process died; the message says which and of what.
        """
        transfer, stream, workers, position = Transfer(self.device), self.stream, self._workers, self.stream.begin()
        # The thread must not hold the loader or the iterator, or they could not be collected while it lives.
        sent = ReadAhead(
            lambda: _send(_read(stream, position, workers), transfer), ahead=self._prefetch, name="shardkit-loader"
        )
        batches = self._deliver(sent, transfer)
        # For iterators that are never started, whose ``finally`` never runs, or that outlive the program.
        weakref.finalize(batches, sent.close)
        return batches

    def __len__(self) -> int:
        """Return ``len(stream)``: the batches of a whole iteration; an endless stream raises TypeError."""
        return len(self.stream)

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the last batch that was delivered, as plain JSON values."""
        return self.stream.state_dict()

    def load_state_dict(
        self,
        state: Mapping[str, Any],
        *,
        weights: Literal["new"] | None = None,
        global_batch_size: Literal["new"] | None = None,
    ) -> None:
        """Let the next iteration go on where ``state`` was taken, by a loader or by the stream itself.

        The arguments are those of ``Stream.load_state_dict``.

        Raises:
            StateError: The state is of another stream; the message names what differs.
        """
        self.stream.load_state_dict(state, weights=weights, global_batch_size=global_batch_size)

    def _deliver(self, read: ReadAhead[Sent], transfer: Transfer) -> Iterator[TorchBatch]:
        try:
            for sent in read:
                batch = self._transformed(transfer.receive(sent).as_float(self.stream.audio_fields))
                self.stream.advance(batch.position)
                yield batch
            self.stream.advance(None)
        finally:
            read.close()

    def _transformed(self, batch: TorchBatch) -> TorchBatch:
        if self.transform is None:
            return batch
        with torch.no_grad():
            return replace(batch, features=self.transform(batch.audio))


def _read(stream: Stream, position: int, workers: int) -> Generator[Batch, None, None]:
    if workers == 0:
        return stream.batches(position)
    return read_in_processes(stream, position, num_processes=workers)


def _send(batches: Generator[Batch, None, None], transfer: Transfer) -> Generator[Sent, None, None]:
    with closing(batches):
        for batch in batches:
            yield transfer.send(TorchBatch.from_numpy(batch))
