"""Mel-frequency cepstral coefficients: the cosine transform of log-mels, across bands."""

import math
from typing import Literal, Unpack

import torch
from torch import Tensor

from shardkit.core.checks import checked_whole
from shardkit.core.errors import InputError
from shardkit.nn.log_mel import LogMel, LogMelOptions
from shardkit.nn.spectra import as_dtype

DctNorm = Literal["ortho"] | None


class MFCC(LogMel):
    """Mel-frequency cepstral coefficients of audio.

    Shape: (batch, channel, time) to (batch, channel, coefficient, frame); ``num_frames`` says how many.

    Args:
        n_mfcc: Number of coefficients, at most ``n_mels``.
        dct_norm: ``ortho``: an orthonormal transform (DCT-II). None: twice the sums of cosines.
        options: As ``LogMel`` has them; but ``log`` is ``db`` if not said otherwise, and then ``top_db`` is 80, as in
            torchaudio. ``normalize`` is of the log-mels that are transformed.

    Raises:
        InputError: An option can't be; the message says what would work.

    Source:
        Equal, but for rounding, to ``torchaudio.transforms.MFCC`` of one channel with the same options and
        ``frames="all"``; of several, torchaudio's ``top_db`` is below the greatest value of them all.

    >>> import torch
    >>> MFCC(sample_rate=16_000, n_mfcc=13)(torch.zeros(8, 1, 32_000)).shape
    torch.Size([8, 1, 13, 200])
    """

    dct: Tensor

    def __init__(self, *, n_mfcc: int = 40, dct_norm: DctNorm = "ortho", **options: Unpack[LogMelOptions]) -> None:
        if options.setdefault("log", "db") == "db":
            options.setdefault("top_db", 80.0)
        super().__init__(**options)
        if dct_norm not in (None, "ortho"):
            raise InputError(f"dct_norm is {dct_norm!r}; choose None or 'ortho'")
        n_mels = len(self.filters)
        n_mfcc = checked_whole(n_mfcc, "n_mfcc")
        if n_mfcc > n_mels:
            raise InputError(f"n_mfcc is {n_mfcc}; it must be at most n_mels, which is {n_mels}")
        self.register_buffer("dct", cosines(n_mfcc, n_mels, dct_norm), persistent=False)
        self._options |= {"n_mfcc": n_mfcc, "dct_norm": dct_norm}

    def forward(self, audio: Tensor) -> Tensor:
        """Return the cepstral coefficients of audio, (batch, channel, coefficient, frame).

        Raises:
            InputError: The audio is not (batch, channel, time) of floats, or the module was cast to half precision.
        """
        return self.per_clip(self.per_frame(audio))

    @property
    def is_per_frame(self) -> bool:
        """False: the transform comes after what may look at whole clips."""
        return False

    def per_frame(self, audio: Tensor) -> Tensor:
        """Return the log-mel energies before anything looks at whole clips, (batch, channel, mel, frame)."""
        return self._log_mels(audio, None)

    def per_clip(self, features: Tensor) -> Tensor:
        """Return the cepstral coefficients of what ``per_frame`` made of whole clips."""
        with torch.autocast(features.device.type, enabled=False):
            return as_dtype(self.dct @ self._leveled(features), self.out_dtype)


def cosines(num_coefficients: int, num_bands: int, norm: DctNorm) -> Tensor:
    """Return the matrix of a DCT-II, (coefficient, band), float32."""
    order = torch.arange(num_coefficients, dtype=torch.float64).unsqueeze(-1)
    places = torch.arange(num_bands, dtype=torch.float64) + 0.5
    matrix = 2.0 * torch.cos(torch.pi / num_bands * order * places)
    if norm == "ortho":
        matrix *= math.sqrt(0.5 / num_bands)
        matrix[0] *= math.sqrt(0.5)
    return matrix.float()
