"""Sums that are equal to the last bit in whatever order they are made.

How a device divides a sum of floats among its threads depends on the size of the batch, and with it the rounding: one
rank of four would get another last bit than a single process. Sums of integers have no order. So values are divided by
the largest of their row, which is exact enough to be the same everywhere, and summed as multiples of 2^-31.
"""

import torch
from torch import Tensor

_STEPS = 2.0**31


def row_sums(values: Tensor) -> Tensor:
    """Return the sum of each row, (batch, ...) to (batch,) float64.

    Rounded to 2^-31 of the row's largest magnitude per value; NaN for rows that hold a value that is not finite. A row
    may have up to 2^32 values.
    """
    if values[:1].numel() == 0:
        return values.new_zeros(len(values), dtype=torch.float64)
    flat = values.reshape(len(values), -1)
    largest = flat.abs().amax(dim=1)
    scale = torch.where((largest > 0.0) & torch.isfinite(largest), largest, 1.0)
    sums = (flat / scale[:, None]).mul_(_STEPS).round_().to(torch.int64).sum(dim=1)
    return torch.where(torch.isfinite(largest), sums.double() * (scale.double() / _STEPS), float("nan"))


def mean_squares(audio: Tensor, lengths: Tensor) -> Tensor:
    """Return the power of each row over its length: the mean square of its samples, (batch,) float64.

    Args:
        audio: (batch, channel, time), zero beyond the lengths.
        lengths: Samples that are not padding, (batch,) int64; a row without any has power 0.
    """
    return row_sums(audio.square()) / (lengths.clamp(min=1) * max(1, audio.shape[1]))
