"""``TorchBatch``: a stream's batch as tensors."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shardkit.stream.batch import Batch
from shardkit.stream.pool import Empty

_SCALE = 2.0**-15  # of int16 to full scale 1: a power of two scales without rounding
_WITHOUT_TENSORS = {"keys", "sources", "metadata"}  # a string for each sample: not worth a look


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TorchBatch:
    """One rank's share of a global batch, as tensors. Axes: (batch, channel, time).

    Attributes:
        audio: (batch, channel, time) float32 in [-1, 1); right-padded with zeros. int16 before a loader delivers it, if
            the stream says so.
        features: What the loader's transform made of ``audio``; None without one.
        lengths: Samples of ``audio`` that are not padding, (batch,) int64.
        sample_rate: Of ``audio``, in Hz.
        keys: Key of each sample.
        sources: Name of the source that each sample was drawn from.
        positions: Position of each draw in the stream, (batch,) int64.
        passes: Pass of its source that each draw belongs to, (batch,) int64.
        starts: First sample of each crop in the stored recording, at the stored rate, (batch,) int64.
        labels: Multi-hot, (batch, class) float32; the classes are ``Stream.labels``.
        masks: For each interval name, (batch, frame) float32: 1 where the frame overlaps such an interval.
        fields: Audio fields as (batch, channel, time) float32; arrays with a hop as (batch, row, ...); others as a
            list of what the stream gave, NumPy arrays among them, None where absent. See ``shardkit.stream.Batch``.
        present: For each field, which samples have it, (batch,) bool.
        metadata: The columns that were asked for, as lists.
        valid: (batch,) bool; False only for the padding at the end of a one-pass stream.
        views: Crops of each sample; those of one stand side by side.
        global_batch_size: Samples that all ranks together deliver in one step; a sample's views count as one.
        beside: For each stream beside this one, its batch at the same positions; row i belongs with row i.
        position: Position of the stream after this batch; ``stream.state_at(batch.position)`` is the state that
            goes on after it.
    """

    audio: Tensor
    features: Tensor | None = None
    lengths: Tensor
    sample_rate: int
    keys: Sequence[str]
    sources: Sequence[str]
    positions: Tensor
    passes: Tensor
    starts: Tensor
    labels: Tensor
    masks: Mapping[str, Tensor]
    fields: Mapping[str, Any]
    present: Mapping[str, Tensor]
    metadata: Mapping[str, Sequence[Any]]
    valid: Tensor
    views: int = 1
    global_batch_size: int
    beside: Mapping[str, "TorchBatch"] = field(default_factory=dict)
    position: int

    @classmethod
    def from_numpy(cls, batch: Batch) -> "TorchBatch":
        """Return a batch whose tensors share the memory of a stream's batch."""
        shared = {part.name: _shared(getattr(batch, part.name)) for part in dataclasses.fields(batch)}
        return cls(**shared)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "TorchBatch":
        """Return the batch with all its tensors on a device; copies from pinned memory need not block."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "TorchBatch":
        """Return the batch in page-locked memory, from which a GPU copies on its own; DataLoader calls this."""
        return self.map(lambda tensor: tensor.pin_memory())

    def tensors(self) -> Iterator[Tensor]:
        """Yield every tensor of the batch, of its features whatever they are, and of the batches beside it."""
        for part in dataclasses.fields(self):
            if part.name not in _WITHOUT_TENSORS:
                yield from _tensors(getattr(self, part.name))

    def map_audio(self, change: Callable[[Tensor], Tensor], audio_fields: Sequence[str] = ()) -> "TorchBatch":
        """Return the batch with its audio and these of its fields changed."""
        fields = {name: change(value) if name in audio_fields else value for name, value in self.fields.items()}
        return dataclasses.replace(self, audio=change(self.audio), fields=fields)

    def as_float(self, audio_fields: Sequence[str] = (), empty: Empty = np.empty) -> "TorchBatch":
        """Return the batch with its audio, and these fields, as float32 of full scale 1, if they are int16.

        Args:
            audio_fields: Which fields are audio.
            empty: Makes the arrays of a batch on the CPU.
        """
        if self.audio.dtype != torch.int16:
            return self
        return self.map_audio(lambda audio: _as_float(audio, empty), audio_fields)

    def __len__(self) -> int:
        return len(self.keys)

    def map(self, change: Callable[[Tensor], Tensor]) -> "TorchBatch":
        """Return the batch with every tensor changed, and those of the batches beside it."""
        changed = {part.name: _changed(getattr(self, part.name), change) for part in dataclasses.fields(self)}
        return TorchBatch(**changed)


def _shared(value: Any) -> Any:
    """Return a value of a batch with its arrays as tensors; lists stay as they are, whatever they hold."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, Mapping):
        return {name: _shared(item) for name, item in value.items()}
    return value


def _as_float(audio: Tensor, empty: Empty) -> Tensor:
    if audio.device.type != "cpu":
        return audio.float().mul_(_SCALE)
    scaled = empty(tuple(audio.shape), np.float32)
    np.multiply(audio.numpy(), np.float32(_SCALE), out=scaled)  # in one go, where torch goes through memory twice
    return torch.from_numpy(scaled)


def _changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, TorchBatch):
        return value.map(change)
    if isinstance(value, Mapping):
        return {name: _changed(item, change) for name, item in value.items()}
    return value


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, TorchBatch):
        yield from value.tensors()
    elif isinstance(value, Mapping | list | tuple):  # features are what a transform says
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(part)
