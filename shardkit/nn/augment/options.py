"""Checks of the ranges that augmentations draw from, and the draws themselves."""

import math

import torch
from torch import Tensor

from shardkit.core.checks import is_number
from shardkit.core.errors import InputError


def checked_range(
    low: float, high: float, *, name: str, above: float = -math.inf, most: float = math.inf
) -> tuple[float, float]:
    """Return the bounds of a range ``min_{name}`` to ``max_{name}`` as floats.

    Raises:
        InputError: One is no number, they are the wrong way round, or one is not in (above, most].
    """
    if not is_number(low) or not is_number(high) or not above < low <= high <= most:
        limits = "".join([f", above {above:g}" * (above > -math.inf), f", at most {most:g}" * (most < math.inf)])
        raise InputError(f"min_{name} is {low!r} and max_{name} {high!r}; give numbers, the lower one first{limits}")
    return float(low), float(high)


def between(uniforms: Tensor, low: float, high: float) -> Tensor:
    """Return numbers in [low, high), equally likely; exactly ``low`` where the two are one."""
    return low + uniforms * (high - low)


def between_octaves(uniforms: Tensor, low: float, high: float) -> Tensor:
    """Return positive numbers from low to high whose logarithms are equally likely."""
    return torch.exp(between(uniforms, math.log(low), math.log(high)))


def gain_of_db(decibels: Tensor) -> Tensor:
    """Return the factor on an amplitude; 1 of 0 dB."""
    return torch.exp(decibels * (math.log(10.0) / 20.0))


def per_row(values: Tensor, audio: Tensor) -> Tensor:
    """Return one value a row as (batch, 1, 1) in the dtype of (batch, channel, time)."""
    return values.to(audio.dtype)[:, None, None]
