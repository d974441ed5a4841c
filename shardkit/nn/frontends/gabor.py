"""Gabor filters: complex tones under a Gaussian, and where LEAF's begin.

centre η in radians a sample:  where the band lies            ╱▔╲
width σ in samples:            how long the filter rings     ╱   ╲      in frequency again a Gaussian, of 1 / σ
"""

import math
import warnings

import torch
from torch import Tensor

from shardkit.core.errors import InputError
from shardkit.nn.mel import mel_filters

# A Gaussian σ samples wide in time has its half maximum, in frequency, √(2 ln 2) / σ radians from its peak.
_HALF_MAXIMUM = math.sqrt(2.0 * math.log(2.0))
_N_FFT = 512  # whose bins the first filters' centres and widths are counted in, up to 16 kHz
_N_FFT_RATE = 16_000


def width_bounds(window_length: int) -> tuple[float, float]:
    """Return the least and the most width of a filter, in samples: half maxima at π / 4 and π / window_length."""
    return 4.0 * _HALF_MAXIMUM / math.pi, window_length * _HALF_MAXIMUM / math.pi


def mel_gabor(*, sample_rate: int, n_filters: int, f_min: float, f_max: float) -> tuple[Tensor, Tensor]:
    """Return centres in radians a sample and widths in samples of filters that lie as mel bands do, (filter,) each.

    The centre is the bin where a mel filter (HTK's) peaks; the width comes from how many bins reach half the peak of
    its square root.

    Raises:
        InputError: A band is so narrow that no bin lies in it.

    Source:
        Zeghidour et al. (2021), "LEAF", appendix A, as its code has it: of 512 bins at 16 kHz. At higher rates we take
        more, so that bins stay as narrow.
    """
    n_fft = _N_FFT * max(1, -(-sample_rate // _N_FFT_RATE))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of narrow bands: here they are an error
        filters = mel_filters(sample_rate=sample_rate, n_fft=n_fft, n_mels=n_filters, f_min=f_min, f_max=f_max)
    filters = filters.sqrt()
    peaks, centres = filters.max(dim=1)
    if not bool((peaks > 0).all()):
        raise InputError(
            f"{n_filters} filters from {f_min:g} to {f_max:g} Hz are narrower than {sample_rate / n_fft:g} Hz at their "
            "lower end; lower n_filters, or widen the range"
        )
    num_bins = (filters >= peaks[:, None] / 2).sum(dim=1)
    return centres * (2.0 * math.pi / n_fft), _HALF_MAXIMUM * n_fft / (math.pi * num_bins)


def gabor_kernels(centres: Tensor, widths: Tensor, window_length: int) -> Tensor:
    """Return Gabor filters, exp(-t² / 2σ²) · exp(iηt) / (√(2π) σ), their real and imaginary parts beside each other.

    Args:
        centres: η, (filter,).
        widths: σ, (filter,).
        window_length: Taps, odd; t = 0 is the middle one.

    Returns:
        (filter, 2, tap) in the dtype of ``centres``; computed in float64, since phases reach hundreds of radians.
    """
    eta, sigma = centres.double()[:, None], widths.double()[:, None]
    t = torch.arange(window_length, dtype=torch.float64, device=centres.device) - window_length // 2
    envelope = torch.exp(-0.5 * (t / sigma) ** 2) / (math.sqrt(2.0 * math.pi) * sigma)
    return torch.stack([envelope * torch.cos(eta * t), envelope * torch.sin(eta * t)], dim=1).to(centres.dtype)
