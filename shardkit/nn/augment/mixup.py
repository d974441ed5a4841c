"""``MixUp``: each row mixed with another, sample by sample, and their labels likewise."""

import torch

from shardkit.nn.augment.mixing import Labels, Mixing, On
from shardkit.nn.augment.step import B, Parameters, replaced, with_audio


class MixUp(Mixing):
    """Makes of each row share · row + (1 - share) · partner, of audio or of features, and the same of its labels.

    The share is drawn for each row. For one-hot labels and a loss that is linear in them, as cross-entropy is, mixing
    labels is mixing losses. A row is as long as the longer of the two; frame masks are mixed as labels are.

    Args:
        alpha: The share is drawn from Beta(alpha, alpha).
        on: What to mix, ``audio`` or ``features``.
        labels: ``mix``: by share. ``union``: the labels of both, for targets that say what can be heard.
        classes: Classes of positions within which partners are drawn; None: by the global batch, see ``partners``.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    Draws:
        ``share``: (batch,), of the row itself. ``partner``: (batch,) int64, its row in this rank's batch.
        ``partner_position``: (batch,) int64, its position in the stream.

    Source:
        Zhang, Cisse, Dauphin, Lopez-Paz (2018), "mixup: beyond empirical risk minimization", with a share a row.
    """

    def __init__(
        self,
        *,
        alpha: float = 0.2,
        on: On = "audio",
        labels: Labels = "mix",
        classes: int | None = None,
        p: float = 1.0,
        seed: int | None = None,
    ) -> None:
        super().__init__(alpha=alpha, on=on, labels=labels, classes=classes, p=p, seed=seed)

    def _change(self, batch: B, drawn: Parameters) -> B:
        share, partner = drawn["share"], drawn["partner"]
        changes = {"labels": self._mixed_labels(batch.labels, partner, share, 1.0 - share)}
        changes |= self._mixed_masks(batch, drawn)
        values = self._mixed(batch)
        own = share.reshape(-1, *[1] * (values.ndim - 1)).to(values.dtype)
        # A share of 1 must not touch the partner, which may hold NaN: 0 · NaN is NaN.
        mixed = torch.where(own == 1.0, values, values * own + values[partner] * (1.0 - own))
        longer = torch.where(share == 1.0, batch.lengths, torch.maximum(batch.lengths, batch.lengths[partner]))
        if self.on == "features":
            return replaced(batch, features=mixed, lengths=longer, **changes)
        return with_audio(batch, mixed, lengths=longer, **changes)
