"""Counter-based randomness on the device: every number is a function of its key, and no generator has a state.

    (seed, purpose, index, position) ─► 64 bits ─► uniform number, choice, key of a field of normal numbers
     on the host, once ──────────┘  └─ on the device, for all rows at once

The bits are those of ``shardkit.core.random``: int64 wraps modulo 2^64 in torch as uint64 does in NumPy, on every
device, and nothing here reads a value back. Where a position has several views, the upper half of the index counts the
rows that stand side by side: they draw independently, and the first one draws what ``core.random`` would.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor

from shardkit.core.errors import InputError
from shardkit.core.random import check_seed, hash_int, key_of

_VIEW = 1 << 32  # between the indices of one view and those of the next
FIELD = 1 << 16  # index of the key of a field of numbers, out of the way of those that are drawn one by one
_CELLS = 4096  # of a table of quantiles; the distribution function is met exactly at their edges


def _signed(word: int) -> int:
    """Return the int64 of the same 64 bits."""
    return (word & (1 << 64) - 1) - ((word & 1 << 63) << 1)


# The constants of core/random.py, as int64.
_GAMMA, _MULTIPLIER_1, _MULTIPLIER_2 = map(_signed, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def hash64(*words: int | Tensor) -> Tensor:
    """Return ``shardkit.core.random.hash64`` of the words, as int64 of the same bits.

    Args:
        words: Integers and int64 tensors, broadcast against each other; at least one is a tensor.

    Returns:
        One hash per element of the broadcast shape, on the tensors' device.

    Raises:
        InputError: No word is a tensor, or one is of another dtype.

    >>> hash64(torch.tensor([0])).item() == 0xE220A8397B1DCDAF - 2**64
    True
    """
    first = next((place for place, word in enumerate(words) if isinstance(word, Tensor)), None)
    if first is None:
        raise InputError("hash64 of shardkit.nn needs a tensor; for integers alone use shardkit.core.random.hash_int")
    tensors = [word for word in words if isinstance(word, Tensor)]
    if any(tensor.dtype != torch.int64 for tensor in tensors):
        raise InputError(f"hash64 takes int64 tensors, not {[str(tensor.dtype) for tensor in tensors]}; convert them")
    # Leading integers are folded on the host.
    state = _mix(tensors[0] ^ (_signed(hash_int(*words[:first])) if first else 0))  # type: ignore[arg-type]
    for word in words[first + 1 :]:
        state = _mix(state ^ (word if isinstance(word, Tensor) else _signed(word)))
    return state


def uniform(
    seed: int, positions: Tensor, purpose: str, index: int = 0, *, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Return one uniform number in [0, 1) for each position: in float64 exactly ``shardkit.core.random.uniform``'s.

    Args:
        seed: Any integer in [0, 2^63).
        positions: Positions of the stream, int64.
        purpose: What the number decides; different purposes are independent.
        index: Distinguishes several numbers for one position and purpose.
        dtype: float64: multiples of 2^-53; float32: of 2^-24, from the same bits.

    Returns:
        In the shape and on the device of ``positions``.
    """
    return _unit_interval(hash64(check_seed(seed), key_of(purpose), index, positions), dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """The random numbers of one purpose for the rows of a batch.

    Attributes:
        seed: Any integer in [0, 2^63).
        purpose: What the numbers decide.
        positions: Of the rows, (batch,) int64.
        views: Rows of one position that stand side by side.
    """

    seed: int
    purpose: str
    positions: Tensor
    views: int = 1

    def keys(self, num: int = 1, *, first: int = 0) -> Tensor:
        """Return 64 random bits of each row for the indices [first, first + num), (num, batch) int64."""
        rows = self.positions.reshape(-1, self.views)
        seed, purpose = check_seed(self.seed), key_of(self.purpose)
        # A tensor of the folded words would have to be copied to the device, and the host would wait for that.
        columns = [
            rows[:, view] ^ _signed(hash_int(seed, purpose, index + view * _VIEW))
            for index in range(first, first + num)
            for view in range(self.views)
        ]
        if not columns:
            return self.positions.new_empty((0, len(self.positions)))
        states = _mix(torch.stack(columns)).reshape(num, self.views, len(rows))
        return states.transpose(1, 2).reshape(num, -1)

    def uniform(self, num: int = 1, *, first: int = 0) -> Tensor:
        """Return uniform numbers in [0, 1) of each row, (num, batch) float64."""
        return _unit_interval(self.keys(num, first=first), torch.float64)


def uniform_field(keys: Tensor, num_channels: int, num_values: int) -> Tensor:
    """Return independent uniform numbers in [0, 1) for each key, (batch, channel, value) float32.

    Args:
        keys: (batch,) int64 of random bits, as ``Draws.keys`` gives them.
        num_channels: Size of the channel axis.
        num_values: Size of the last axis.
    """
    channels, values = (torch.arange(num, device=keys.device) for num in (num_channels, num_values))
    return _unit_interval(hash64(keys[:, None, None], channels[:, None], values), torch.float32)


def normal(keys: Tensor, num_channels: int, num_samples: int) -> Tensor:
    """Return a field of independent normal numbers for each key.

    The number of (key, channel, sample) does not depend on how many channels, samples or keys are asked for. 64 bits
    make two neighbours in time.

    Args:
        keys: (batch,) int64 of random bits, as ``Draws.keys`` gives them.
        num_channels: Size of the channel axis.
        num_samples: Size of the time axis.

    Returns:
        Mean 0, variance 1, at most 6.8 from zero; (batch, channel, time) float32.

    Source:
        Box, Muller (1958), "A note on the generation of random normal deviates".
    """
    channels = torch.arange(num_channels, device=keys.device)
    pairs = torch.arange(-(-num_samples // 2), device=keys.device)
    bits = hash64(keys[:, None, None], channels[:, None], pairs)
    radius = ((bits >> 32) & 0xFFFFFFFF).float().add_(0.5).mul_(2.0**-32).log_().mul_(-2.0).clamp_(min=0.0).sqrt_()
    angle = (bits & 0xFFFFFFFF).float().mul_(math.tau * 2.0**-32)
    both = torch.stack((radius * angle.cos(), radius * angle.sin()), dim=-1)
    return both.flatten(start_dim=2)[..., :num_samples].contiguous()


def integers(uniforms: Tensor, below: int | Tensor) -> Tensor:
    """Return whole numbers in [0, below), equally likely, as int64; of uniform numbers in [0, 1), float64."""
    scaled = (uniforms * below).floor().long()
    most = below - 1
    return torch.minimum(scaled, most) if isinstance(most, Tensor) else scaled.clamp(max=most)


def permutations(uniforms: Tensor) -> Tensor:
    """Return a permutation for each row, all equally likely: (num, batch) uniform numbers to (batch, num) int64."""
    return uniforms.t().argsort(dim=1, stable=True)


def beta_quantiles(alpha: float) -> Tensor:
    """Return the quantiles of Beta(alpha, alpha) at multiples of 1/4096, float64, for ``at_quantile``."""
    return torch.from_numpy(betaincinv(alpha, alpha, np.linspace(0.0, 1.0, _CELLS + 1)))


def at_quantile(quantiles: Tensor, uniforms: Tensor) -> Tensor:
    """Return what a table of quantiles makes of uniform numbers: one draw each, by inversion.

    Between the table's entries it is linear, so the distribution function is nowhere off by more than 1/4096, and no
    draw is ever rejected: one uniform number makes one draw.
    """
    place = uniforms * (len(quantiles) - 1)
    cell = place.floor().long().clamp(max=len(quantiles) - 2)
    lower, upper = quantiles[cell], quantiles[cell + 1]
    return lower + (place - cell) * (upper - lower)


def _unit_interval(bits: Tensor, dtype: torch.dtype) -> Tensor:
    kept = {torch.float64: 53, torch.float32: 24}[dtype]
    return ((bits >> (64 - kept)) & ((1 << kept) - 1)).to(dtype) * 2.0**-kept


def _mix(state: Tensor) -> Tensor:
    """Mix in place, as ``core.random`` does. A shift of int64 repeats the sign, so its upper bits are cut off."""
    state += _GAMMA
    state ^= (state >> 30) & (1 << 34) - 1
    state *= _MULTIPLIER_1
    state ^= (state >> 27) & (1 << 37) - 1
    state *= _MULTIPLIER_2
    state ^= (state >> 31) & (1 << 33) - 1
    return state
