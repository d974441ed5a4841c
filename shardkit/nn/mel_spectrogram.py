"""Mel spectrograms: energies of a spectrogram in bands that are equally wide to the ear."""

from typing import Unpack

from torch import Tensor

from shardkit.nn.mel import MelScale, Norm, mel_filters
from shardkit.nn.spectra import OutDtype, spectra
from shardkit.nn.spectrogram import Spectrogram, SpectrogramOptions


class MelOptions(SpectrogramOptions, total=False):
    """Options of ``MelSpectrogram``, and of all that is made of one; its documentation says what they are."""

    n_mels: int
    f_min: float
    f_max: float | None
    norm: Norm
    mel_scale: MelScale


class MelSpectrogram(Spectrogram):
    """Mel energies of audio.

    Shape: (batch, channel, time) to (batch, channel, mel, frame); ``num_frames`` says how many.

    Args:
        n_mels: Number of mel bands.
        f_min: Lower edge of the lowest band, in Hz.
        f_max: Upper edge of the highest band, in Hz; None: half the sample rate.
        norm: None: filters peak at 1. ``slaney``: all filters have the same area.
        mel_scale: ``htk`` or ``slaney``.
        options: As ``Spectrogram`` has them: ``sample_rate``, ``n_fft``, ``win_length``, ``hop_length``, ``window``,
            ``center``, ``pad_mode``, ``frames``, ``power``, ``out_dtype``.

    Raises:
        InputError: An option can't be; the message says what would work.

    Source:
        Equal, but for rounding, to ``torchaudio.transforms.MelSpectrogram`` with the same options and
        ``frames="all"``; see ``mel_filters`` for how the filters differ.

    >>> import torch
    >>> MelSpectrogram(sample_rate=16_000)(torch.zeros(8, 1, 32_000)).shape
    torch.Size([8, 1, 80, 200])
    """

    filters: Tensor

    def __init__(
        self,
        *,
        n_mels: int = 80,
        f_min: float = 0.0,
        f_max: float | None = None,
        norm: Norm = None,
        mel_scale: MelScale = "htk",
        **options: Unpack[SpectrogramOptions],
    ) -> None:
        super().__init__(**options)
        f_max = self.sample_rate / 2 if f_max is None else f_max
        bands = {"n_mels": n_mels, "f_min": f_min, "f_max": f_max, "norm": norm, "mel_scale": mel_scale}
        filters = mel_filters(
            sample_rate=self.sample_rate,
            n_fft=self.framing.n_fft,
            n_mels=n_mels,
            f_min=f_min,
            f_max=f_max,
            norm=norm,
            mel_scale=mel_scale,
        )
        self.register_buffer("filters", filters, persistent=False)
        self._options |= bands | {"n_mels": len(filters), "f_min": float(f_min), "f_max": float(f_max)}

    def forward(self, audio: Tensor) -> Tensor:
        """Return the mel energies of audio, (batch, channel, mel, frame).

        Raises:
            InputError: The audio is not (batch, channel, time) of floats, or the module was cast to half precision.
        """
        return self.energies(audio, self.out_dtype)

    def energies(self, audio: Tensor, out_dtype: OutDtype | None = None) -> Tensor:
        """Return the mel energies, whatever a subclass makes of them, (batch, channel, mel, frame)."""
        return spectra(
            audio,
            framing=self.framing,
            window=self.window,
            power=self.power,
            filters=self.filters,
            out_dtype=out_dtype,
        )
