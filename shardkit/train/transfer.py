"""Moves batches to a device, and has them prepared there; on CUDA beside the computation, on a stream of its own.

    loader's thread   decode into page-locked memory ─► copy ─► prepare, both queued on the side stream ─► event
    consumer          its stream waits for the event ─► uses the tensors

Nobody waits for the GPU: the thread queues work and goes on, the consumer's stream waits where it comes to the event.

Page-locked memory is what a GPU copies from on its own, and dear to get, so it serves again. torch keeps what was given
back, in blocks of powers of two. A block comes back once the copy from it is done, which its event tells when the next
batch is sent, and nothing refers to the arrays in it. Batches of reading processes lie in memory that these see too.
That is not page-locked, as a process may give its pages back while the GPU still believes in them; their audio is
copied once more, by the thread, into memory that is.
"""

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from shardkit.core.errors import InputError
from shardkit.stream.pool import Empty
from shardkit.train.batch import TorchBatch


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch on its way, and the event that says that it is there; None where nothing is left to be done."""

    batch: TorchBatch
    arrived: torch.cuda.Event | None


class Transfer:
    """Sends batches to one device in one thread, and receives them in another, the one that makes it.

    Args:
        device: Where to; a CUDA device with its index.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._side: torch.cuda.Stream | None = None
        self._leaving: deque[tuple[torch.cuda.Event, TorchBatch]] = deque()
        if device.type == "cuda":
            self._side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            # What batches are prepared with may still be on its way to the device.
            self._side.wait_stream(torch.cuda.current_stream(device))

    @property
    def empty(self) -> Empty | None:
        """Makes arrays that batches are sent from without a copy; None: any will do."""
        return None if self._side is None else _page_locked

    @contextmanager
    def in_thread(self) -> Iterator[None]:
        """Make the device and the side stream the current ones of the thread that sends; at the end wait for copies."""
        if self._side is None:
            yield
            return
        # The thread's current device is its own and 0 at first: page-locking there would open a context on another GPU.
        with torch.cuda.device(self._device), torch.cuda.stream(self._side):
            try:
                yield
            finally:
                while self._leaving:  # memory that is copied from must not be given back
                    self._leaving.popleft()[0].synchronize()

    def move(self, batch: TorchBatch) -> TorchBatch:
        """Return the batch on the device, to be used on the side stream."""
        if self._side is None:
            return batch.to(self._device)
        while self._leaving and self._leaving[0][0].query():  # type: ignore[no-untyped-call]
            self._leaving.popleft()
        locked = batch.map(_in_page_locked)
        moved = locked.to(self._device, non_blocking=True)
        copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record(self._side)
        self._leaving.append((copied, locked))
        return moved

    def send(self, batch: TorchBatch) -> Sent:
        """Return a batch that was moved, with an event behind all that the side stream was asked to do for it."""
        if self._side is None:
            return Sent(batch, None)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record(self._side)
        return Sent(batch, arrived)

    def receive(self, sent: Sent) -> TorchBatch:
        """Return a batch that the caller's current CUDA stream may use; the caller itself does not wait."""
        if sent.arrived is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(sent.arrived)
            for tensor in sent.batch.tensors():
                # Its memory belongs to the side stream; once dropped, it must not be reused before ``current`` is done.
                if tensor.is_cuda:
                    tensor.record_stream(current)
        return sent.batch


def _page_locked(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    dtype = np.dtype(dtype)
    block = torch.empty(math.prod(shape) * dtype.itemsize, dtype=torch.uint8, pin_memory=True)
    return block.numpy().view(dtype).reshape(shape)  # which refers to the block


def _in_page_locked(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_pinned() else tensor.pin_memory()


def resolve_device(device: torch.device | str | None) -> torch.device:
    """Return the device to deliver to; None: the current CUDA device if there is one, else the CPU.

    Raises:
        InputError: There is no such device.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as err:
        raise InputError(f"device is {device!r}; choose cpu, cuda, or one such as cuda:1") from err
    if found.type != "cuda":
        return found
    if not torch.cuda.is_available():
        raise InputError(f"device is {device!r}, but torch {torch.__version__} finds no GPU here; choose device='cpu'")
    index = torch.cuda.current_device() if found.index is None else found.index
    if index >= torch.cuda.device_count():
        raise InputError(f"device is {device!r}; this machine has cuda:0 to cuda:{torch.cuda.device_count() - 1}")
    return torch.device("cuda", index)
