"""Steps that leave magnitudes and change phases: what a codec or a vocoder may do to a waveform.

Source: ``CorruptPhase`` and ``ShiftPhase`` of audiotree, with its defaults: a spectrogram of Hann windows of 2,048
samples, half overlapping. Where audio is shorter than a window, the rest of it is silence.
"""

import math

import torch
from torch import Tensor

from shardkit.core.checks import is_number
from shardkit.core.errors import InputError
from shardkit.nn.augment.frames import Frames
from shardkit.nn.augment.options import between
from shardkit.nn.augment.padding import without_padding
from shardkit.nn.augment.spectra import product
from shardkit.nn.augment.step import AudioBatch, Augmentation, B, Parameters, with_audio
from shardkit.nn.draws import FIELD, Draws, uniform_field

_OVERLAP = 2


class CorruptPhase(Augmentation):
    """Turns the phase of every bin and channel of a row by an angle of its own, the same in all frames.

    Args:
        amount: Angles are equally likely from -pi · amount to pi · amount.
        n_fft: Length of a frame, in samples; the hop is half of it.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    Draws:
        ``angle``: (batch, channel, bin) radians.
    """

    def __init__(self, *, amount: float = 1.0, n_fft: int = 2048, p: float = 0.5, seed: int | None = None) -> None:
        super().__init__(p=p, seed=seed)
        self.amount = _checked_amount(amount)
        self.frames = Frames(n_fft, _OVERLAP)

    def _num_uniforms(self, batch: AudioBatch) -> int:
        return 0

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        bins = self.frames.n_fft // 2 + 1
        return {"angle": _angles(uniform_field(draws.keys(first=FIELD)[0], batch.audio.shape[1], bins), self.amount)}

    def _change(self, batch: B, drawn: Parameters) -> B:
        return _turned(batch, drawn["angle"][:, :, None, :], self.frames)


class ShiftPhase(Augmentation):
    """Turns the phase of all frequencies of a row by one angle; a half turn inverts the polarity.

    Args:
        amount: Angles are equally likely from -pi · amount to pi · amount.
        n_fft: Length of a frame, in samples; the hop is half of it.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    Draws:
        ``angle``: (batch,) radians.
    """

    def __init__(self, *, amount: float = 1.0, n_fft: int = 2048, p: float = 0.5, seed: int | None = None) -> None:
        super().__init__(p=p, seed=seed)
        self.amount = _checked_amount(amount)
        self.frames = Frames(n_fft, _OVERLAP)

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        return {"angle": _angles(uniforms[0], self.amount)}

    def _change(self, batch: B, drawn: Parameters) -> B:
        return _turned(batch, drawn["angle"][:, None, None, None], self.frames)


def _turned(batch: B, angles: Tensor, frames: Frames) -> B:
    """Return the batch with the phases of its frames, (batch, channel, frame, bin), turned."""
    audio = batch.audio
    if audio.numel():
        angles = angles.to(audio.dtype)
        turns = torch.complex(angles.cos(), angles.sin())
        audio = frames.audio(product(frames.spectra(audio), turns), audio.shape[-1])
    return with_audio(batch, without_padding(audio, batch.lengths))


def _angles(uniforms: Tensor, amount: float) -> Tensor:
    return between(uniforms, -math.pi * amount, math.pi * amount)


def _checked_amount(amount: float) -> float:
    if not is_number(amount) or amount < 0.0:
        raise InputError(f"amount is {amount!r}; it must be a share of half a turn, from 0 on, such as 1.0")
    return float(amount)
