"""Moves batches to a device; to CUDA beside the computation, on a stream of its own.

reading thread    pin ─► copy, queued on the side stream ─► event
consumer          its stream waits for the event ─► uses the tensors
"""

from dataclasses import dataclass

import torch

from shardkit.core.errors import InputError
from shardkit.train.batch import TorchBatch


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch on its way, and the event that says that it has arrived; None where copies block."""

    batch: TorchBatch
    arrived: torch.cuda.Event | None


class Transfer:
    """Sends batches to one device in one thread, and receives them in another.

    Args:
        device: Where to; a CUDA device with its index.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._side = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def send(self, batch: TorchBatch) -> Sent:
        """Begin to move a batch to the device."""
        if self._side is None:
            return Sent(batch.to(self._device), None)
        # The thread's current device is its own and 0 at first: pinning there would open a context on another GPU.
        with torch.cuda.device(self._device), torch.cuda.stream(self._side):
            # The pinned copy may be dropped at once: torch keeps its memory until the copy from it is done.
            moved = batch.pin_memory().to(self._device, non_blocking=True)
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record(self._side)
        return Sent(moved, arrived)

    def receive(self, sent: Sent) -> TorchBatch:
        """Return a batch that the caller's current CUDA stream may use; the caller itself does not wait."""
        if sent.arrived is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(sent.arrived)
            for tensor in sent.batch.tensors():
                # Its memory belongs to the side stream; once dropped, it must not be reused before ``current`` is done.
                tensor.record_stream(current)
        return sent.batch


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
