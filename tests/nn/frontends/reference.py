"""LEAF, sPCEN and SincNet written down as their papers and audax define them, in float64, loop by loop."""

import math

import torch
from torch import Tensor


def same_padding(time: int, window: int, stride: int) -> tuple[int, int]:
    """Return what "SAME" adds on the left and the right; only where the stride divides the time is it ours too."""
    total = max((math.ceil(time / stride) - 1) * stride + window - time, 0)
    return total // 2, total - total // 2


def gabor(eta: Tensor, sigma: Tensor, window: int) -> list[Tensor]:
    t = torch.arange(-(window // 2), window // 2 + 1, dtype=torch.float64)
    taps = torch.exp(-(t**2) / (2 * sigma**2)) * torch.exp(1j * (eta * t)) / (math.sqrt(2 * math.pi) * sigma)
    return [taps.real, taps.imag]


def convolved(samples: Tensor, taps: Tensor) -> Tensor:
    """Return a filter's response at each sample, "SAME" padding."""
    window, padded = len(taps), torch.nn.functional.pad(samples, (len(taps) // 2, len(taps) // 2))
    return torch.stack([padded[index : index + window] @ taps for index in range(len(samples))])


def spcen(energies: Tensor, alpha: Tensor, delta: Tensor, root: Tensor, smoothing: Tensor) -> Tensor:
    """sPCEN of (band, frame)."""
    average, frames = energies[:, 0], []
    for t in range(energies.shape[1]):
        average = (1 - smoothing) * average + smoothing * energies[:, t]
        frames.append((energies[:, t] / (1e-12 + average) ** alpha + delta) ** (1 / root) - delta ** (1 / root))
    return torch.stack(frames, dim=1)


def leaf(samples: Tensor, eta: Tensor, sigma: Tensor, pool: Tensor, *, window: int, stride: int) -> Tensor:
    """LEAF's energies of (time,), before compression, (filter, frame)."""
    left, right = same_padding(len(samples), window, stride)
    t, rows = torch.arange(window, dtype=torch.float64), []
    for band in range(len(eta)):
        real, imaginary = (convolved(samples, taps) for taps in gabor(eta[band], sigma[band], window))
        power = torch.nn.functional.pad(real**2 + imaginary**2, (left, right))
        weights = torch.exp(-0.5 * ((t - (window - 1) / 2) / (pool[band] * (window - 1) / 2)) ** 2)
        starts = range(0, len(power) - window + 1, stride)
        rows.append(torch.stack([power[start : start + window] @ weights for start in starts]))
    return torch.stack(rows).clamp(min=1e-5)


def band_pass(low: Tensor, high: Tensor, window: int, rate: int) -> Tensor:
    """Difference of two sincs over its maximum, in a Hamming window."""
    taps = []
    for n in range(-(window // 2), window // 2 + 1):
        t = n / rate
        if n == 0:
            taps.append(2 * high - 2 * low)
        else:
            taps.append((torch.sin(2 * math.pi * high * t) - torch.sin(2 * math.pi * low * t)) / (math.pi * t))
    found = torch.stack(taps)
    hamming = [0.54 - 0.46 * math.cos(2 * math.pi * n / (window - 1)) for n in range(window)]
    return found / found.max() * torch.tensor(hamming, dtype=torch.float64)


def sincnet(samples: Tensor, low_hz: Tensor, band_hz: Tensor, *, window: int, stride: int, rate: int) -> Tensor:
    """SincNet's pooled responses of (time,), before the layer norm, (filter, frame)."""
    left, right = same_padding(len(samples), window, stride)
    rows = []
    for band in range(len(low_hz)):
        low = 50.0 + low_hz[band].abs()
        high = (low + 50.0 + band_hz[band].abs()).clamp(50.0, rate / 2)
        response = convolved(samples, band_pass(low, high, window, rate))
        response = torch.nn.functional.leaky_relu(response, 0.2)
        padded = torch.nn.functional.pad(response, (left, right), value=-math.inf)
        starts = range(0, len(padded) - window + 1, stride)
        rows.append(torch.stack([padded[start : start + window].max() for start in starts]))
    return torch.stack(rows).clamp(min=1e-5)


def layer_norm(features: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Layer norm of (filter, frame) over the filters, as flax computes it."""
    mean, variance = features.mean(dim=0), features.var(dim=0, correction=0)
    return (features - mean) / torch.sqrt(variance + 1e-6) * scale[:, None] + shift[:, None]
