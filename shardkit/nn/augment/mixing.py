"""What mixup and cutmix share: who mixes with whom, and what becomes of the labels."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from shardkit.core.checks import checked_whole, is_number
from shardkit.core.errors import InputError
from shardkit.nn.augment.partners import partners
from shardkit.nn.augment.step import AudioBatch, Augmentation, Parameters
from shardkit.nn.draws import Draws, at_quantile, beta_quantiles

On = Literal["audio", "features"]
Labels = Literal["mix", "union"]


class Mixing(Augmentation):
    """An augmentation of each row with another one of its batch; see ``partners``.

    A row whose partner is not valid, or holds a value that is not finite, keeps a share of 1 of itself.

    Args:
        alpha: Shares are drawn from Beta(alpha, alpha).
        on: What to mix, ``audio`` or ``features``.
        labels: ``mix``: labels by share. ``union``: what either has.
        classes: Classes of positions within which partners are drawn; None: by the global batch, see ``partners``.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.
    """

    quantiles: Tensor

    def __init__(
        self, *, alpha: float, on: On, labels: Labels, classes: int | None, p: float, seed: int | None
    ) -> None:
        super().__init__(p=p, seed=seed)
        if not is_number(alpha) or not 0.01 <= alpha <= 100.0:
            raise InputError(f"alpha is {alpha!r}; it must be from 0.01 to 100, such as 0.2")
        if on not in get_args(On):
            raise InputError(f"on is {on!r}; choose {' or '.join(get_args(On))}")
        if labels not in get_args(Labels):
            raise InputError(f"labels is {labels!r}; choose {' or '.join(get_args(Labels))}")
        self.alpha, self.on, self.labels = float(alpha), on, labels
        self.classes = None if classes is None else checked_whole(classes, "classes")
        self.register_buffer("quantiles", beta_quantiles(self.alpha), persistent=False)

    def _num_uniforms(self, batch: AudioBatch) -> int:
        return 2

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        partner = partners(batch, uniforms[0], classes=self.classes)
        usable = batch.valid & (batch.valid & _finite(self._mixed(batch)))[partner]
        share = torch.where(usable, at_quantile(self.quantiles, uniforms[1]).double(), 1.0)
        return {"partner": partner, "partner_position": batch.positions[partner], "share": share}

    def _mixed(self, batch: AudioBatch) -> Tensor:
        """Return what is mixed."""
        if self.on == "audio":
            return batch.audio
        if batch.features is None:
            raise InputError(f"{type(self).__name__} on features: the batch has none; put a feature module before it")
        return batch.features

    def _mixed_labels(self, labels: Tensor, partner: Tensor, own: Tensor, others: Tensor) -> Tensor:
        """Return labels, (batch, ...), for the shares of a row itself and of its partner."""
        if not labels.is_floating_point():
            raise InputError(f"{type(self).__name__}: labels are {labels.dtype}; give floats, (batch, class)")
        shape = (-1, *[1] * (labels.ndim - 1))
        own, others = own.to(labels.dtype).reshape(shape), others.to(labels.dtype).reshape(shape)
        if self.labels == "union":
            return torch.where(others > 0.0, torch.maximum(labels, labels[partner]), labels)
        return labels * own + labels[partner] * others

    def _mixed_masks(self, batch: AudioBatch, drawn: Parameters) -> dict[str, Any]:
        """Return the frame masks of a batch, mixed as its labels are, as changes to it; none where it has none."""
        masks = getattr(batch, "masks", None)
        if not isinstance(masks, Mapping) or not masks:
            return {}
        partner, share = drawn["partner"], drawn["share"]
        return {"masks": {name: self._mixed_labels(mask, partner, share, 1.0 - share) for name, mask in masks.items()}}


def _finite(values: Tensor) -> Tensor:
    """Return which rows hold finite values only, (batch,) bool."""
    if values[:1].numel() == 0:
        return torch.ones(len(values), dtype=torch.bool, device=values.device)
    return torch.isfinite(values.reshape(len(values), -1).abs().amax(dim=1))
