"""``AddGaussianNoise``: white, pink or brown noise, each sample of it keyed by its own place."""

import torch
from torch import Tensor

from shardkit.nn.augment.noise import added_at
from shardkit.nn.augment.options import between, checked_range
from shardkit.nn.augment.padding import without_padding
from shardkit.nn.augment.spectra import good_length, irfft, rfft
from shardkit.nn.augment.step import AudioBatch, Augmentation, B, Parameters, with_audio
from shardkit.nn.draws import FIELD, Draws, normal


class AddGaussianNoise(Augmentation):
    """Adds Gaussian noise to each row at a signal-to-noise ratio, equally likely in dB between two bounds.

    Its power falls with frequency as 1 / f^exponent: 0 is white noise, 1 pink, 2 brown. Channels get noise of their
    own. Silent rows stay as they are; nothing is clipped.

    Args:
        min_snr_db: Least ratio, of mean squares over the row's own samples.
        max_snr_db: Most ratio.
        min_exponent: Least exponent.
        max_exponent: Most exponent; where both are 0, white noise is not shaped at all.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    Draws:
        ``snr_db``, ``exponent``: (batch,). ``key``: (batch,) int64, of ``shardkit.nn.draws.normal``: the noise itself.
    """

    def __init__(
        self,
        *,
        min_snr_db: float = 10.0,
        max_snr_db: float = 40.0,
        min_exponent: float = 0.0,
        max_exponent: float = 0.0,
        p: float = 0.5,
        seed: int | None = None,
    ) -> None:
        super().__init__(p=p, seed=seed)
        self.min_snr_db, self.max_snr_db = checked_range(min_snr_db, max_snr_db, name="snr_db")
        self.min_exponent, self.max_exponent = checked_range(min_exponent, max_exponent, name="exponent")

    def _num_uniforms(self, batch: AudioBatch) -> int:
        return 2

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        return {
            "snr_db": between(uniforms[0], self.min_snr_db, self.max_snr_db),
            "exponent": between(uniforms[1], self.min_exponent, self.max_exponent),
            "key": draws.keys(first=FIELD)[0],
        }

    def _change(self, batch: B, drawn: Parameters) -> B:
        _, channels, time = batch.audio.shape
        noise = normal(drawn["key"], channels, time).to(batch.audio.dtype)
        if self.min_exponent != 0.0 or self.max_exponent != 0.0:
            noise = _shaped(noise, drawn["exponent"])
        noise = without_padding(noise, batch.lengths)
        return with_audio(batch, added_at(batch.audio, noise, batch.lengths, drawn["snr_db"]))


def _shaped(noise: Tensor, exponent: Tensor) -> Tensor:
    """Return white noise with power 1 / f^exponent; what lies below the first bin is left out."""
    time = noise.shape[-1]
    if not noise.numel():
        return noise
    length = good_length(time)
    bins = torch.arange(length // 2 + 1, device=noise.device, dtype=torch.float64)
    weights = torch.exp(-0.5 * exponent[:, None] * bins.clamp(min=1.0).log())
    weights = torch.where(bins == 0.0, 0.0, weights).to(noise.dtype)
    return irfft(rfft(noise, length) * weights[:, None], length)[..., :time]
