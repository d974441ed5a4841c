"""Per-channel energy normalisation with parameters that are learned for each band."""

import torch
from torch import Tensor, nn

from shardkit.core.checks import checked_whole, is_number
from shardkit.core.errors import InputError
from shardkit.nn.ema import ema
from shardkit.nn.frontends.bounds import bounded

_FLOOR = 1e-12
# Of delta, whose root's slope is infinite at zero; and below it there are no real roots.
_LEAST_DELTA = 1e-6


class SPCEN(nn.Module):
    """sPCEN: energies divided by a power of their own moving average, then compressed by a root.

        M[0] = x[0],  M[t] = (1 - s) · M[t-1] + s · x[t]
        y[t] = (x[t] / (1e-12 + M[t])^alpha + delta)^(1/root) - delta^(1/root)

    All four are learned for each band. However they are trained, what is computed with is within alpha in [0, 1], delta
    at least 1e-6, root at least 1, smoothing (s) in [0, 1].

    Shape: (..., band, frame) to the same.

    Args:
        num_bands: Number of bands.
        alpha: Exponent of the average, at first.
        delta: Bias, at first.
        root: Root, at first.
        smoothing: Weight of a new frame in the average, at first.

    Raises:
        InputError: A value is out of its bounds.

    Source:
        Zeghidour et al. (2021), "LEAF", section 3.3, after Wang et al. (2017). The original leaves alpha without a
        lower bound and delta without any: a negative delta has no root, and is NaN there.

    >>> SPCEN(40)(torch.rand(8, 40, 100)).shape
    torch.Size([8, 40, 100])
    """

    def __init__(
        self,
        num_bands: int,
        *,
        alpha: float = 0.96,
        delta: float = 2.0,
        root: float = 2.0,
        smoothing: float = 0.04,
    ) -> None:
        super().__init__()
        self.num_bands = checked_whole(num_bands, "num_bands")
        first = {"alpha": alpha, "delta": delta, "root": root, "smoothing": smoothing}
        for name, (low, high) in BOUNDS.items():
            if not is_number(first[name]) or not low <= first[name] <= (float("inf") if high is None else high):
                raise InputError(f"{name} is {first[name]!r}; it must be from {low:g} to {high or 'any number above'}")
            setattr(self, name, nn.Parameter(torch.full((num_bands,), float(first[name]))))

    def effective(self) -> dict[str, Tensor]:
        """Return what is computed with: the parameters within their bounds, (band,) each."""
        return {name: bounded(getattr(self, name), *bounds) for name, bounds in BOUNDS.items()}

    def forward(self, energies: Tensor) -> Tensor:
        """Return normalised energies, in the parameters' dtype.

        Raises:
            InputError: The energies are not (..., band, frame) of floats.
        """
        if energies.shape[-2:-1] != (self.num_bands,) or not energies.is_floating_point():
            raise InputError(
                f"energies are {energies.dtype} of shape {tuple(energies.shape)}; give floats, "
                f"(..., {self.num_bands}, frame)"
            )
        now = self.effective()
        alpha, delta, root = (now[name].unsqueeze(-1) for name in ("alpha", "delta", "root"))
        with torch.autocast(energies.device.type, enabled=False):
            energies = energies.to(alpha.dtype)
            average = ema(energies, now["smoothing"])
            gained = energies * torch.exp(-alpha * torch.log(_FLOOR + average))
            # (gained + delta)^(1/root) - delta^(1/root), without the difference of two that are nearly equal.
            return delta ** (1.0 / root) * torch.expm1(torch.log1p(gained / delta) / root)


BOUNDS: dict[str, tuple[float, float | None]] = {
    "alpha": (0.0, 1.0),
    "delta": (_LEAST_DELTA, None),
    "root": (1.0, None),
    "smoothing": (0.0, 1.0),
}
