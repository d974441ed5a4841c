"""Per-channel energy normalisation: each band divided by its own recent level, then compressed.

    M[t] = (1 - s) · M[t-1] + s · E[t]                  M[0] = E[0]
    PCEN[t] = (E[t] / (eps + M[t])^alpha + delta)^r - delta^r

A steady background ends near (1 + delta)^r - delta^r whatever its level; what begins suddenly stands out of it.
"Channel" is the paper's word for what is called a band here.
"""

from typing import Unpack

import torch
from torch import Tensor

from shardkit.core.checks import is_number
from shardkit.core.errors import InputError
from shardkit.nn.ema import ema
from shardkit.nn.mel_spectrogram import MelOptions, MelSpectrogram
from shardkit.nn.spectra import as_dtype


class PCEN(MelSpectrogram):
    """Mel energies of audio, each band normalised by its own level; with fixed parameters.

    Shape: (batch, channel, time) to (batch, channel, mel, frame); ``num_frames`` says how many.

    Args:
        s: Weight of a new frame in the average, above 0 and at most 1. With a time constant of T frames, librosa takes
            (sqrt(1 + 4 T²) - 1) / (2 T²).
        alpha: Power of the average that is divided by, from 0 to 1; 1 takes the level out altogether.
        delta: Bias before the compression, above 0.
        r: Power of the compression, above 0 and at most 1.
        eps: Added to the average, so that silence does not divide by zero; above 0.
        scale: What energies are multiplied by first. Published parameters are for samples of int16: 2**30 makes
            powers of samples in [-1, 1] powers of such, 2**15 magnitudes.
        options: As ``MelSpectrogram`` has them.

    Raises:
        InputError: An option can't be; the message says what would work.

    Source:
        Wang et al. (2017), "Trainable frontend for robust and far-field keyword spotting", equations 1 and 2; the
        defaults are its section 3's. The average begins with the first frame, where ``librosa.pcen`` begins as after
        an infinity of ones.

    >>> import torch
    >>> PCEN(sample_rate=16_000)(torch.zeros(8, 1, 32_000)).shape
    torch.Size([8, 1, 80, 200])
    """

    def __init__(
        self,
        *,
        s: float = 0.025,
        alpha: float = 0.98,
        delta: float = 2.0,
        r: float = 0.5,
        eps: float = 1e-6,
        scale: float = 1.0,
        **options: Unpack[MelOptions],
    ) -> None:
        super().__init__(**options)
        parameters = {"s": s, "alpha": alpha, "delta": delta, "r": r, "eps": eps, "scale": scale}
        _check(parameters)
        self._pcen = {name: float(value) for name, value in parameters.items()}
        self._options |= self._pcen

    def forward(self, audio: Tensor) -> Tensor:
        """Return the normalised mel energies of audio, (batch, channel, mel, frame).

        Raises:
            InputError: The audio is not (batch, channel, time) of floats, or the module was cast to half precision.
        """
        return self.per_clip(self.per_frame(audio))

    @property
    def is_per_frame(self) -> bool:
        """False: a frame's average hears all frames before it."""
        return False

    def per_frame(self, audio: Tensor) -> Tensor:
        """Return the mel energies, (batch, channel, mel, frame)."""
        return self.energies(audio)

    def per_clip(self, features: Tensor) -> Tensor:
        """Return the normalised energies of whole clips."""
        return as_dtype(pcen(features, **self._pcen), self.out_dtype)


def pcen(
    energies: Tensor,
    *,
    s: float = 0.025,
    alpha: float = 0.98,
    delta: float = 2.0,
    r: float = 0.5,
    eps: float = 1e-6,
    scale: float = 1.0,
) -> Tensor:
    """Return energies, (..., band, frame), none negative, normalised; what ``PCEN`` computes.

    Args:
        energies: (..., band, frame), none negative.
        s: As ``PCEN`` has it, and so are the others.
        alpha: Power of the average that is divided by.
        delta: Bias before the compression.
        r: Power of the compression.
        eps: Added to the average.
        scale: What energies are multiplied by first.
    """
    energies = energies * scale if scale != 1.0 else energies
    normalized = energies * (eps + ema(energies, s)).pow(-alpha)
    # The difference of two powers would lose what is small beside delta.
    return torch.expm1(r * torch.log1p(normalized / delta)) * float(delta**r)


def _check(parameters: dict[str, float]) -> None:
    for name, value in parameters.items():
        if not is_number(value) or value < 0.0 or (value == 0.0 and name != "alpha"):
            raise InputError(f"{name} is {value!r}; it must be a number above 0")
        if name in ("s", "alpha", "r") and value > 1.0:
            raise InputError(f"{name} is {value!r}; it must be at most 1")
