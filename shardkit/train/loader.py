"""``Loader``: a stream as torch batches on a device, made and read ahead by a thread.

    thread      read batch 3 ─► to the device ─► floats, rate, transform ─► at most ``prefetch`` batches ready
    consumer                                                                ready batch 1 ─► training step

With ``workers``, processes read and decode, and the thread takes the batches from them in turn; the audio stays where
they decoded it, in memory that both see (``stream.processes``).

All that is made of a batch is made ahead, in the thread, on CUDA on a stream of its own (``train.transfer``): the
consumer waits for data only where reading or transform are slower than its steps, which ``Loader.stats`` tells.
"""

import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import nn

from shardkit.core.checks import checked_whole
from shardkit.core.errors import InputError
from shardkit.stream.arguments import is_new
from shardkit.stream.pool import ArrayPool
from shardkit.stream.stream import Stream
from shardkit.stream.watchdog import Sight, Watch, checked_stall, shardkit_threads, stacks_of
from shardkit.train.batch import TorchBatch
from shardkit.train.beside import (
    Together,
    check_beside_state,
    checked_beside,
    dump_beside,
    read_together,
)
from shardkit.train.checks import check_stream, check_transform
from shardkit.train.convert import conversion_of
from shardkit.train.prepare import Preparation, Transform
from shardkit.train.readahead import ReadAhead
from shardkit.train.transfer import Sent, Transfer, resolve_device
from shardkit.train.waits import Stopwatch, Waits


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
        transform: Module such as ``LogMel``, or function, that makes ``batch.features`` of ``batch.audio``; or one
            that has ``takes_batch = True``, such as an augmentation: it gets the whole batch and returns one. A module
            is moved to the device and set to eval mode. It runs in the loader's thread, without gradients, autocast or
            default devices, in the order of the batches; an error is raised in the place of its batch.
        sample_rate: Rate to deliver audio and audio fields at, in Hz, resampled on the device (``nn.Resample``); None:
            the stream's. The stream's masks must then have frames of a whole number of samples at either rate.
        beside: Further streams by name, whose batches of the same positions come along as ``batch.beside[name]``: noise
            to add, rooms to hear it in. Each has its own order, crops and seed, and the rank, world size, batch size
            and views of ``stream``. Where its own iterations would end does not matter, nor does its position.
        prefetch: Batches to have ready on the device.
        workers: Processes to read in, for each stream so many, each with the stream's threads and memory bound; 0: this
            one. The sequence and the state are the same for any number. They start by multiprocessing's default method.
            Their batches lie in anonymous memory, used again once nothing refers to them, which the size of
            ``/dev/shm`` does not bound. What they read is in ``stream.stats()`` here once their batches have come.
        stall_s: Seconds that one may wait for a batch before a warning says what for: storage, decoding, a process,
            the transform, with stacks; repeated after twice as long. None: never; ``stream``: as the
            stream's.

    Attributes:
        stream: As given.
        device: Where batches are delivered.
        transform: As given, on the device.
        sample_rate: Of the audio that is delivered, in Hz.

    Raises:
        InputError: Something in the above can't be; the message says what would work.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        device: torch.device | str | None = None,
        transform: Transform | None = None,
        sample_rate: int | None = None,
        beside: Mapping[str, Stream] | None = None,
        prefetch: int = 2,
        workers: int = 0,
        stall_s: float | Literal["stream"] | None = "stream",
    ) -> None:
        check_stream(stream)
        self.stream = stream
        self.device = resolve_device(device)
        self._beside = checked_beside({} if beside is None else beside, stream)
        conversion = conversion_of(stream, sample_rate, self.device)
        self.sample_rate = stream.sample_rate if sample_rate is None else sample_rate
        if transform is not None:
            check_transform(transform, sample_rate=self.sample_rate, has_audio=stream.has_audio)
        self.transform = transform.to(self.device).eval() if isinstance(transform, nn.Module) else transform
        self._prefetch = checked_whole(prefetch, "prefetch")
        self._workers = checked_whole(workers, "workers", least=0, most=2**16)
        self._stall_s = stream.stall_s if stall_s == "stream" else checked_stall(stall_s)
        self._waits = Waits()
        self._prepare = Preparation(
            conversion=conversion,
            beside={
                name: conversion_of(other, sample_rate, self.device, what=f"the stream {name!r} beside it")
                for name, other in self._beside.items()
            },
            transform=self.transform,
            waits=self._waits,
        )

    def __iter__(self) -> Iterator[TorchBatch]:
        """Yield this rank's batches from the stream's position on.

        Raises:
            AudioError, CorruptDataError, StorageError: A sample can't be read; raised in its place in the sequence.
            ShardkitError: A worker process died; the message says which and of what.
        """
        # The thread must not hold the loader or the iterator, or they could not be collected while it lives.
        stream, beside, workers, prepare = self.stream, self._beside, self._workers, self._prepare
        transfer, position = Transfer(self.device), stream.begin()
        waits, reading = self._waits, Watch(None)  # of the thread, which may wait while the consumer does not
        watch = Watch(self._stall_s, waits.stalled)
        watch.look = partial(_look, waits, reading)

        def produce() -> Generator[Sent, None, None]:
            together = read_together(stream, beside, position, workers=workers, empty=transfer.empty, watch=reading)
            return _send(together, transfer, prepare)

        sent = ReadAhead(produce, ahead=self._prefetch, name="shardkit-loader", watch=watch)
        batches = self._deliver(sent, transfer)
        # For iterators that are never started, whose ``finally`` never runs, or that outlive the program.
        weakref.finalize(batches, sent.close)
        return batches

    def __len__(self) -> int:
        """Return ``len(stream)``: the batches of a whole iteration; an endless stream raises TypeError."""
        return len(self.stream)

    def state_dict(self) -> dict[str, Any]:
        """Return the state after the last batch that was delivered, as plain JSON values under 1 KiB."""
        return dump_beside(self.stream.state_dict(), self._beside)

    def load_state_dict(
        self,
        state: Mapping[str, Any],
        *,
        weights: Literal["new"] | None = None,
        global_batch_size: Literal["new"] | None = None,
        beside: Literal["new"] | None = None,
        feedback: Mapping[str, Any] | None = None,
    ) -> None:
        """Let the next iteration go on where ``state`` was taken, by a loader or by the stream itself.

        Streams beside go on at the same position. A stream takes the state of a loader too, whatever was beside it.

        Args:
            state: What ``state_dict`` returned.
            weights: As for ``Stream.load_state_dict``.
            global_batch_size: As for ``Stream.load_state_dict``.
            beside: ``"new"`` lets the streams beside differ from those of the state, which has none if a stream made
                it.
            feedback: What ``stream.feedback_state()`` returned, for a stream with ``mining``.

        Raises:
            StateError: The state is of another stream, or was taken beside others; the message names what differs.
        """
        if not is_new(beside, "beside"):
            check_beside_state(state, self._beside)
        self.stream.load_state_dict(state, weights=weights, global_batch_size=global_batch_size, feedback=feedback)

    def feedback(
        self, samples: torch.Tensor | Sequence[int] | Sequence[str], scores: torch.Tensor | Sequence[float]
    ) -> int:
        """Tell the stream how hard samples of this rank were, on all ranks; see ``Stream.feedback``.

        Where torch.distributed runs on several ranks, they exchange what each was told: all must call this equally
        often, with samples or without, such as once an epoch.

        Args:
            samples: ``batch.positions`` or ``batch.keys``, of any batches of this rank in this epoch.
            scores: How hard each was, (sample,).

        Returns:
            How many count, of all ranks.

        Raises:
            InputError: The stream has no ``mining``, or something in the above can't be.
        """
        told = _plain(samples), _plain(scores)
        if len(told[0]) != len(told[1]):
            raise InputError(f"feedback: {len(told[0])} samples and {len(told[1])} scores; give one score each")
        if self.stream.world_size > 1 and dist.is_available() and dist.is_initialized():
            gathered: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(gathered, told)
            told = [one for part, _ in gathered for one in part], [one for _, part in gathered for one in part]
        return self.stream.feedback(*told)

    def stats(self) -> dict[str, Any]:
        """Return where the time has gone since the loader was made; what was read: ``loader.stream.stats()``.

        ``waits_for`` says it in a word: ``nothing``, or ``reading``, ``transfer`` or ``transform``, which is what the
        thread spends most time on while the consumer waits for more than 5 % of its time; ``device`` where only the GPU
        is late with copies and transform; None before there are two batches.

        ``batches`` delivered; ``stalls``, those of them that took longer than ``stall_s``; ``waited_s``, seconds from
        asking for a batch to getting it, and ``used_s``, from there to asking for the next, and ``waiting_share`` of
        the first in both, all without the first batch of each iteration, the wait for which is ``starting_s``;
        ``ready``, the mean number of batches that lay ready when one was asked for; ``reading_s``, ``transfer_s``,
        with floats and resampling, and ``transform_s``, which the loader's thread spent, on CUDA without what the
        device then does by itself; and of a GPU ``device_waited_s``,
        ``device_used_s`` and ``device_waiting_share``, the same as of the consumer.
        """
        return self._waits.snapshot()

    def _deliver(self, read: ReadAhead[Sent], transfer: Transfer) -> Iterator[TorchBatch]:
        watch = Stopwatch(self._waits, self.device)
        try:
            while True:
                watch.ask()
                ready, sent = read.num_ready, next(read, None)
                if sent is None:
                    break
                batch = transfer.receive(sent)
                self.stream.advance(batch.position)
                watch.get(ready)
                yield batch
            self.stream.advance(None)
        finally:
            read.close()


def _look(waits: Waits, reading: Watch) -> Sight:
    """Return what a loader's consumer waits for."""
    part, since_s = waits.now
    if part == "reading":
        return reading.look()
    what = "the loader's thread" if part is None else f"{part} of the batch in the loader's thread, for {since_s:.1f} s"
    fields = {} if part is None else {"since_s": round(since_s, 3)}
    return Sight(part or "threads", what, stacks_of(shardkit_threads()), fields)


def _plain(values: Any) -> list[Any]:
    """Return a tensor, an array or a sequence as a list of Python's own values."""
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _send(
    together: Generator[Together, None, None], transfer: Transfer, prepare: Preparation
) -> Generator[Sent, None, None]:
    """Yield batches on their way to the device. It runs in a thread of its own, all of it."""
    pool, waits = ArrayPool(), prepare.waits
    with transfer.in_thread(), closing(together):
        while True:
            with waits.spent("reading"):
                read = next(together, None)
            if read is None:
                return
            batch = TorchBatch.from_numpy(read[0])
            beside = {name: TorchBatch.from_numpy(other) for name, other in read[1].items()}
            with waits.spent("transfer"):
                moved = transfer.move(replace(batch, beside=beside))
            yield transfer.send(prepare(moved, pool))
