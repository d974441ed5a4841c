"""Log-mels as Kaldi computes them: each frame is levelled, pre-emphasised and windowed by itself.

    frame i = samples [i·hop, i·hop + win_length) ─► - mean ─► x[j] - 0.97 · x[j-1] ─► window ─► zeros to n_fft ─► DFT

Triangles are straight in mel here, where torchaudio's and librosa's mel filters are straight in Hz.
"""

import torch
from torch import Tensor

from shardkit.core.checks import checked_whole, is_number
from shardkit.core.errors import InputError
from shardkit.nn.features import Features
from shardkit.nn.framing import Framing
from shardkit.nn.mel import mel_filters
from shardkit.nn.spectra import OutDtype, as_dtype, check_out_dtype, in_rows, logarithm, powers
from shardkit.nn.windows import WindowName, named_window


class Fbank(Features):
    """Log-mel energies of audio, like Kaldi's ``compute-fbank-feats``.

    Shape: (batch, channel, time) to (batch, channel, mel, frame), frame = 1 + (time - win_length) // hop_length. Frame
    i is made of samples [i · hop_length, i · hop_length + win_length) (Kaldi's ``snip_edges``). Audio of no samples has
    no frames; audio too short for a window is extended by zeros on the right to one.

    Unlike Kaldi's: no dither, no energy as a further band, no warping of the vocal tract; frames are not mirrored at
    the ends.

    Args:
        sample_rate: Of the audio, in Hz.
        win_length: Length of the window, in samples.
        hop_length: Samples from frame to frame.
        n_fft: Length of the Fourier transform; None: the least power of two that holds a window.
        window: ``povey``, ``hann``, ``hamming``, ``blackman`` or ``rectangular``; symmetric.
        n_mels: Number of mel bands, on HTK's scale, which is Kaldi's.
        f_min: Lower edge of the lowest band, in Hz.
        f_max: Upper edge of the highest band, in Hz; None: half the sample rate.
        preemphasis: Share of the sample before that is taken from each sample of a frame; the first has itself before.
        remove_dc: Whether the mean of each frame is taken from it first.
        scale: What the audio is multiplied by first. Kaldi takes samples of int16, so models of its are given
            ``scale=32768``; torchaudio's ``fbank`` takes what it is given.
        floor: Least energy; None: float32's epsilon, as Kaldi has it.
        out_dtype: Of the result; None: what it is computed in, float32 unless the module was cast.

    Raises:
        InputError: An option can't be; the message says what would work.

    Source:
        Equal, but for rounding, to ``torchaudio.compliance.kaldi.fbank`` with ``dither=0``, ``snip_edges=True``, a
        ``frame_length`` and ``frame_shift`` of as many milliseconds, the same ``window_type`` and ``num_mel_bins``.

    >>> Fbank(sample_rate=16_000)(torch.zeros(8, 1, 32_000)).shape
    torch.Size([8, 1, 80, 198])
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self,
        *,
        sample_rate: int,
        win_length: int = 400,
        hop_length: int = 160,
        n_fft: int | None = None,
        window: WindowName = "povey",
        n_mels: int = 80,
        f_min: float = 20.0,
        f_max: float | None = None,
        preemphasis: float = 0.97,
        remove_dc: bool = True,
        scale: float = 1.0,
        floor: float | None = None,
        out_dtype: OutDtype | None = None,
    ) -> None:
        super().__init__(sample_rate=sample_rate, hop_length=hop_length)
        win_length = checked_whole(win_length, "win_length")
        n_fft = 1 << (win_length - 1).bit_length() if n_fft is None else checked_whole(n_fft, "n_fft")
        floor = torch.finfo(torch.float32).eps if floor is None else floor
        f_max = self.sample_rate / 2 if f_max is None else f_max
        _check(win_length, n_fft, preemphasis=preemphasis, scale=scale, floor=floor)
        check_out_dtype(out_dtype)
        self.n_fft, self.remove_dc, self.out_dtype = n_fft, bool(remove_dc), out_dtype
        self.preemphasis, self.scale, self.floor = float(preemphasis), float(scale), float(floor)
        self.reach = win_length
        self.framing = Framing(n_fft=win_length, hop_length=self.hop_length, center=False)
        filters = mel_filters(
            sample_rate=self.sample_rate, n_fft=n_fft, n_mels=n_mels, f_min=f_min, f_max=f_max, straight_in="mel"
        )
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", named_window(window, win_length, periodic=False), persistent=False)
        self._options |= {
            "win_length": win_length,
            "n_fft": n_fft,
            "window": window,
            "n_mels": len(filters),
            "f_min": float(f_min),
            "f_max": float(f_max),
            "preemphasis": self.preemphasis,
            "remove_dc": self.remove_dc,
            "scale": self.scale,
            "floor": self.floor,
            "out_dtype": out_dtype,
        }

    def num_frames(self, num_samples: int) -> int:
        """Return how many frames ``forward`` makes of so many samples."""
        return self.framing.num_frames(num_samples)

    def forward(self, audio: Tensor) -> Tensor:
        """Return the log-mel energies of audio, (batch, channel, mel, frame).

        Raises:
            InputError: The audio is not (batch, channel, time) of floats, or the module was cast to half precision.
        """
        return in_rows(
            audio,
            self._compute,
            framing=self.framing,
            num_bands=len(self.filters),
            dtype=self.window.dtype,
            out_dtype=self.out_dtype,
        )

    def _compute(self, rows: Tensor) -> Tensor:
        samples = self.framing.padded(rows)
        frames = samples.unfold(-1, self.framing.n_fft, self.hop_length)  # (row, frame, sample)
        if self.scale != 1.0:
            frames = frames * self.scale
        if self.remove_dc:
            frames = frames - frames.mean(dim=-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        frames = torch.sub(frames, before, alpha=self.preemphasis) * self.window
        energies = self.filters @ powers(torch.fft.rfft(frames, self.n_fft)).transpose(-1, -2)
        return as_dtype(logarithm(energies, "ln", self.floor, 2.0), self.out_dtype)


def _check(win_length: int, n_fft: int, *, preemphasis: object, scale: object, floor: object) -> None:
    if n_fft < win_length:
        raise InputError(f"n_fft is {n_fft}; it must be at least win_length, which is {win_length}")
    if not is_number(preemphasis) or not 0.0 <= preemphasis <= 1.0:  # type: ignore[operator]
        raise InputError(f"preemphasis is {preemphasis!r}; it must be from 0 to 1, like 0.97")
    for name, value in (("scale", scale), ("floor", floor)):
        if not is_number(value) or not value > 0.0:  # type: ignore[operator]
            raise InputError(f"{name} is {value!r}; it must be a number above 0")
