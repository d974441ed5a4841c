"""Band-limited reading of audio at another speed, with a speed of its own for each row.

Audio of N samples, taken as periodic, is a sum of N/2 + 1 cosines. Read at the times t · speed it is the same sum at
frequencies k · speed / N, for t = 0, 1, 2 ...: a chirp z-transform, which as

    k t = (k² + t² - (t - k)²) / 2

is a convolution with a chirp between two multiplications with one, and so three FFTs, whatever the speed is. The phases
a · m² / 2 of the chirps are computed in int64 as multiples of 2^-64 turns, which wrap exactly: in floats, the squares
would lose all of the fraction.

Source: Bluestein (1970), "A linear filtering approach to the computation of discrete Fourier transform"; Rabiner,
Schafer, Rader (1969), "The chirp z-transform algorithm".
"""

import math

import torch
from torch import Tensor

from shardkit.nn.augment.spectra import fft, good_length, ifft, product, rfft

_GUARD = 256  # silence between the end of the audio and its beginning, which periodically follows
_ROLL_OFF = 0.95  # of the new half sample rate, from where on a speed above 1 fades frequencies out


def at_speed(audio: Tensor, speeds: Tensor, num_samples: int) -> Tensor:
    """Return each row read at its own speed: sample t is the audio at time t · speed.

    Frequencies above half the new rate are left out. After the end of a row comes what rings on of it.

    Args:
        audio: (batch, channel, time).
        speeds: (batch,) float64, positive; 2 is twice as fast and an octave higher.
        num_samples: Samples to return.

    Returns:
        (batch, channel, num_samples).
    """
    if not audio.numel() or not num_samples:
        return audio.new_zeros((*audio.shape[:2], num_samples))
    length = good_length(audio.shape[-1] + _GUARD)
    length += length % 2
    bins = length // 2 + 1
    size = good_length(bins + num_samples - 1)
    index = torch.arange(size, device=audio.device)
    chirp = _chirp(speeds / length, torch.where(index < num_samples, index, size - index), audio.dtype)
    weighted = rfft(audio, length) * _weights(speeds, length, audio.dtype)[:, None]
    weighted = product(weighted, _chirp(speeds / length, index[:bins], audio.dtype)[:, None].conj())
    summed = ifft(product(fft(weighted, size), fft(chirp)[:, None]))[..., :num_samples]
    back = chirp[:, None, :num_samples]
    return summed.real * back.real + summed.imag * back.imag


def _chirp(slopes: Tensor, places: Tensor, dtype: torch.dtype) -> Tensor:
    """Return exp(-i pi · slope · place²), (batch, place)."""
    turns = (slopes * 2.0**63).long()[:, None] * places.square()  # of 2^-64
    angles = (turns >> 32).to(torch.float64 if dtype == torch.float64 else torch.float32) * (-math.tau / 2.0**32)
    return torch.complex(angles.cos(), angles.sin())


def _weights(speeds: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """Return the weight of each bin, (batch, bin): 2 / N for its two halves, none above half the new sample rate."""
    place = torch.arange(length // 2 + 1, device=speeds.device, dtype=torch.float64) / (length // 2)
    fade = ((1.0 - place * speeds[:, None]) / (1.0 - _ROLL_OFF)).clamp(0.0, 1.0)
    fade = torch.where(speeds[:, None] > 1.0, 0.5 - 0.5 * torch.cos(math.pi * fade), 1.0)
    alone = (place == 0.0) | (place == 1.0)
    return (fade * torch.where(alone, 1.0, 2.0) / length).to(dtype)
