"""Steps that keep a part of the band: low-pass, high-pass, band-pass, and a lower sample rate.

All are windowed-sinc filters, linear in phase and without delay. Each row has a cutoff of its own, drawn so that its
logarithm is equally likely everywhere between two bounds. Outside of a row's samples there is silence; its length
stays, and padding stays zero.

Source: the filter of julius (Défossez, ``julius.lowpass``): a sinc of the cutoff under a Hann window of ``zeros`` of
its zero crossings to each side, scaled to pass a constant as it is; a high-pass is what a low-pass takes away.
"""

import math

import torch
from torch import Tensor

from shardkit.core.checks import checked_whole
from shardkit.core.errors import InputError
from shardkit.nn.augment.options import between_octaves, checked_range
from shardkit.nn.augment.padding import without_padding
from shardkit.nn.augment.spectra import convolved
from shardkit.nn.augment.step import AudioBatch, Augmentation, B, Parameters, with_audio
from shardkit.nn.draws import Draws


class _Filter(Augmentation):
    """A low-pass or a high-pass at a drawn cutoff."""

    def __init__(self, *, min_hz: float, max_hz: float, zeros: int, p: float, seed: int | None) -> None:
        super().__init__(p=p, seed=seed)
        self.min_hz, self.max_hz = checked_range(min_hz, max_hz, name="hz", above=0.0)
        self.zeros = checked_whole(zeros, "zeros", most=1024)

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        _check_below_half_rate(self, self.max_hz, batch)
        return {"cutoff_hz": between_octaves(uniforms[0], self.min_hz, self.max_hz)}

    def _low(self, batch: AudioBatch, drawn: Parameters) -> Tensor:
        filters = low_pass_filters(drawn["cutoff_hz"] / batch.sample_rate, self.min_hz / batch.sample_rate, self.zeros)
        return _filtered(batch.audio, filters)


class LowPass(_Filter):
    """Takes away what lies above a drawn cutoff.

    Args:
        min_hz: Least cutoff, where half the amplitude is left.
        max_hz: Most; below half the sample rate.
        zeros: Zero crossings of the filter to each side: more make it steeper.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    Draws:
        ``cutoff_hz``: (batch,).
    """

    def __init__(
        self,
        *,
        min_hz: float = 1_000.0,
        max_hz: float = 7_500.0,
        zeros: int = 8,
        p: float = 0.5,
        seed: int | None = None,
    ) -> None:
        super().__init__(min_hz=min_hz, max_hz=max_hz, zeros=zeros, p=p, seed=seed)

    def _change(self, batch: B, drawn: Parameters) -> B:
        return with_audio(batch, without_padding(self._low(batch, drawn), batch.lengths))


class HighPass(_Filter):
    """Takes away what lies below a drawn cutoff.

    Args:
        min_hz: Least cutoff, where half the amplitude is left.
        max_hz: Most; below half the sample rate.
        zeros: Zero crossings of the filter to each side: more make it steeper.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    Draws:
        ``cutoff_hz``: (batch,).
    """

    def __init__(
        self, *, min_hz: float = 20.0, max_hz: float = 2_000.0, zeros: int = 8, p: float = 0.5, seed: int | None = None
    ) -> None:
        super().__init__(min_hz=min_hz, max_hz=max_hz, zeros=zeros, p=p, seed=seed)

    def _change(self, batch: B, drawn: Parameters) -> B:
        return with_audio(batch, without_padding(batch.audio - self._low(batch, drawn), batch.lengths))


