"""``CutMix``: a stretch of each row replaced by the same stretch of another.

row      aaaaaaaaaaaaaaaa
partner  bbbbbbbbbb......      . is padding
result   aaaaabbbbb..aaaa      share of a 9/16, of b 5/16
"""

import torch
from torch import Tensor

from shardkit.nn.augment.mixing import Labels, Mixing, On
from shardkit.nn.augment.padding import valid_frames
from shardkit.nn.augment.step import AudioBatch, B, Parameters, check_no_masks, replaced, with_audio
from shardkit.nn.draws import Draws, integers


class CutMix(Mixing):
    """Replaces a stretch of each row by the same stretch of its partner; labels are mixed by share of time.

    The stretch lies within the row's own samples, and rows keep their lengths; where the partner has ended, its part of
    the stretch is silence and counts for neither. On features a frame stands for an equal part of the row's time.

    Args:
        alpha: The share that stays is drawn from Beta(alpha, alpha); 1: all shares are equally likely.
        on: What to mix, ``audio`` or ``features``.
        labels: ``mix``: by share of time. ``union``: the labels of both, where the stretch is not empty.
        classes: Classes of positions within which partners are drawn; None: by the global batch, see ``partners``.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    Draws:
        ``start`` and ``stop``: the stretch, (batch,) int64, in samples or frames. ``share``, ``partner_share``:
        (batch,), of its time. ``partner``, ``partner_position``: as ``MixUp``.

    Source:
        Yun et al. (2019), "CutMix", along time only.
    """

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        on: On = "audio",
        labels: Labels = "mix",
        classes: int | None = None,
        p: float = 1.0,
        seed: int | None = None,
    ) -> None:
        super().__init__(alpha=alpha, on=on, labels=labels, classes=classes, p=p, seed=seed)

    def _num_uniforms(self, batch: AudioBatch) -> int:
        return 3

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        check_no_masks(batch, "CutMix")
        drawn = super()._draw(uniforms[:2], draws, batch)
        lengths = valid_frames(batch) if self.on == "features" else batch.lengths
        width = torch.round((1.0 - drawn["share"]) * lengths).long()
        start = integers(uniforms[2], lengths - width + 1)
        whole = lengths.clamp(min=1).double()
        heard = (torch.minimum(start + width, lengths[drawn["partner"]]) - start).clamp(min=0)
        shares = {"share": 1.0 - width / whole, "partner_share": heard / whole}
        return {**drawn, **shares, "start": start, "stop": start + width}

    def _change(self, batch: B, drawn: Parameters) -> B:
        values, partner = self._mixed(batch), drawn["partner"]
        times = torch.arange(values.shape[-1], device=values.device)
        cut = (times >= drawn["start"][:, None]) & (times < drawn["stop"][:, None])
        cut = cut.reshape(len(values), *[1] * (values.ndim - 2), len(times))
        mixed = torch.where(cut, values[partner], values)
        labels = self._mixed_labels(batch.labels, partner, drawn["share"], drawn["partner_share"])
        if self.on == "features":
            return replaced(batch, features=mixed, labels=labels)
        return with_audio(batch, mixed, labels=labels)
