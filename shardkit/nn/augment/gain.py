"""Steps that multiply each row by a number: gain, polarity, a limit to the peak."""

from typing import Literal

import torch
from torch import Tensor

from shardkit.core.checks import is_number
from shardkit.core.errors import InputError
from shardkit.nn.augment.options import between, checked_range, gain_of_db, per_row
from shardkit.nn.augment.step import AudioBatch, Augmentation, B, Parameters, replaced, with_audio
from shardkit.nn.draws import Draws


class Gain(Augmentation):
    """Amplifies each row by a number of dB, equally likely between two bounds. Nothing is clipped.

    ``loudness`` goes with it.

    Args:
        min_db: Least gain.
        max_db: Most gain.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    Draws:
        ``gain_db``: (batch,).
    """

    def __init__(self, *, min_db: float = -12.0, max_db: float = 6.0, p: float = 1.0, seed: int | None = None) -> None:
        super().__init__(p=p, seed=seed)
        self.min_db, self.max_db = checked_range(min_db, max_db, name="db")

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        return {"gain_db": between(uniforms[0], self.min_db, self.max_db)}

    def _change(self, batch: B, drawn: Parameters) -> B:
        return amplified(batch, drawn["gain_db"])


class PolarityInversion(Augmentation):
    """Turns each row upside down, with probability ``p``. It draws nothing but that."""

    def __init__(self, *, p: float = 0.5, seed: int | None = None) -> None:
        super().__init__(p=p, seed=seed)

    def _num_uniforms(self, batch: AudioBatch) -> Literal[0]:
        return 0

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        return {}

    def _change(self, batch: B, drawn: Parameters) -> B:
        return with_audio(batch, -batch.audio, loudness=batch.loudness)


class LimitPeak(Augmentation):
    """Lowers rows whose largest sample exceeds a peak, as a whole, until it does not; leaves others alone.

    It is a gain and no limiter: the waveform keeps its shape. Put it last where what follows would clip.

    Args:
        peak: Largest magnitude that a sample may have.
        p: Probability that a row is looked at.
        seed: See ``Augmentation``.
    """

    def __init__(self, *, peak: float = 1.0, p: float = 1.0, seed: int | None = None) -> None:
        super().__init__(p=p, seed=seed)
        self.peak = checked_peak(peak)

    def _num_uniforms(self, batch: AudioBatch) -> Literal[0]:
        return 0

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        return {"gain_db": -20.0 * torch.log10((peaks(batch.audio) / self.peak).clamp(min=1.0))}

    def _change(self, batch: B, drawn: Parameters) -> B:
        lowered = amplified(batch, drawn["gain_db"])
        return replaced(lowered, audio=lowered.audio.clamp(-self.peak, self.peak))  # the last rounding may exceed it


def amplified(batch: B, gain_db: Tensor) -> B:
    """Return the batch with each row amplified, and its loudness raised, by so many dB."""
    audio = batch.audio * per_row(gain_of_db(gain_db), batch.audio)
    loudness = None if batch.loudness is None else batch.loudness + gain_db.to(batch.loudness.dtype)
    return with_audio(batch, audio, loudness=loudness)


def peaks(audio: Tensor) -> Tensor:
    """Return the largest magnitude of each row, (batch,) float64; 0 of a row without samples."""
    if audio[:1].numel() == 0:
        return audio.new_zeros(len(audio), dtype=torch.float64)
    return audio.abs().amax(dim=(1, 2)).double()


def checked_peak(peak: float) -> float:
    """Return a peak that samples may have.

    Raises:
        InputError: It is not a positive number.
    """
    if not is_number(peak) or peak <= 0.0:
        raise InputError(f"peak is {peak!r}; it must be a positive magnitude, such as 1.0 for full scale")
    return float(peak)
