"""``Reverb``: rows as a room would give them back, by convolution with impulse responses."""

from typing import Literal

import torch
from torch import Tensor

from shardkit.core.errors import InputError
from shardkit.nn.augment.bank import Bank
from shardkit.nn.augment.options import per_row
from shardkit.nn.augment.padding import without_padding
from shardkit.nn.augment.spectra import convolved
from shardkit.nn.augment.step import AudioBatch, Augmentation, B, Parameters, with_audio
from shardkit.nn.augment.sums import mean_squares
from shardkit.nn.draws import Draws, integers


class Reverb(Augmentation):
    """Convolves each row with an impulse response, all of a bank being equally likely.

    The result has the length of the row: a tail is cut where the row ends, and padding stays zero.

    Args:
        bank: (num, channel, time) impulse responses at the rate of the batch; of one channel, or of as many as it.
        align: Whether to leave out what comes before the largest sample of a response, the direct sound, so that
            events stay where their labels say they are.
        level: ``keep``: each row keeps its mean square. ``response``: it gets the level that the response gives it.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    Draws:
        ``response``: (batch,) int64.
    """

    def __init__(
        self,
        bank: Tensor,
        *,
        align: bool = True,
        level: Literal["keep", "response"] = "keep",
        p: float = 0.5,
        seed: int | None = None,
    ) -> None:
        super().__init__(p=p, seed=seed)
        if level not in ("keep", "response"):
            raise InputError(f"level is {level!r}; choose 'keep' or 'response'")
        self.level = level
        self.bank = Bank(bank, what="Reverb: bank")
        if align:
            self.bank.recordings = _aligned(self.bank.recordings)

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        return {"response": integers(uniforms[0], len(self.bank))}

    def _change(self, batch: B, drawn: Parameters) -> B:
        audio, responses = batch.audio, self.bank.recordings
        if responses.shape[1] not in (1, audio.shape[1]):
            raise InputError(
                f"Reverb: responses of {responses.shape[1]} channels do not fit audio of {audio.shape[1]}; "
                "give responses of one channel, or of as many"
            )
        wet = without_padding(convolved(audio, responses[drawn["response"]]), batch.lengths)
        if self.level == "keep":
            before, after = mean_squares(audio, batch.lengths), mean_squares(wet, batch.lengths)
            level = (before / torch.where(after == 0.0, 1.0, after)).sqrt()
            wet = wet * per_row(level, audio)
        return with_audio(batch, wet)


def _aligned(responses: Tensor) -> Tensor:
    """Return responses moved so that the largest sample of any of their channels comes first."""
    largest = responses.abs().amax(dim=1).argmax(dim=1)
    times = torch.arange(responses.shape[2]) + largest[:, None]
    moved = responses.gather(2, times.clamp(max=responses.shape[2] - 1)[:, None].expand_as(responses))
    return torch.where((times < responses.shape[2])[:, None], moved, 0.0)
