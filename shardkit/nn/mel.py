"""Triangular filters on a mel scale, as a matrix from the bins of a spectrum to mel bands.

    1 |    ╱╲  ╱╲  ╱        neighbours overlap: each band rises from the centre of the band below to its own
      |   ╱  ╲╱  ╲╱         and falls to the centre of the band above
    0 |__╱___╱╲__╱╲_____ Hz

Computed in float64 and rounded once to float32. torchaudio computes the same in float32, which moves a filter's edges
by up to a millionth of their frequency. Having them here, rather than from torchaudio, lets features run beside any
torch: torchaudio 2.11 does not import beside CPU-only builds.
"""

import warnings
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shardkit.core.checks import checked_whole
from shardkit.core.errors import InputError

MelScale = Literal["htk", "slaney"]
Norm = Literal["slaney"] | None

# Slaney (1998), Auditory Toolbox, version 2: linear below 1 kHz, 200/3 Hz a mel, then 27 steps for a factor of 6.4.
_SLANEY_HZ_PER_MEL = 200.0 / 3.0
_SLANEY_BREAK_HZ = 1000.0
_SLANEY_BREAK_MEL = _SLANEY_BREAK_HZ / _SLANEY_HZ_PER_MEL
_SLANEY_LOG_STEP = np.log(6.4) / 27.0


def mel_filters(
    *,
    sample_rate: int,
    n_fft: int,
    n_mels: int,
    f_min: float = 0.0,
    f_max: float | None = None,
    norm: Norm = None,
    mel_scale: MelScale = "htk",
    straight_in: Literal["hz", "mel"] = "hz",
) -> Tensor:
    """Return triangular filters whose centres are equally spaced in mel.

    Args:
        sample_rate: Of the audio, in Hz.
        n_fft: Length of the Fourier transform; its bins are ``sample_rate / n_fft`` Hz apart.
        n_mels: Number of bands.
        f_min: Lower edge of the lowest band, in Hz.
        f_max: Upper edge of the highest band, in Hz; None: half the sample rate.
        norm: None: filters peak at 1. ``slaney``: each is divided by half its width in Hz, so all have the same area.
        mel_scale: ``htk``: 2595 · log10(1 + f / 700). ``slaney``: linear below 1 kHz, logarithmic above.
        straight_in: What the triangles' sides are straight lines over: ``hz``, as in torchaudio and librosa, or
            ``mel``, as in Kaldi.

    Returns:
        Weights, (mel, bin) float32; there are n_fft // 2 + 1 bins. A band so narrow that no bin lies in it is all
        zeros, and a warning says which.

    Raises:
        InputError: An option can't be; the message says what would work.

    Source:
        Young et al., The HTK Book, section 5.6; Slaney (1998), Auditory Toolbox. Equal to
        ``torchaudio.functional.melscale_fbanks``, transposed, but for its float32 edges; where the rate or ``n_fft``
        is odd, torchaudio puts the last bin at ``sample_rate // 2``, we leave it where it is.

    >>> mel_filters(sample_rate=16_000, n_fft=400, n_mels=80).shape
    torch.Size([80, 201])
    """
    for name, size in (("sample_rate", sample_rate), ("n_fft", n_fft), ("n_mels", n_mels)):
        checked_whole(size, name)
    f_max = sample_rate / 2 if f_max is None else f_max
    _check_range(f_min, f_max, sample_rate)
    _check_choices(norm, mel_scale, straight_in)
    bins_hz = np.arange(n_fft // 2 + 1, dtype=np.float64) * (sample_rate / n_fft)
    lowest, highest = _to_mel(np.array([f_min, f_max]), mel_scale)
    edges_mel = np.linspace(lowest, highest, n_mels + 2, dtype=np.float64)
    edges_hz = _to_hz(edges_mel, mel_scale)
    if straight_in == "hz":
        weights = _triangles(bins_hz, edges_hz)
    else:
        weights = _triangles(_to_mel(bins_hz, mel_scale), edges_mel)
    _warn_of_empty_bands(weights, n_fft)
    if norm == "slaney":
        weights = weights * 2.0 / (edges_hz[2:] - edges_hz[:-2])[:, np.newaxis]
    return torch.from_numpy(weights.astype(np.float32))


def _triangles(places: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights, (band, place); band m rises from edge m to 1 at edge m + 1 and falls to edge m + 2."""
    lower, centre, upper = edges[:-2, np.newaxis], edges[1:-1, np.newaxis], edges[2:, np.newaxis]
    rising, falling = (places - lower) / (centre - lower), (upper - places) / (upper - centre)
    return np.maximum(0.0, np.minimum(rising, falling))


def _to_mel(hz: NDArray[np.float64], scale: MelScale) -> NDArray[np.float64]:
    if scale == "htk":
        return np.asarray(2595.0 * np.log10(1.0 + hz / 700.0))
    above = _SLANEY_BREAK_MEL + np.log(np.maximum(hz, _SLANEY_BREAK_HZ) / _SLANEY_BREAK_HZ) / _SLANEY_LOG_STEP
    return np.where(hz < _SLANEY_BREAK_HZ, hz / _SLANEY_HZ_PER_MEL, above)


def _to_hz(mel: NDArray[np.float64], scale: MelScale) -> NDArray[np.float64]:
    if scale == "htk":
        return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))
    above = _SLANEY_BREAK_HZ * np.exp(_SLANEY_LOG_STEP * (mel - _SLANEY_BREAK_MEL))
    return np.where(mel < _SLANEY_BREAK_MEL, mel * _SLANEY_HZ_PER_MEL, above)


def _warn_of_empty_bands(weights: NDArray[np.float64], n_fft: int) -> None:
    empty = np.flatnonzero(weights.max(axis=1) == 0.0)
    if len(empty):
        warnings.warn(
            f"{len(empty)} of {len(weights)} mel bands, the first of them band {empty[0]}, are narrower than a bin of "
            f"n_fft={n_fft} and will always be at the floor; raise n_fft or lower n_mels",
            stacklevel=5,  # past this function, mel_filters, MelSpectrogram and LogMel, to who chose the options
        )


def _check_range(f_min: float, f_max: float, sample_rate: int) -> None:
    if not 0.0 <= f_min < f_max <= sample_rate / 2:
        raise InputError(
            f"mel bands from {f_min:g} to {f_max:g} Hz can't be had at {sample_rate} Hz; "
            f"give 0 <= f_min < f_max <= {sample_rate / 2:g}"
        )


def _check_choices(norm: object, mel_scale: object, straight_in: object) -> None:
    if norm not in (None, "slaney"):
        raise InputError(f"norm is {norm!r}; choose None or 'slaney'")
    if mel_scale not in ("htk", "slaney"):
        raise InputError(f"mel_scale is {mel_scale!r}; choose 'htk' or 'slaney'")
    if straight_in not in ("hz", "mel"):
        raise InputError(f"straight_in is {straight_in!r}; choose 'hz' or 'mel'")
