"""``SpecAugment``: bands and stretches of time of a spectrogram, blanked.

band  ........#..     each mask draws its width and its place by numbers of their own: a wide one is as
      ########### f   likely early as late
      ........#..
              t   frame
"""

from typing import Literal

import torch
from torch import Tensor

from shardkit.core.checks import checked_whole, is_number
from shardkit.core.errors import InputError
from shardkit.nn.augment.padding import valid_frames
from shardkit.nn.augment.step import AudioBatch, Augmentation, B, Parameters, replaced
from shardkit.nn.augment.sums import row_sums
from shardkit.nn.draws import Draws, integers


class SpecAugment(Augmentation):
    """Blanks bands and frames of ``batch.features``. All channels of a row are masked alike; time is not warped.

    Each width is one of 0, 1 ... the largest, each place one of those where the mask fits, all equally likely. Masks of
    time lie within the frames that stand for samples.

    Args:
        max_bands: Largest width of a mask of bands.
        max_frames: Largest width of a mask of frames.
        num_band_masks: Masks of bands for each row.
        num_frame_masks: Masks of frames for each row.
        max_frames_share: Largest width of a mask of frames as a share of the row's own frames.
        fill: What masked values become; ``mean``: the mean of the row's features, padding left out.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    Draws:
        ``band_start``, ``band_stop``, ``frame_start``, ``frame_stop``: (batch, mask) int64.

    Source:
        Park et al. (2019), "SpecAugment", section 2; the defaults are audax's.
    """

    def __init__(
        self,
        *,
        max_bands: int = 20,
        max_frames: int = 50,
        num_band_masks: int = 2,
        num_frame_masks: int = 2,
        max_frames_share: float = 1.0,
        fill: float | Literal["mean"] = 0.0,
        p: float = 1.0,
        seed: int | None = None,
    ) -> None:
        super().__init__(p=p, seed=seed)
        self.max_bands = checked_whole(max_bands, "max_bands", least=0)
        self.max_frames = checked_whole(max_frames, "max_frames", least=0)
        self.num_band_masks = checked_whole(num_band_masks, "num_band_masks", least=0, most=64)
        self.num_frame_masks = checked_whole(num_frame_masks, "num_frame_masks", least=0, most=64)
        if not is_number(max_frames_share) or not 0.0 <= max_frames_share <= 1.0:
            raise InputError(f"max_frames_share is {max_frames_share!r}; it must be from 0 to 1")
        if fill != "mean" and not is_number(fill):
            raise InputError(f"fill is {fill!r}; give a number, or 'mean'")
        self.max_frames_share, self.fill = float(max_frames_share), fill

    def _num_uniforms(self, batch: AudioBatch) -> int:
        return 2 * (self.num_band_masks + self.num_frame_masks)

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        features = _features(batch)
        bands = torch.full_like(batch.lengths, features.shape[2])
        frames = valid_frames(batch)
        widest = torch.minimum((frames * self.max_frames_share).floor().long(), frames).clamp(max=self.max_frames)
        of_bands, of_frames = uniforms[: 2 * self.num_band_masks], uniforms[2 * self.num_band_masks :]
        band_start, band_stop = _placed(of_bands, bands, bands.clamp(max=self.max_bands))
        frame_start, frame_stop = _placed(of_frames, frames, widest)
        return {
            "band_start": band_start, "band_stop": band_stop, "frame_start": frame_start, "frame_stop": frame_stop
        }  # fmt: skip

    def _change(self, batch: B, drawn: Parameters) -> B:
        features = _features(batch)
        bands = _covered(drawn["band_start"], drawn["band_stop"], features.shape[2])
        frames = _covered(drawn["frame_start"], drawn["frame_stop"], features.shape[3])
        masked = bands[:, None, :, None] | frames[:, None, None, :]
        fill = self._mean(batch, features) if self.fill == "mean" else self.fill
        return replaced(batch, features=torch.where(masked, fill, features))

    @staticmethod
    def _mean(batch: AudioBatch, features: Tensor) -> Tensor:
        frames = valid_frames(batch)
        inside = torch.arange(features.shape[3], device=features.device) < frames[:, None, None, None]
        count = frames.clamp(min=1) * max(1, features.shape[1] * features.shape[2])
        return (row_sums(torch.where(inside, features, 0.0)) / count).to(features.dtype)[:, None, None, None]


def _features(batch: AudioBatch) -> Tensor:
    features = batch.features
    if features is None:
        raise InputError("SpecAugment: the batch has no features; put a feature module before it")
    if features.ndim != 4 or not features.is_floating_point():
        raise InputError(
            f"SpecAugment: features are {features.dtype} of shape {tuple(features.shape)}; give floats, "
            "(batch, channel, band, frame)"
        )
    return features


def _placed(uniforms: Tensor, sizes: Tensor, widest: Tensor) -> tuple[Tensor, Tensor]:
    """Return where masks start and stop, (batch, mask), of two uniform numbers each."""
    widths = integers(uniforms[0::2], widest + 1)
    starts = integers(uniforms[1::2], sizes - widths + 1)
    return starts.t(), (starts + widths).t()


def _covered(starts: Tensor, stops: Tensor, size: int) -> Tensor:
    """Return which places any mask of a row covers, (batch, size) bool."""
    places = torch.arange(size, device=starts.device)
    return ((places >= starts[:, :, None]) & (places < stops[:, :, None])).any(dim=1)
