"""``LoudnessNormalize``: rows at a target loudness, from the loudness that was measured when they were packed."""

import torch
from torch import Tensor

from shardkit.core.errors import InputError
from shardkit.nn.augment.gain import amplified, checked_peak, peaks
from shardkit.nn.augment.options import between, checked_range
from shardkit.nn.augment.step import AudioBatch, Augmentation, B, Parameters, replaced
from shardkit.nn.draws import Draws

_ABSOLUTE_GATE_LUFS = -70.0  # ITU-R BS.1770-4: what is below is not counted


class LoudnessNormalize(Augmentation):
    """Amplifies each row from ``batch.loudness`` to a target, equally likely between two bounds.

    Nothing is measured here: the loudness is the one of the crop, known from the index. Rows of unknown loudness (NaN),
    and rows at or below the absolute gate of -70 LUFS, which hold nothing to normalize, are left as they are. So are
    those of which a step before made another sound: put this one first.

    Args:
        min_lufs: Least target, in LUFS.
        max_lufs: Most.
        peak: Largest magnitude that a sample may get: a row that would exceed it is amplified less, and ends below its
            target. A row already above it is lowered. None: no limit, samples may exceed 1.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    Draws:
        ``target_lufs``: (batch,). ``gain_db``: (batch,), as applied.
    """

    def __init__(
        self,
        *,
        min_lufs: float = -23.0,
        max_lufs: float = -23.0,
        peak: float | None = None,
        p: float = 1.0,
        seed: int | None = None,
    ) -> None:
        super().__init__(p=p, seed=seed)
        self.min_lufs, self.max_lufs = checked_range(min_lufs, max_lufs, name="lufs", above=_ABSOLUTE_GATE_LUFS)
        self.peak = None if peak is None else checked_peak(peak)

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        if batch.loudness is None:
            raise InputError(
                "LoudnessNormalize: batch.loudness is None; give the stream loudness=True, or (batch,) LUFS"
            )
        target, loudness = between(uniforms[0], self.min_lufs, self.max_lufs), batch.loudness.double()
        gain = target - loudness
        if self.peak is not None:
            largest = peaks(batch.audio)
            gain = torch.minimum(gain, 20.0 * torch.log10(self.peak / torch.where(largest > 0.0, largest, self.peak)))
        return {"target_lufs": target, "gain_db": torch.where(loudness > _ABSOLUTE_GATE_LUFS, gain, 0.0)}

    def _change(self, batch: B, drawn: Parameters) -> B:
        changed = amplified(batch, drawn["gain_db"])
        if self.peak is None:
            return changed
        # The last rounding may exceed the peak; rows that are left alone keep theirs.
        audio = changed.audio.clamp(-self.peak, self.peak)
        return replaced(changed, audio=torch.where((drawn["gain_db"] == 0.0)[:, None, None], changed.audio, audio))