class BandPass(Augmentation):
    """Keeps what lies between two drawn cutoffs, such as a telephone's 300 and 3,400 Hz.

    Args:
        min_low_hz: Least lower cutoff.
        max_low_hz: Most.
        min_high_hz: Least upper cutoff; above ``max_low_hz``.
        max_high_hz: Most; below half the sample rate.
        zeros: Zero crossings of each filter to each side: more make it steeper.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    Draws:
        ``low_hz``, ``high_hz``: (batch,).
    """

    def __init__(
        self,
        *,
        min_low_hz: float = 100.0,
        max_low_hz: float = 500.0,
        min_high_hz: float = 2_500.0,
        max_high_hz: float = 7_000.0,
        zeros: int = 8,
        p: float = 0.5,
        seed: int | None = None,
    ) -> None:
        super().__init__(p=p, seed=seed)
        self.min_low_hz, self.max_low_hz = checked_range(min_low_hz, max_low_hz, name="low_hz", above=0.0)
        self.min_high_hz, self.max_high_hz = checked_range(min_high_hz, max_high_hz, name="high_hz", above=max_low_hz)
        self.zeros = checked_whole(zeros, "zeros", most=1024)

    def _num_uniforms(self, batch: AudioBatch) -> int:
        return 2

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        _check_below_half_rate(self, self.max_high_hz, batch)
        return {
            "low_hz": between_octaves(uniforms[0], self.min_low_hz, self.max_low_hz),
            "high_hz": between_octaves(uniforms[1], self.min_high_hz, self.max_high_hz),
        }

    def _change(self, batch: B, drawn: Parameters) -> B:
        rate, least = batch.sample_rate, self.min_low_hz / batch.sample_rate
        below_high, below_low = (
            low_pass_filters(drawn[name] / rate, least, self.zeros) for name in ("high_hz", "low_hz")
        )
        return with_audio(batch, without_padding(_filtered(batch.audio, below_high - below_low), batch.lengths))


class RandomResample(Augmentation):
    """Leaves of each row what a lower sample rate would have kept of it, as recordings of several rates differ.

    It is what resampling to the drawn rate and back does, done well: a steep low-pass whose stop band begins at half
    that rate. Rate, length and time of the batch stay. For a change of speed see ``SpeedChange``.

    Args:
        min_hz: Least rate.
        max_hz: Most; at most that of the batch.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    Draws:
        ``rate_hz``: (batch,).
    """

    _ZEROS = 64

    def __init__(
        self, *, min_hz: float = 8_000.0, max_hz: float = 16_000.0, p: float = 0.5, seed: int | None = None
    ) -> None:
        super().__init__(p=p, seed=seed)
        self.min_hz, self.max_hz = checked_range(min_hz, max_hz, name="hz", above=0.0)

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        _check_below_half_rate(self, self.max_hz / 2.0, batch)
        return {"rate_hz": between_octaves(uniforms[0], self.min_hz, self.max_hz)}

    def _change(self, batch: B, drawn: Parameters) -> B:
        # A Hann window of 64 zeros to each side takes 4/128 of the cutoff to fall, half of it above the cutoff.
        edge = 0.5 / (1.0 + 2.0 / self._ZEROS) / batch.sample_rate
        filters = low_pass_filters(drawn["rate_hz"] * edge, self.min_hz * edge, self._ZEROS)
        return with_audio(batch, without_padding(_filtered(batch.audio, filters), batch.lengths))


def low_pass_filters(cutoffs: Tensor, least: float, zeros: int) -> Tensor:
    """Return low-pass filters, (batch, tap) float64; the middle tap is time 0.

    Args:
        cutoffs: (batch,) float64, in cycles a sample.
        least: Least cutoff that can occur, which says how many taps there are.
        zeros: Zero crossings to each side.
    """
    half = int(zeros / least / 2)
    times = torch.arange(-half, half + 1, device=cutoffs.device, dtype=torch.float64)
    cutoffs = cutoffs.clamp(min=least)[:, None]
    halves = (zeros / cutoffs / 2).floor().clamp(min=1.0)
    window = torch.where(times.abs() <= halves, 0.5 + 0.5 * torch.cos(math.pi * times / halves), 0.0)
    filters = window * torch.sinc(2.0 * cutoffs * times)
    return filters / filters.sum(dim=1, keepdim=True)


def _filtered(audio: Tensor, filters: Tensor) -> Tensor:
    return convolved(audio, filters[:, None].to(audio.dtype), first=filters.shape[1] // 2)


def _check_below_half_rate(step: Augmentation, highest_hz: float, batch: AudioBatch) -> None:
    if highest_hz > batch.sample_rate / 2.0:
        raise InputError(
            f"{type(step).__name__}: the audio of {batch.sample_rate} Hz ends at {batch.sample_rate / 2:g} Hz, below "
            f"{highest_hz:g} Hz, where a cutoff may be drawn; lower it"
        )
