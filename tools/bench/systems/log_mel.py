"""Log-mel energies in plain torch, for all systems that bring none of their own: the same work for each of them.

The operations are those of ``torchaudio.transforms.MelSpectrogram`` with its defaults, which can't be imported beside
every build of torch; a test compares them.
"""

from collections.abc import Callable
from typing import Any

import torch

N_FFT, HOP, MELS, FLOOR = 1024, 320, 64, 1e-10


def log_mel(rate: int) -> Callable[[Any], torch.Tensor]:
    """Return what makes (batch, channel, mel, frame) of (batch, channel, time), a tensor or an array, at a rate."""
    window, filters = torch.hann_window(N_FFT), _filters(rate)

    @torch.no_grad()
    def features(audio: Any) -> torch.Tensor:
        samples = torch.as_tensor(audio)
        spectrum = torch.stft(samples.flatten(0, 1), N_FFT, HOP, window=window, return_complex=True, center=True)
        mels = torch.matmul(spectrum.abs().pow(2.0).transpose(-1, -2), filters).transpose(-1, -2)
        return mels.clamp(min=FLOOR).log().unflatten(0, samples.shape[:2])

    return features


def of_shardkit(rate: int) -> torch.nn.Module:
    """Return shardkit's, with the same options."""
    from shardkit.nn import LogMel  # noqa: PLC0415  (which the peers' environments do not have)

    return LogMel(sample_rate=rate, n_fft=N_FFT, hop_length=HOP, n_mels=MELS)


def _filters(rate: int) -> torch.Tensor:
    """Return triangles on HTK's mel scale, (frequency, mel)."""
    frequencies = torch.linspace(0, rate // 2, N_FFT // 2 + 1)
    top = 2595.0 * torch.log10(torch.tensor(1.0 + rate // 2 / 700.0))
    corners = 700.0 * (10 ** (torch.linspace(0.0, float(top), MELS + 2) / 2595.0) - 1.0)
    slopes = corners.unsqueeze(0) - frequencies.unsqueeze(1)
    rise, fall = -slopes[:, :-2] / corners.diff()[:-1], slopes[:, 2:] / corners.diff()[1:]
    return torch.minimum(rise, fall).clamp(min=0.0)
