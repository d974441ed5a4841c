"""LEAF: Gabor filters, their energies pooled by Gaussians, sPCEN; all of it learned."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from shardkit.core.errors import InputError
from shardkit.nn.frontends.bounds import bounded
from shardkit.nn.frontends.filterbank import pooled_filters
from shardkit.nn.frontends.frontend import Frontend
from shardkit.nn.frontends.gabor import gabor_kernels, mel_gabor, width_bounds
from shardkit.nn.frontends.spcen import SPCEN

Compression = Literal["spcen", "log"]

_FLOOR = 1e-5  # of pooled energies
_POOL_WIDTH = 0.4  # of half a window, at first
_F_MAX = 7_800.0


class LEAF(Frontend):
    """The learnable audio frontend of Zeghidour et al.

        audio ─► Gabor filters ─► |·|² ─► Gaussian pool each stride ─► at least 1e-5 ─► sPCEN
                 η, σ                     s                                              α, δ, r, s

    Shape: (batch, channel, time) to (batch, channel, filter, frame), frame = ceil(time / hop_length).

    Frame i's pool is centred on the middle of samples [i·hop_length, (i+1)·hop_length), those of frame i of
    ``Batch.masks`` if ``mask_hop`` is ``hop_length``; beyond the audio are zeros. However it is trained, what is
    computed with is within centres in [0, π] radians a sample, widths in [4, window_length] · √(2 ln 2) / π samples,
    pool widths in [2 / window_length, 0.5] half windows, and the bounds of ``SPCEN``; ``effective`` tells it. See
    ``bounds``.

    Args:
        sample_rate: Of the audio, in Hz.
        n_filters: Number of filters.
        window_len_ms: Length of filters and pools; at 16 kHz 25 ms are 401 samples. The number is always odd.
        stride_ms: From frame to frame; at 16 kHz 10 ms are 160 samples.
        f_min: Lower edge of the lowest band at first, in Hz.
        f_max: Upper edge of the highest band at first, in Hz; None: 7,800 Hz, or half the sample rate if that is less.
        compression: ``spcen``; ``log``: natural logarithm; None: energies as they are, at least 1e-5.

    Raises:
        InputError: An option can't be; the message says what would work.

    Source:
        Zeghidour, Teboul, de Chaumont Quitry, Tagliasacchi (2021), "LEAF: a learnable frontend for audio
        classification", with the defaults of audax. Where the stride divides the time, frames lie where "SAME" padding
        puts them; where not, that would shift all of them by up to half a stride, depending on the length.

    >>> LEAF()(torch.zeros(8, 1, 32_000)).shape
    torch.Size([8, 1, 40, 200])
    """

    def __init__(
        self,
        *,
        sample_rate: int = 16_000,
        n_filters: int = 40,
        window_len_ms: float = 25.0,
        stride_ms: float = 10.0,
        f_min: float = 60.0,
        f_max: float | None = None,
        compression: Compression | None = "spcen",
    ) -> None:
        super().__init__(sample_rate=sample_rate, n_filters=n_filters, window_len_ms=window_len_ms, stride_ms=stride_ms)
        if compression is not None and compression not in get_args(Compression):
            raise InputError(
                f"compression is {compression!r}; choose None or one of {', '.join(get_args(Compression))}"
            )
        f_max = min(_F_MAX, self.sample_rate / 2) if f_max is None else f_max
        centres, widths = mel_gabor(sample_rate=self.sample_rate, n_filters=self.n_filters, f_min=f_min, f_max=f_max)
        self.centres = nn.Parameter(centres)
        self.widths = nn.Parameter(widths)
        self.pool_widths = nn.Parameter(torch.full((self.n_filters,), _POOL_WIDTH))
        self.spcen = SPCEN(self.n_filters) if compression == "spcen" else None
        self._log = compression == "log"
        self._options |= {"f_min": float(f_min), "f_max": float(f_max), "compression": compression}

    def of_rows(self, rows: Tensor) -> Tensor:
        """Return the features of rows, (row, time), as (row, filter, frame)."""
        centres, widths, pool_widths = self._filters()
        gaussians = _gaussians(pool_widths, self.window_length)

        def pool(responses: Tensor, left: int, right: int) -> Tensor:
            power = nn.functional.pad(responses.square().sum(dim=2), (left, right))
            return nn.functional.conv1d(power, gaussians, stride=self.hop_length, groups=self.n_filters)

        kernels = gabor_kernels(centres, widths, self.window_length)
        energies = pooled_filters(rows, kernels, pool, window=self.window_length, hop=self.hop_length)
        energies = energies.clamp(min=_FLOOR)
        if self.spcen is not None:
            return self.spcen(energies)  # type: ignore[no-any-return]
        return energies.log() if self._log else energies

    def effective(self) -> dict[str, Tensor]:
        """Return what is computed with: the parameters within their bounds, (filter,) each, by name."""
        found = dict(zip(("centres", "widths", "pool_widths"), self._filters(), strict=True))
        return found if self.spcen is None else found | self.spcen.effective()

    def _filters(self) -> tuple[Tensor, Tensor, Tensor]:
        return (
            bounded(self.centres, 0.0, torch.pi),
            bounded(self.widths, *width_bounds(self.window_length)),
            bounded(self.pool_widths, 2.0 / self.window_length, 0.5),
        )


def _gaussians(pool_widths: Tensor, window_length: int) -> Tensor:
    """Return Gaussians that peak at 1, as kernels of a convolution by filter, (filter, 1, tap)."""
    half = 0.5 * (window_length - 1)
    t = torch.arange(window_length, dtype=pool_widths.dtype, device=pool_widths.device) - half
    return torch.exp(-0.5 * (t / (pool_widths[:, None] * half)) ** 2).unsqueeze(1)
