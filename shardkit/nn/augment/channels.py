"""``ChannelSwap``: channels in another order."""

from collections.abc import Sequence

import torch
from torch import Tensor

from shardkit.core.errors import InputError
from shardkit.nn.augment.step import AudioBatch, Augmentation, B, Parameters, with_audio
from shardkit.nn.draws import Draws, permutations


class ChannelSwap(Augmentation):
    """Puts the channels of each row into another order.

    Args:
        order: The order, such as ``(1, 0)`` to swap stereo with probability ``p``; None: every order is equally likely,
            the one as it was among them.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    ``loudness`` is kept where there are one or two channels, which BS.1770 weighs alike; with more it is unknown.

    Draws:
        ``order``: (batch, channel) int64; channel i of the result is channel ``order[:, i]`` of the batch.
    """

    def __init__(self, *, order: Sequence[int] | None = None, p: float = 0.5, seed: int | None = None) -> None:
        super().__init__(p=p, seed=seed)
        if order is not None and sorted(order) != list(range(len(order))):
            raise InputError(f"order is {order!r}; give each channel once, such as (1, 0)")
        self.order = None if order is None else tuple(int(channel) for channel in order)

    def _num_uniforms(self, batch: AudioBatch) -> int:
        return batch.audio.shape[1] if self.order is None else 0

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        rows, channels, _ = batch.audio.shape
        if self.order is None:
            return {"order": permutations(uniforms)}
        if len(self.order) != channels:
            raise InputError(
                f"ChannelSwap: order {self.order} is of {len(self.order)} channels, the audio has {channels}"
            )
        place = torch.arange(channels, device=batch.audio.device)
        order = sum(torch.where(place == index, channel, 0) for index, channel in enumerate(self.order)) + place * 0
        return {"order": order.expand(rows, channels)}

    def _change(self, batch: B, drawn: Parameters) -> B:
        order = drawn["order"][:, :, None].expand(-1, -1, batch.audio.shape[2])
        kept = {"loudness": batch.loudness} if batch.audio.shape[1] <= 2 else {}
        return with_audio(batch, batch.audio.gather(1, order), **kept)
