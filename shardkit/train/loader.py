"""``Loader``: a stream as torch batches on a device, read ahead by a thread.

    thread      read batch 3 ─► to tensors ─► to the device ─► at most ``prefetch`` batches ready
    consumer                                                  ready batch 1 ─► transform ─► training step

The transform runs in the consumer's thread and on its CUDA stream: its launches cost microseconds there, a transform
that draws random numbers does so in an order that no thread decides, and autocast and devices are the consumer's own.
"""

import weakref
from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from shardkit.core.errors import InputError
from shardkit.stream.stream import Stream
from shardkit.train.batch import TorchBatch
from shardkit.train.readahead import ReadAhead
from shardkit.train.transfer import Sent, Transfer, resolve_device


class Loader:
    """This rank's batches of a stream, on a device and with features.

    Iterating goes on where the last iteration stopped; a one-pass stream that has ended begins anew. The thread that
    reads ahead lives as long as an iteration: it ends with the stream, with ``break``, with an exception on either
    side, and when the iterator is dropped. What it has read but not delivered is not counted by ``state_dict``.

    Args:
        stream: What to read; its position follows what this loader delivers.
        device: Where to deliver, such as ``cpu`` or ``cuda:1``; None: the current CUDA device if there is one, else
            the CPU.
        transform: Module such as ``LogMel`` that makes ``batch.features`` of ``batch.audio``. It is moved to the
            device and set to eval mode, and runs without gradients.
        prefetch: Batches to have ready on the device.

    Attributes:
        stream: As given.
        device: Where batches are delivered.
        transform: As given, on the device.

    Raises:
        InputError: No such device, or ``prefetch`` is less than 1.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        device: torch.device | str | None = None,
        transform: nn.Module | None = None,
        prefetch: int = 2,
    ) -> None:
        if prefetch < 1:
            raise InputError(f"prefetch is {prefetch}; it must be at least 1")
        self.stream = stream
        self.device = resolve_device(device)
        self.transform = None if transform is None else transform.to(self.device).eval()
        self._prefetch = prefetch

    def __iter__(self) -> Iterator[TorchBatch]:
        """Yield this rank's batches from the stream's position on.

        Raises:
            AudioError, CorruptDataError, StorageError: A sample can't be read; raised in its place in the sequence.
        """
        transfer, stream, position = Transfer(self.device), self.stream, self.stream.position
        # The thread must not hold the loader or the iterator, or they could not be collected while it lives.
        sent = ReadAhead(lambda: _send(stream, position, transfer), ahead=self._prefetch, name="shardkit-loader")
        batches = self._deliver(sent, transfer)
        # For iterators that are never started, whose ``finally`` never runs, or that outlive the program.
        weakref.finalize(batches, sent.close)
        return batches

    def __len__(self) -> int:
        """Return the number of batches of a one-pass stream; an endless one raises TypeError."""
        return len(self.stream)

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the last batch that was delivered, as plain JSON values."""
        return self.stream.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on where ``state`` was taken, by a loader or by the stream itself.

        Raises:
            StateError: The state is of another stream; the message names what differs.
        """
        self.stream.load_state_dict(state)

    def _deliver(self, read: ReadAhead[Sent], transfer: Transfer) -> Iterator[TorchBatch]:
        try:
            for sent in read:
                batch = self._transformed(transfer.receive(sent))
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


def _send(stream: Stream, position: int, transfer: Transfer) -> Generator[Sent, None, None]:
    for batch in stream.batches(position):
        yield transfer.send(TorchBatch.from_numpy(batch))
