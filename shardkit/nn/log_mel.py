"""Log-mel features, with frames that line up with a batch's masks.

Frame i is centred on sample i · hop, as every centred STFT's is, and stands for samples [i·hop, (i+1)·hop), as the
frames of ``Batch.masks`` do:

    samples   |0 . . . |hop . . . |2·hop . . . |3·hop . .|        time = 3·hop + 3
    masks     |   0    |    1     |     2      |    3    |        ceil(time / hop) = 4 frames
    windows   ^0       ^1         ^2           ^3

A centred STFT has 1 + time // hop frames: as many, unless time is a multiple of hop, and then one more, centred on the
end of the audio. It is dropped, as Whisper drops it (openai/whisper, ``log_mel_spectrogram``).
"""

from typing import Literal

import torch
from torch import Tensor, nn

from shardkit.core.checks import checked_whole
from shardkit.core.errors import InputError
from shardkit.nn.mel import MelScale, mel_filters

# Values of windowed frames that each thread of a CPU works on at once. What lies between the steps then fits its caches
# and is memory that the process has already: a batch in one piece takes four times as long, mostly in page faults.
_AT_ONCE = 1 << 20


class LogMel(nn.Module):
    """Log-mel energies of audio.

    Shape: (batch, channel, time) to (batch, channel, mel, frame), frame = ceil(time / hop_length).

    It computes in float32 under autocast too, because half precision can't hold both the loud and the quiet bands of
    a spectrum. Its window and filters follow ``.to(device)`` and ``.double()``, and are in no ``state_dict``: they
    follow from the options.

    Args:
        sample_rate: Of the audio, in Hz.
        n_fft: Length of the Fourier transform, in samples.
        win_length: Length of the Hann window, centred in ``n_fft``; None: ``n_fft``.
        hop_length: Samples from frame to frame; give the stream's ``mask_hop`` the same.
        n_mels: Number of mel bands.
        f_min: Lower edge of the lowest band, in Hz.
        f_max: Upper edge of the highest band, in Hz; None: half the sample rate.
        norm: None: filters peak at 1. ``slaney``: all filters have the same area.
        mel_scale: ``htk`` or ``slaney``.
        floor: Least power; what is below it becomes it, so that silence has a logarithm.

    Raises:
        InputError: An option can't be; the message says what would work.

    Source:
        Equal, but for rounding, to the logarithm of ``torchaudio.transforms.MelSpectrogram`` with the same options,
        frames cut as said above.

    >>> LogMel(sample_rate=16_000)(torch.zeros(8, 1, 32_000)).shape
    torch.Size([8, 1, 80, 200])
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self,
        *,
        sample_rate: int,
        n_fft: int = 400,
        win_length: int | None = None,
        hop_length: int = 160,
        n_mels: int = 80,
        f_min: float = 0.0,
        f_max: float | None = None,
        norm: Literal["slaney"] | None = None,
        mel_scale: MelScale = "htk",
        floor: float = 1e-10,
    ) -> None:
        super().__init__()
        filters = mel_filters(
            sample_rate=sample_rate,
            n_fft=n_fft,
            n_mels=n_mels,
            f_min=f_min,
            f_max=f_max,
            norm=norm,
            mel_scale=mel_scale,
        )
        self.sample_rate = sample_rate
        self.hop_length = hop_length
        self.floor = floor
        self.register_buffer("window", _centred_hann(win_length, n_fft), persistent=False)
        self.register_buffer("filters", filters, persistent=False)
        _check(hop_length, floor)

    def forward(self, audio: Tensor) -> Tensor:
        """Return the log-mel energies of audio, (batch, channel, mel, frame).

        Raises:
            InputError: The audio is not (batch, channel, time) of floats, or the module was cast to half precision.
        """
        return log_mel(audio, window=self.window, filters=self.filters, hop_length=self.hop_length, floor=self.floor)

    def extra_repr(self) -> str:
        """Return the options that ``print`` shows."""
        n_mels, n_fft = len(self.filters), len(self.window)
        return f"sample_rate={self.sample_rate}, n_fft={n_fft}, hop_length={self.hop_length}, n_mels={n_mels}"


def log_mel(audio: Tensor, *, window: Tensor, filters: Tensor, hop_length: int, floor: float = 1e-10) -> Tensor:
    """Return log-mel energies, one column a hop; what ``LogMel`` computes.

    The audio is mirrored at its ends, as a centred STFT does by default. Mirroring needs more than half a window, so
    shorter audio is first extended by zeros on the right; the number of frames stays that of the audio as given.

    Args:
        audio: (batch, channel, time), floats in [-1, 1].
        window: (n_fft,) float32 or float64; what is computed is of this dtype, under autocast too.
        filters: (mel, n_fft // 2 + 1), as ``mel_filters`` gives them.
        hop_length: Samples from frame to frame.
        floor: Least power.

    Returns:
        Natural log of power, (batch, channel, mel, frame), frame = ceil(time / hop_length), in the window's dtype.

    Raises:
        InputError: The audio is not (batch, channel, time) of floats, or the window is of half precision.
    """
    if audio.ndim != 3 or not audio.is_floating_point():
        raise InputError(f"audio is {audio.dtype} of shape {tuple(audio.shape)}; give floats, (batch, channel, time)")
    if window.dtype not in (torch.float32, torch.float64):
        raise InputError(f"log-mel in {window.dtype} would lose the quiet bands; keep this module in float32")
    num_batch, num_channels, time = audio.shape
    n_fft, num_frames = len(window), -(-time // hop_length)
    num_rows = rows_at_once = num_batch * num_channels
    if num_rows == 0:  # which torch.stft does not take
        return audio.new_empty((num_batch, num_channels, len(filters), num_frames), dtype=window.dtype)
    if audio.device.type == "cpu":
        rows_at_once = max(1, torch.get_num_threads() * _AT_ONCE // max(1, num_frames * n_fft))
    with torch.autocast(audio.device.type, enabled=False):
        samples = audio.to(window.dtype).reshape(num_rows, time)
        samples = nn.functional.pad(samples, (0, max(0, n_fft // 2 + 1 - time)))
        parts = (_power(part, window, hop_length, num_frames) for part in torch.split(samples, rows_at_once))
        energies = torch.cat([(filters @ power).clamp(min=floor).log() for power in parts])
    return energies.reshape(num_batch, num_channels, len(filters), num_frames)


def _power(samples: Tensor, window: Tensor, hop_length: int, num_frames: int) -> Tensor:
    """Return the power spectra of samples, (row, time), as (row, bin, frame)."""
    spectrum = torch.stft(samples, len(window), hop_length, window=window, center=True, return_complex=True)
    # stft gives a view whose bins lie side by side in memory. A sum over the last axis of two takes twice as long.
    real, imaginary = torch.view_as_real(spectrum[..., :num_frames].transpose(-1, -2)).unbind(-1)
    return real.square().addcmul(imaginary, imaginary).transpose(-1, -2)


def _centred_hann(win_length: int | None, n_fft: int) -> Tensor:
    """Return a periodic Hann window in the middle of ``n_fft`` samples, where torch.stft puts a shorter window."""
    length = n_fft if win_length is None else checked_whole(win_length, "win_length")
    if length > n_fft:
        raise InputError(f"win_length is {length}; it must be from 1 to n_fft, which is {n_fft}")
    left = (n_fft - length) // 2
    return nn.functional.pad(torch.hann_window(length), (left, n_fft - length - left))


def _check(hop_length: int, floor: float) -> None:
    checked_whole(hop_length, "hop_length")
    if not 0.0 < floor < float("inf"):
        raise InputError(f"floor is {floor:g}; it must be a positive power, like 1e-10")
