"""Parameters that stay within bounds whatever an optimiser does to them.

    effective  ▲         ╭────────      The stored value may leave the bounds; what is computed with is clamped.
          high ┤        ╱               Outside, plain clamping has no gradient, and a value once outside would stay
               │       ╱                there for ever. Here the gradient passes wherever a step down it would lead
           low ┤──────╯                 back: it is that of a projection, not of the clamp.
               └──────┴─┴──────► stored

So nothing has to be called after a step, and an optimiser's own copies (momenta, averages) need not know.
"""

from typing import Any

import torch
from torch import Tensor


def bounded(values: Tensor, low: float | None, high: float | None) -> Tensor:
    """Return values clamped to [low, high], with gradients that lead back from outside.

    Args:
        values: Any shape; NaN stays NaN.
        low: Least; None: none.
        high: Most; None: none.

    >>> bounded(torch.tensor([-1.0, 0.5, 7.0]), 0.0, 1.0)
    tensor([0.0000, 0.5000, 1.0000])
    """
    clamped: Tensor = _Bounded.apply(values, low, high)
    return clamped


class _Bounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, low: float | None, high: float | None) -> Tensor:
        ctx.save_for_backward(values)
        ctx.low, ctx.high = low, high
        return values.clamp(min=low, max=high)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (values,), (grad,) = ctx.saved_tensors, grads
        outwards = torch.zeros_like(values, dtype=torch.bool)
        if ctx.low is not None:  # a step goes against the gradient
            outwards |= (values < ctx.low) & (grad > 0)
        if ctx.high is not None:
            outwards |= (values > ctx.high) & (grad < 0)
        return torch.where(outwards, 0.0, grad), None, None
