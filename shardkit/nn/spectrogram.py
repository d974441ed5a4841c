"""Spectrograms: magnitudes or powers of a short-time Fourier transform."""

from typing import Required, TypedDict

from torch import Tensor

from shardkit.core.checks import checked_whole
from shardkit.core.errors import InputError
from shardkit.nn.features import Features
from shardkit.nn.framing import Frames, Framing, PadMode
from shardkit.nn.spectra import OutDtype, check_out_dtype, spectra
from shardkit.nn.windows import WindowName, centred, named_window


class SpectrogramOptions(TypedDict, total=False):
    """Options of ``Spectrogram``, and of all that is made of one; its documentation says what they are."""

    sample_rate: Required[int]
    n_fft: int
    win_length: int | None
    hop_length: int
    window: WindowName
    center: bool
    pad_mode: PadMode
    frames: Frames
    power: float
    out_dtype: OutDtype | None


class Spectrogram(Features):
    """Magnitudes or powers of audio's short-time Fourier transform.

    Shape: (batch, channel, time) to (batch, channel, n_fft // 2 + 1, frame); ``num_frames`` says how many.

    Args:
        sample_rate: Of the audio, in Hz.
        n_fft: Length of the Fourier transform, in samples.
        win_length: Length of the window, centred in ``n_fft``; None: ``n_fft``.
        hop_length: Samples from frame to frame; give the stream's ``mask_hop`` the same.
        window: ``hann``, ``hamming``, ``povey``, ``blackman`` or ``rectangular``; periodic.
        center: True: frame i is centred on sample i · hop_length. False: it is made of samples
            [i · hop_length, i · hop_length + n_fft).
        pad_mode: What centred frames see beyond the ends: ``reflect``: the audio mirrored; ``constant``: zeros.
        frames: How many there are, centred. ``aligned``: ceil(time / hop_length), one for each frame of a batch's
            masks. ``whole``: time // hop_length. ``all``: as torch and torchaudio, 1 + time // hop_length (and
            1 + (time - 1) // hop_length where n_fft is odd). Not centred, there are 1 + (time - n_fft) // hop_length.
            Audio of no samples has no frames, audio too short for a window is extended by zeros on the right.
        power: 2: power; 1: magnitude.
        out_dtype: Of the result; None: what it is computed in, float32 unless the module was cast. float16 ends at
            65,504, which powers of loud audio exceed.

    Raises:
        InputError: An option can't be; the message says what would work.

    Source:
        Equal, but for rounding, to ``torchaudio.transforms.Spectrogram`` with the same options and ``frames="all"``.

    >>> import torch
    >>> Spectrogram(sample_rate=16_000, n_fft=512)(torch.zeros(8, 1, 32_000)).shape
    torch.Size([8, 1, 257, 200])
    """

    window: Tensor

    def __init__(
        self,
        *,
        sample_rate: int,
        n_fft: int = 400,
        win_length: int | None = None,
        hop_length: int = 160,
        window: WindowName = "hann",
        center: bool = True,
        pad_mode: PadMode = "reflect",
        frames: Frames = "aligned",
        power: float = 2.0,
        out_dtype: OutDtype | None = None,
    ) -> None:
        super().__init__(sample_rate=sample_rate, hop_length=hop_length)
        n_fft = checked_whole(n_fft, "n_fft")
        win_length = n_fft if win_length is None else checked_whole(win_length, "win_length")
        if win_length > n_fft:
            raise InputError(f"win_length is {win_length}; it must be from 1 to n_fft, which is {n_fft}")
        if power not in (1, 2):
            raise InputError(f"power is {power!r}; choose 1 for magnitudes or 2 for powers")
        check_out_dtype(out_dtype)
        self.framing = Framing(n_fft=n_fft, hop_length=self.hop_length, center=center, pad_mode=pad_mode, frames=frames)
        self.reach = n_fft
        self.power = float(power)
        self.out_dtype = out_dtype
        self.register_buffer("window", centred(named_window(window, win_length), n_fft), persistent=False)
        self._options |= {
            "n_fft": n_fft,
            "win_length": win_length,
            "window": window,
            "center": bool(center),
            "pad_mode": pad_mode,
            "frames": frames,
            "power": self.power,
            "out_dtype": out_dtype,
        }

    def num_frames(self, num_samples: int) -> int:
        """Return how many frames ``forward`` makes of so many samples."""
        return self.framing.num_frames(num_samples)

    def forward(self, audio: Tensor) -> Tensor:
        """Return the spectrogram of audio, (batch, channel, bin, frame).

        Raises:
            InputError: The audio is not (batch, channel, time) of floats, or the module was cast to half precision.
        """
        return spectra(audio, framing=self.framing, window=self.window, power=self.power, out_dtype=self.out_dtype)
