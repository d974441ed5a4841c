"""Fourier transforms that are the same for a row whatever the batch: quick lengths, transforms, products, convolution.

On a CPU two things make the last bit of a row depend on how many rows there are, and both are avoided here. MKL
computes a single transform by another algorithm than each of several; so a single one is computed twice. And torch
multiplies the last few complex numbers, those that fill no vector, with other roundings than the rest; so products are
made of real numbers. What cuFFT does in batches of different sizes was not measured: on a GPU take rows to be equal but
for float32 rounding.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def good_length(at_least: int) -> int:
    """Return the least length of 2^a · 3^b · 5^c from ``at_least`` on; FFTs of others take several times as long.

    >>> good_length(32_001)
    32400
    """
    best = 1 << max(0, at_least - 1).bit_length()
    fives = 1
    while fives < best:
        threes = fives
        while threes < best:
            twos = 1 << max(0, -(-at_least // threes) - 1).bit_length()
            best = min(best, threes * twos)
            threes *= 3
        fives *= 5
    return best


def rfft(values: Tensor, length: int | None = None) -> Tensor:
    """Return ``torch.fft.rfft`` over the last axis."""
    return _alike(lambda rows: torch.fft.rfft(rows, length), values)


def irfft(spectra: Tensor, length: int) -> Tensor:
    """Return ``torch.fft.irfft`` over the last axis."""
    return _alike(lambda rows: torch.fft.irfft(rows, length), spectra)


def fft(values: Tensor, length: int | None = None) -> Tensor:
    """Return ``torch.fft.fft`` over the last axis."""
    return _alike(lambda rows: torch.fft.fft(rows, length), values)


def ifft(spectra: Tensor) -> Tensor:
    """Return ``torch.fft.ifft`` over the last axis."""
    return _alike(torch.fft.ifft, spectra)


def product(one: Tensor, other: Tensor) -> Tensor:
    """Return the product of complex tensors, rounded alike wherever an element stands."""
    if not one.is_cpu:
        return one * other
    real = one.real * other.real - one.imag * other.imag
    return torch.complex(real, one.real * other.imag + one.imag * other.real)


def convolved(audio: Tensor, filters: Tensor, *, first: int = 0) -> Tensor:
    """Return the samples [first, first + time) of the convolution of each row with its own filter.

    Args:
        audio: (batch, channel, time).
        filters: (batch, channel or 1, tap).
        first: First sample to return.

    Returns:
        (batch, channel, time), in the dtype of the audio.
    """
    time = audio.shape[-1]
    if not audio.numel():
        return audio
    length = good_length(time + filters.shape[-1] - 1)
    spectrum = product(rfft(audio, length), rfft(filters.to(audio.dtype), length))
    return irfft(spectrum, length)[..., first : first + time].contiguous()


def _alike(transform: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    alone = rows.is_cpu and rows.shape[:-1].numel() == 1
    return transform(torch.stack((rows, rows)))[0] if alone else transform(rows)
