"""Fourier transforms of whole rows: lengths that are quick to transform, and convolution."""

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
    product = torch.fft.rfft(audio, length) * torch.fft.rfft(filters.to(audio.dtype), length)
    result: Tensor = torch.fft.irfft(product, length)[..., first : first + time].contiguous()
    return result
