"""Steps that change time or pitch: stretched time, shifted pitch, speed.

    TimeStretch    rate 2      half as long, pitch as it was
    PitchShift     12          an octave up, as long as it was: stretched by 1/2, then read at speed 2
    SpeedChange    speed 2     half as long, an octave up

The batch keeps its shape: what gets longer is cut, what gets shorter is padded with zeros on the right, and ``lengths``
says so. Each row draws a rate of its own from a continuous range.
"""

import math

import torch
from torch import Tensor

from shardkit.nn.augment.frames import Frames
from shardkit.nn.augment.options import between, between_octaves, checked_range
from shardkit.nn.augment.padding import without_padding
from shardkit.nn.augment.resampling import at_speed
from shardkit.nn.augment.step import AudioBatch, Augmentation, B, Parameters, check_no_masks, with_audio
from shardkit.nn.augment.vocoder import stretched
from shardkit.nn.draws import Draws

_OVERLAP = 4  # as torchaudio's pitch_shift
_MOST_RATE = 16.0


class TimeStretch(Augmentation):
    """Speeds each row up, or slows it down, and keeps its pitch, by a phase vocoder.

    Args:
        min_rate: Least rate; its logarithm is drawn, so that 1/2 and 2 are equally likely.
        max_rate: Most; 2 is twice as fast.
        n_fft: Length of a frame, in samples; the hop is a quarter.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    Draws:
        ``rate``: (batch,).

    Source:
        As ``torchaudio.functional.phase_vocoder`` between ``torch.stft`` and ``torch.istft``.
    """

    def __init__(
        self,
        *,
        min_rate: float = 0.8,
        max_rate: float = 1.25,
        n_fft: int = 1024,
        p: float = 0.5,
        seed: int | None = None,
    ) -> None:
        super().__init__(p=p, seed=seed)
        self.min_rate, self.max_rate = checked_range(min_rate, max_rate, name="rate", above=0.0, most=_MOST_RATE)
        self.frames = Frames(n_fft, _OVERLAP)

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        return {"rate": between_octaves(uniforms[0], self.min_rate, self.max_rate)}

    def _change(self, batch: B, drawn: Parameters) -> B:
        check_no_masks(batch, "TimeStretch")
        lengths = _lengths_at(batch, drawn["rate"])
        audio = stretched(batch.audio, drawn["rate"], self.frames, batch.audio.shape[-1])
        return with_audio(batch, without_padding(audio, lengths), lengths=lengths)


class PitchShift(Augmentation):
    """Shifts the pitch of each row and keeps its length.

    Args:
        min_semitones: Least shift; negative is down.
        max_semitones: Most.
        n_fft: Length of a frame of the vocoder, in samples; the hop is a quarter.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    Draws:
        ``semitones``: (batch,).

    Source:
        As ``torchaudio.functional.pitch_shift``: stretched by a phase vocoder, then resampled; here by band-limited
        interpolation, so that any fraction of a semitone can be had.
    """

    def __init__(
        self,
        *,
        min_semitones: float = -4.0,
        max_semitones: float = 4.0,
        n_fft: int = 1024,
        p: float = 0.5,
        seed: int | None = None,
    ) -> None:
        super().__init__(p=p, seed=seed)
        octaves = 12.0 * math.log2(_MOST_RATE)
        self.min_semitones, self.max_semitones = checked_range(
            min_semitones, max_semitones, name="semitones", above=-octaves, most=octaves
        )
        self.frames = Frames(n_fft, _OVERLAP)

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        return {"semitones": between(uniforms[0], self.min_semitones, self.max_semitones)}

    def _change(self, batch: B, drawn: Parameters) -> B:
        time = batch.audio.shape[-1]
        speeds = torch.exp(drawn["semitones"] * (math.log(2.0) / 12.0))
        longest = math.ceil(time * 2.0 ** (self.max_semitones / 12.0))
        long = stretched(batch.audio, 1.0 / speeds, self.frames, longest)
        return with_audio(batch, without_padding(at_speed(long, speeds, time), batch.lengths))


class SpeedChange(Augmentation):
    """Plays each row faster or slower, pitch and all: what is also called speed perturbation.

    Args:
        min_speed: Least speed; its logarithm is drawn.
        max_speed: Most; 2 is twice as fast.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    Draws:
        ``speed``: (batch,).

    Source:
        Ko et al. (2015), "Audio augmentation for speech recognition", with a continuous range of speeds.
    """

    def __init__(
        self, *, min_speed: float = 0.9, max_speed: float = 1.1, p: float = 0.5, seed: int | None = None
    ) -> None:
        super().__init__(p=p, seed=seed)
        self.min_speed, self.max_speed = checked_range(min_speed, max_speed, name="speed", above=0.0, most=_MOST_RATE)

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        return {"speed": between_octaves(uniforms[0], self.min_speed, self.max_speed)}

    def _change(self, batch: B, drawn: Parameters) -> B:
        check_no_masks(batch, "SpeedChange")
        lengths = _lengths_at(batch, drawn["speed"])
        audio = at_speed(batch.audio, drawn["speed"], batch.audio.shape[-1])
        return with_audio(batch, without_padding(audio, lengths), lengths=lengths)


def _lengths_at(batch: AudioBatch, rates: Tensor) -> Tensor:
    return (batch.lengths / rates).ceil().long().clamp(max=batch.audio.shape[-1])
