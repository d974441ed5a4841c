"""``Clips``: the smallest batch that augmentations take, for use without a loader."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from shardkit.core.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clips:
    """Some audio on a device, with what augmentations need to know of it. Axes: (batch, channel, time).

    What is not given is filled in: whole clips, positions from 0 on, all valid, no labels, one rank.

    Attributes:
        audio: (batch, channel, time) floats; right-padded with zeros.
        sample_rate: Of ``audio``, in Hz.
        features: (batch, channel, band, frame), or None.
        labels: (batch, class) floats.
        lengths: Samples of ``audio`` that are not padding, (batch,) int64.
        positions: The key of all randomness, (batch,) int64; rows of equal position draw equally, whatever the batch.
        views: Rows of one position, side by side; they draw independently.
        valid: (batch,) bool; False: the row is padding.
        loudness: Of each row, in LUFS, (batch,) float32, NaN where unknown; or None.
        global_batch_size: Positions in the batch of all ranks together, of which this is one rank's share.
        beside: Batches of other streams at the same positions, by name.

    Raises:
        InputError: The shapes contradict each other.

    >>> Clips(audio=torch.zeros(2, 1, 4), sample_rate=8_000).lengths
    tensor([4, 4])
    """

    audio: Tensor
    sample_rate: int
    features: Tensor | None = None
    labels: Tensor = None  # type: ignore[assignment]  # here and below: filled in
    lengths: Tensor = None  # type: ignore[assignment]
    positions: Tensor = None  # type: ignore[assignment]
    views: int = 1
    valid: Tensor = None  # type: ignore[assignment]
    loudness: Tensor | None = None
    global_batch_size: int = None  # type: ignore[assignment]
    beside: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.audio.ndim != 3:
            raise InputError(f"audio is of shape {tuple(self.audio.shape)}; give (batch, channel, time)")
        rows, _, time = self.audio.shape
        if self.views < 1 or rows % self.views:
            raise InputError(f"{rows} rows are no whole number of positions with {self.views} views each")
        device = self.audio.device
        filled = {
            "labels": self.audio.new_zeros((rows, 0)),
            "lengths": torch.full((rows,), time, dtype=torch.int64, device=device),
            "positions": torch.arange(rows, device=device) // self.views,
            "valid": torch.ones(rows, dtype=torch.bool, device=device),
            "global_batch_size": rows // self.views,
        }
        for name, value in filled.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name in ("features", "labels", "lengths", "positions", "valid", "loudness"):
            value = getattr(self, name)
            if value is not None and len(value) != rows:
                raise InputError(f"{name} has {len(value)} rows where audio has {rows}; give as many")
