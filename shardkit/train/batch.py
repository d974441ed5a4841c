"""``TorchBatch``: a stream's batch as tensors."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shardkit.stream.batch import Batch


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
        loudness: Of each crop in LUFS, (batch,) float32, if the stream was asked for it. See ``shardkit.stream.Batch``.
        views: Crops of each sample; those of one stand side by side.
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
    loudness: Tensor | None = None
    views: int = 1
    position: int

    @classmethod
    def from_numpy(cls, batch: Batch) -> "TorchBatch":
        """Return a batch whose tensors share the memory of a stream's batch."""
        shared = {field.name: _shared(getattr(batch, field.name)) for field in dataclasses.fields(batch)}
        return cls(**shared)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "TorchBatch":
        """Return the batch with all its tensors on a device; copies from pinned memory need not block."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "TorchBatch":
        """Return the batch in page-locked memory, from which a GPU copies on its own; DataLoader calls this."""
        return self._map(lambda tensor: tensor.pin_memory())

    def tensors(self) -> Iterator[Tensor]:
        """Yield every tensor of the batch."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            yield from (part for part in _parts(value) if isinstance(part, Tensor))

    def as_float(self, audio_fields: Sequence[str] = ()) -> "TorchBatch":
        """Return the batch with its audio, and these fields, as float32 of full scale 1, if they are int16."""
        if self.audio.dtype != torch.int16:
            return self
        fields = {name: _as_float(value) if name in audio_fields else value for name, value in self.fields.items()}
        return dataclasses.replace(self, audio=_as_float(self.audio), fields=fields)

    def __len__(self) -> int:
        return len(self.keys)

    def _map(self, change: Callable[[Tensor], Tensor]) -> "TorchBatch":
        changed = {field.name: _changed(getattr(self, field.name), change) for field in dataclasses.fields(self)}
        return TorchBatch(**changed)


def _shared(value: Any) -> Any:
    """Return a value of a batch with its arrays as tensors; lists stay as they are, whatever they hold."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, Mapping):
        return {name: _shared(item) for name, item in value.items()}
    return value


def _as_float(audio: Tensor) -> Tensor:
    return audio.float().mul_(2.0**-15)  # a power of two scales without rounding


def _changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _changed(item, change) for name, item in value.items()}
    return value


def _parts(value: Any) -> Iterator[Any]:
    return iter(value.values()) if isinstance(value, Mapping) else iter((value,))
