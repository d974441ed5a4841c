"""SincNet: band-pass filters of which only the two edges are learned."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from shardkit.core.checks import is_number
from shardkit.core.errors import InputError
from shardkit.nn.frontends.bounds import bounded
from shardkit.nn.frontends.filterbank import pooled_filters
from shardkit.nn.frontends.frontend import Frontend

Compression = Literal["layer_norm", "log"]

_FLOOR = 1e-5  # of pooled responses
_EPSILON = 1e-6  # of the layer norm, flax's


class SincNet(Frontend):
    """The band-pass filters of Ravanelli and Bengio, rectified, pooled and normalised.

        audio ─► band-passes ─► maximum of each window ─► at least 1e-5 ─► layer norm over the filters
                 edges in Hz

    Shape: (batch, channel, time) to (batch, channel, filter, frame), frame = ceil(time / hop_length).

    A filter passes from low = min_low_hz + |low_hz| to high = low + min_band_hz + |band_hz|, where ``low_hz`` and
    ``band_hz`` are learned. However they are trained, low is at most half the sample rate less ``min_band_hz``, and
    high at most half the sample rate; ``effective`` tells them. See ``bounds``.

    Frame i's pool is centred on the middle of samples [i·hop_length, (i+1)·hop_length), the time of frame i of
    ``Batch.masks`` if ``mask_hop`` is ``hop_length``.

    Args:
        sample_rate: Of the audio, in Hz.
        n_filters: Number of filters.
        window_len_ms: Length of filters and pools; at 16 kHz 25 ms are 401 samples. The number is always odd.
        stride_ms: From frame to frame; at 16 kHz 10 ms are 160 samples.
        min_low_hz: Least lower edge.
        min_band_hz: Least width.
        compression: ``layer_norm``: over the filters of each frame; ``log``: natural logarithm; None: responses as they
            are, at least 1e-5.

    Raises:
        InputError: An option can't be; the message says what would work.

    Source:
        Ravanelli, Bengio (2018), "Speaker recognition from raw waveform with SincNet", section 2, with the defaults of
        audax; there the filters are computed for 16 kHz whatever the rate, and low may pass high. Audax's leaky ReLU
        (0.2) is not here because it changes nothing: it keeps maxima, what it lets through of negative ones is below
        1e-5, and what is above it leaves alone. On where frames lie, see ``LEAF``.

    >>> SincNet()(torch.zeros(8, 1, 32_000)).shape
    torch.Size([8, 1, 40, 200])
    """

    window: Tensor

    def __init__(
        self,
        *,
        sample_rate: int = 16_000,
        n_filters: int = 40,
        window_len_ms: float = 25.0,
        stride_ms: float = 10.0,
        min_low_hz: float = 50.0,
        min_band_hz: float = 50.0,
        compression: Compression | None = "layer_norm",
    ) -> None:
        super().__init__(sample_rate=sample_rate, n_filters=n_filters, window_len_ms=window_len_ms, stride_ms=stride_ms)
        if compression is not None and compression not in get_args(Compression):
            raise InputError(
                f"compression is {compression!r}; choose None or one of {', '.join(get_args(Compression))}"
            )
        self.min_low_hz = _checked_hz(min_low_hz, "min_low_hz")
        self.min_band_hz = _checked_hz(min_band_hz, "min_band_hz")
        edges = self._mel_edges()
        self.low_hz = nn.Parameter(edges[:-1].float())
        self.band_hz = nn.Parameter(edges.diff().float())
        self.norm = nn.LayerNorm(self.n_filters, eps=_EPSILON) if compression == "layer_norm" else None
        self._log = compression == "log"
        # Symmetric: the last tap is as the first.
        window = torch.hamming_window(self.window_length, periodic=False, dtype=torch.float64)
        self.register_buffer("window", window, persistent=False)
        self._options |= {
            "min_low_hz": self.min_low_hz,
            "min_band_hz": self.min_band_hz,
            "compression": compression,
        }

    def of_rows(self, rows: Tensor) -> Tensor:
        """Return the features of rows, (row, time), as (row, filter, frame)."""

        def pool(responses: Tensor, left: int, right: int) -> Tensor:
            padded = nn.functional.pad(responses.squeeze(2), (left, right), value=-torch.inf)
            return nn.functional.max_pool1d(padded, self.window_length, self.hop_length)

        responses = pooled_filters(rows, self._kernels(), pool, window=self.window_length, hop=self.hop_length)
        responses = responses.clamp(min=_FLOOR)
        if self.norm is not None:
            return self.norm(responses.transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]
        return responses.log() if self._log else responses

    def effective(self) -> dict[str, Tensor]:
        """Return what is computed with: the edges of each filter in Hz, (filter,)."""
        top = self.sample_rate / 2
        low = bounded(self.min_low_hz + self.low_hz.abs(), None, top - self.min_band_hz)
        return {"low_hz": low, "high_hz": bounded(low + self.min_band_hz + self.band_hz.abs(), None, top)}

    def _kernels(self) -> Tensor:
        """Return the band-passes, (filter, 1, tap): differences of sincs, 1 in the middle, in a Hamming window.

        sin(2π·high·t) - sin(2π·low·t), over its limit for t = 0, is a sinc of the width times a cosine in the middle:
        that has neither a difference of nearly equal numbers nor a division by zero.
        """
        edges = self.effective()
        low, high = edges["low_hz"].double()[:, None], edges["high_hz"].double()[:, None]
        t = torch.arange(self.window_length, dtype=torch.float64, device=low.device) - self.window_length // 2
        t = t / self.sample_rate
        kernels = torch.sinc((high - low) * t) * torch.cos(torch.pi * (low + high) * t) * self.window
        return kernels.unsqueeze(1).to(self.low_hz.dtype)

    def _mel_edges(self) -> Tensor:
        """Return n_filters + 1 frequencies that are equally far apart in mel, in Hz."""
        first, last = self.min_low_hz, self.sample_rate / 2 - self.min_low_hz - self.min_band_hz
        if last <= first:
            raise InputError(
                f"bands above {first:g} Hz, {self.min_band_hz:g} Hz wide at least, can't be had at "
                f"{self.sample_rate} Hz; lower min_low_hz or min_band_hz"
            )
        ends = 2595.0 * torch.log10(1.0 + torch.tensor([first, last], dtype=torch.float64) / 700.0)
        mel = torch.linspace(float(ends[0]), float(ends[1]), self.n_filters + 1, dtype=torch.float64)
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


def _checked_hz(value: float, name: str) -> float:
    if not is_number(value) or value <= 0:
        raise InputError(f"{name} is {value!r}; it must be a positive number of Hz")
    return float(value)
