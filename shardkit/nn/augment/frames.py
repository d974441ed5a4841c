"""Overlapping frames of audio, their spectra, and audio made of such frames again.

torch.istft asks the device whether its windows leave holes and waits for the answer. Here the windows are known not to,
because a frame is a whole number of hops, and two at least.
"""

import torch
from torch import Tensor, nn

from shardkit.core.checks import checked_whole
from shardkit.core.errors import InputError
from shardkit.nn.augment.spectra import irfft, rfft


class Frames(nn.Module):
    """Centred Hann windows, as ``torch.stft`` and ``torch.istft`` have them; what lies outside the audio is silence.

    Args:
        n_fft: Length of a frame, in samples; even.
        overlap: Frames that each sample lies in: ``n_fft`` over the hop.

    Raises:
        InputError: An option can't be.
    """

    window: Tensor

    def __init__(self, n_fft: int, overlap: int) -> None:
        super().__init__()
        self.n_fft, self.overlap = checked_whole(n_fft, "n_fft", least=2, most=2**20), overlap
        if n_fft % (2 * overlap):
            raise InputError(f"n_fft is {n_fft}; it must be a multiple of {2 * overlap}, such as 2048")
        self.hop = n_fft // overlap
        self.register_buffer("window", torch.hann_window(n_fft, dtype=torch.float64), persistent=False)

    def spectra(self, audio: Tensor) -> Tensor:
        """Return the spectra of (batch, channel, time), (batch, channel, 1 + ceil(time / hop), bin) complex."""
        time, half = audio.shape[-1], self.n_fft // 2
        rest = -time % self.hop
        padded = nn.functional.pad(audio, (half, half + rest))
        frames = padded.unfold(-1, self.n_fft, self.hop)
        return rfft(frames * self.window.to(audio.dtype))

    def audio(self, spectra: Tensor, num_samples: int) -> Tensor:
        """Return the audio whose spectra come nearest to these, (batch, channel, num_samples).

        Source:
            Griffin, Lim (1984), "Signal estimation from modified short-time Fourier transform", equation 6.
        """
        parts = irfft(spectra, self.n_fft)
        window = self.window.to(parts.dtype)
        total = self._added(parts * window)
        weight = self._added((window.square()).expand(1, 1, parts.shape[2], -1))
        start = self.n_fft // 2
        return (total / weight.clamp(min=1e-8))[..., start : start + num_samples].contiguous()

    def _added(self, parts: Tensor) -> Tensor:
        """Return overlapping parts, (batch, channel, frame, n_fft), added up: one sum of each hop, in one order."""
        rows, channels, frames, _ = parts.shape
        total = parts.new_zeros((rows, channels, frames + self.overlap - 1, self.hop))
        for index in range(self.overlap):
            total[:, :, index : index + frames] += parts[..., index * self.hop : (index + 1) * self.hop]
        return total.reshape(rows, channels, -1)
