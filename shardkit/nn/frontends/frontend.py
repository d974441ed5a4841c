"""What frontends that learn have in common: windows in milliseconds, rows, frames that line up with masks."""

from typing import Any

import torch
from torch import Tensor

from shardkit.core.checks import checked_whole, is_number
from shardkit.core.errors import InputError
from shardkit.nn.features import Features


class Frontend(Features):
    """Base of LEAF and SincNet.

    They compute in float32 under autocast and of half-precision audio too. A NaN or an infinity stays in its own row, a
    batch item's channel; but in training it reaches the parameters by their gradients. Channels are computed one by
    one, by the same filters.

    Attributes:
        sample_rate: Of the audio, in Hz.
        hop_length: Samples from frame to frame.
        window_length: Samples of a filter and of a pool; odd, so that they have a middle.
        n_filters: Number of filters.
    """

    def __init__(self, *, sample_rate: int, n_filters: int, window_len_ms: float, stride_ms: float) -> None:
        for name, value in (("window_len_ms", window_len_ms), ("stride_ms", stride_ms)):
            if not is_number(value) or value <= 0:
                raise InputError(f"{name} is {value!r}; it must be a positive number of milliseconds")
        rate = checked_whole(sample_rate, "sample_rate")
        hop = int(rate * stride_ms / 1000)
        if hop < 1:
            raise InputError(f"stride_ms {stride_ms:g} is less than a sample at {rate} Hz; raise it")
        super().__init__(sample_rate=rate, hop_length=hop)
        self.n_filters = checked_whole(n_filters, "n_filters")
        self.window_length = 2 * int(rate * window_len_ms / 2000) + 1
        if self.window_length < max(hop, 3):
            raise InputError(
                f"windows of {window_len_ms:g} ms leave out samples, or have only one, at {rate} Hz in steps of "
                f"{stride_ms:g} ms; raise window_len_ms"
            )
        self._options = {
            "sample_rate": rate,
            "n_filters": self.n_filters,
            "window_len_ms": float(window_len_ms),
            "stride_ms": float(stride_ms),
        }

    def num_frames(self, num_samples: int) -> int:
        """Return how many frames ``forward`` makes of so many samples: one for each hop begun, as masks have."""
        return -(-num_samples // self.hop_length)

    def forward(self, audio: Tensor) -> Tensor:
        """Return the features of audio, (batch, channel, filter, frame).

        Raises:
            InputError: The audio is not (batch, channel, time) of floats, or the module was cast to half precision.
        """
        if audio.ndim != 3 or not audio.is_floating_point():
            raise InputError(
                f"audio is {audio.dtype} of shape {tuple(audio.shape)}; give floats, (batch, channel, time)"
            )
        dtype = next(self.parameters()).dtype
        if dtype not in (torch.float32, torch.float64):
            raise InputError(f"filters in {dtype} would lose the quiet bands; keep this module in float32")
        num_batch, num_channels, time = audio.shape
        shape = num_batch, num_channels, self.n_filters, self.num_frames(time)
        if not all(shape):
            return audio.new_empty(shape, dtype=dtype)
        with torch.autocast(audio.device.type, enabled=False):
            features = self.of_rows(audio.to(dtype).reshape(num_batch * num_channels, time))
        return features.reshape(shape)

    def of_rows(self, rows: Tensor) -> Tensor:
        """Return the features of rows, (row, time), in the parameters' dtype, as (row, filter, frame)."""
        raise NotImplementedError

    def effective(self) -> dict[str, Tensor]:
        """Return what is computed with: the parameters within their bounds, by name."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """Return the kind and the options, as plain JSON values; what was learned is in the ``state_dict``."""
        return super().config()
