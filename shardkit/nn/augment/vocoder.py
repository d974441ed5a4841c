"""A phase vocoder with a rate of its own for each row.

Output frame j is read at the time j · rate of the input's frames; magnitudes are interpolated, and the phase of each
bin goes on from frame to frame by as much as it does in the input there.

The phases are summed as whole multiples of 2^-32 turns. Such sums wrap at a turn by themselves, have no rounding that
grows with time, and are the same in whatever order a device makes them.

Source: Flanagan, Golden (1966), "Phase vocoder"; the formulation of torchaudio's and librosa's ``phase_vocoder``, from
which this differs by rounding. What a bin advances in a hop need not be told apart from what the phase wraps: both are
left to the sum modulo one turn.
"""

import math

import torch
from torch import Tensor

from shardkit.nn.augment.frames import Frames

_TURN = 2.0**32


def stretched(audio: Tensor, rates: Tensor, frames: Frames, num_samples: int) -> Tensor:
    """Return each row sped up by its rate, its pitch kept.

    Args:
        audio: (batch, channel, time).
        rates: (batch,) float64, positive; 2 is twice as fast.
        frames: How to cut the audio.
        num_samples: Samples to return; silence comes after the end of a row.

    Returns:
        (batch, channel, num_samples).
    """
    if not audio.numel():
        return audio.new_zeros((*audio.shape[:2], num_samples))
    spectra = frames.spectra(audio)
    num_frames = spectra.shape[2]
    spectra = torch.nn.functional.pad(spectra, (0, 0, 0, 2))  # silence, to read beyond the end
    magnitudes, angles = spectra.abs(), spectra.angle()
    turns = ((angles[:, :, 1:] - angles[:, :, :-1]) * (_TURN / math.tau)).round().long()
    times = torch.arange(1 - (-num_samples // frames.hop), device=audio.device) * rates[:, None]
    places = times.floor().clamp(max=num_frames)
    part = (times - places).clamp(max=1.0).to(magnitudes.dtype)[:, None, :, None]
    index = places.long()[:, None, :, None].expand(-1, spectra.shape[1], -1, spectra.shape[3])
    magnitude = magnitudes.gather(2, index) * (1.0 - part) + magnitudes.gather(2, index + 1) * part
    steps = turns.gather(2, index)[:, :, :-1]
    first = (angles[:, :, :1] * (_TURN / math.tau)).round().long()
    phase = torch.cumsum(torch.cat((first, steps), dim=2), dim=2)
    return frames.audio(torch.polar(magnitude, _angle(phase).to(magnitude.dtype)), num_samples)


def _angle(turns: Tensor) -> Tensor:
    """Return multiples of 2^-32 turns as radians, from -pi to pi, so that float32 loses least."""
    wrapped = (turns + (1 << 31) & (1 << 32) - 1) - (1 << 31)
    return wrapped.float() * (math.tau / _TURN)
