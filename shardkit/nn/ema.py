"""Exponential moving averages over frames, without a step for each frame.

    M[t] = (1 - s) · M[t-1] + s · x[t]

Frames are taken 64 at a time. Inside of a chunk the average is a product with a triangular matrix of decays; what goes
from chunk to chunk is the same recurrence with one frame for each chunk, and taken in the same way:

    frames    x0 x1 ... x63 | x64 ... x127 | x128 ...        chunk · | 1             |
    chunks    └─ triangle ─┘  └─ triangle ─┘                         | d    1        |      d = 1 - s
    carries               c0 ─►          c1 ─►                       | d²   d    1   |

Nothing is divided by a decay and all weights lie in [0, 1]; these are computed in float64 and rounded once, since in
float32 the powers of 1 - 0.0001 would be off by a thousandth of what s weighs. So the result is as exact as the loop's.
A minute of frames takes two products, on any device, where a loop takes 6,000 steps.
"""

import torch
from torch import Tensor, nn

from shardkit.core.checks import is_number
from shardkit.core.errors import InputError

_CHUNK = 64


def ema(x: Tensor, s: float | Tensor, *, initial: Tensor | None = None) -> Tensor:
    """Return the exponential moving average of each band.

    Differentiable in ``x``, ``s`` and ``initial``. A NaN spreads to all later frames of its band, as it would in the
    recurrence, and may spread to some earlier ones, but to no other band.

    Args:
        x: (..., band, frame), floats; what is in half precision is computed, and returned, in float32.
        s: Weight of the new frame, from 0 to 1: a number, a tensor of one, or (band,). Tensors are not checked for
            their range, because the device would have to be waited for.
        initial: What stands before the first frame, (..., band); None: the first frame, so that M[0] = x[0].

    Returns:
        Averages, in the shape of ``x``.

    Raises:
        InputError: ``s`` is out of range, or of a shape that does not fit.

    Source:
        Blelloch (1990), "Prefix sums and their applications", section 1.4, for recurrences as scans.

    >>> ema(torch.tensor([[1.0, 0.0, 0.0]]), 0.5)
    tensor([[1.0000, 0.5000, 0.2500]])
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    weight: float | Tensor
    with torch.autocast(x.device.type, enabled=False):
        x = x.to(dtype)
        if isinstance(s, Tensor):
            if s.shape not in ((), (1,), x.shape[-2:-1]):
                raise InputError(f"s has shape {tuple(s.shape)}; give a number or one for each of {x.shape[-2]} bands")
            s = s.double().squeeze() if s.numel() == 1 else s.double()
            weight, decay = s.to(dtype).unsqueeze(-1), 1.0 - s
        elif is_number(s) and 0.0 <= s <= 1.0:
            weight, decay = s, torch.full((), 1.0 - s, dtype=torch.float64, device=x.device)
        else:
            raise InputError(f"s is {s!r}; it must be from 0 to 1, like 0.025")
        if x.shape[-1] == 0:
            return x
        initial = x[..., 0] if initial is None else initial.to(dtype)
        return _scan(x * weight, decay, initial)


def _scan(x: Tensor, decay: Tensor, initial: Tensor) -> Tensor:
    """Return y[t] = decay · y[t-1] + x[t], y[-1] = initial; x is (..., band, frame), decay () or (band,)."""
    num_frames = x.shape[-1]
    size = min(_CHUNK, num_frames)
    num_chunks = -(-num_frames // size)
    steps = torch.arange(size, device=x.device)
    lags = (steps.unsqueeze(-1) - steps).clamp(min=0)
    triangle = torch.tril(decay[..., None, None] ** lags).to(x.dtype)
    chunks = nn.functional.pad(x, (0, num_chunks * size - num_frames)).reshape(*x.shape[:-1], num_chunks, size)
    inside = torch.einsum("...bcj,bij->...bci" if decay.ndim else "...bcj,ij->...bci", chunks, triangle)
    carries = initial.unsqueeze(-1)  # what stands before each chunk, (..., band, chunk)
    if num_chunks > 1:
        ends = _scan(inside[..., :-1, -1], decay**size, initial)
        carries = torch.cat([carries, ends], dim=-1)
    fading = (decay[..., None] ** (steps + 1)).to(x.dtype)  # (step,) or (band, step)
    result = inside + carries.unsqueeze(-1) * fading.unsqueeze(-2)
    return result.flatten(-2)[..., :num_frames]
