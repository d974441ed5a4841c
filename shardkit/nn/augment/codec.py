"""Steps that do to a row what a codec does: µ-law, fewer bits, or any codec at hand.

Lossy codecs such as MP3 and Opus run on a CPU, on files, one at a time, and torchaudio 2.11 has no ``AudioEffector``
any more. Bake them in before packing, or hand a codec that runs on the device, such as a neural one, to ``Apply``.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from shardkit.core.checks import checked_whole
from shardkit.core.errors import InputError
from shardkit.nn.augment.options import per_row
from shardkit.nn.augment.padding import without_padding
from shardkit.nn.augment.step import AudioBatch, Augmentation, B, Parameters, with_audio
from shardkit.nn.draws import Draws, integers


class _Bits(Augmentation):
    """A step with a drawn number of bits."""

    def __init__(self, *, min_bits: int, max_bits: int, p: float, seed: int | None) -> None:
        super().__init__(p=p, seed=seed)
        self.max_bits = checked_whole(max_bits, "max_bits", least=2, most=24)
        self.min_bits = checked_whole(min_bits, "min_bits", least=2, most=self.max_bits)

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        return {"bits": self.min_bits + integers(uniforms[0], self.max_bits - self.min_bits + 1)}


class MuLaw(_Bits):
    """Encodes each row by µ-law and decodes it again, as telephony does. What exceeds full scale is clipped.

    Args:
        min_bits: Least bits of a sample; all numbers are equally likely.
        max_bits: Most.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    Draws:
        ``bits``: (batch,) int64.

    Source:
        ``torchaudio.functional.mu_law_encoding`` and ``mu_law_decoding`` with 2^bits channels.
    """

    def __init__(self, *, min_bits: int = 8, max_bits: int = 8, p: float = 0.5, seed: int | None = None) -> None:
        super().__init__(min_bits=min_bits, max_bits=max_bits, p=p, seed=seed)

    def _change(self, batch: B, drawn: Parameters) -> B:
        audio = batch.audio.clamp(-1.0, 1.0)
        mu = per_row(torch.exp2(drawn["bits"].double()).round() - 1.0, audio)
        code = audio.sign() * torch.log1p(mu * audio.abs()) / torch.log1p(mu)
        code = ((code + 1.0) / 2.0 * mu + 0.5).floor() / mu * 2.0 - 1.0
        decoded = code.sign() * torch.expm1(code.abs() * torch.log1p(mu)) / mu
        return with_audio(batch, without_padding(decoded, batch.lengths))


class BitCrush(_Bits):
    """Rounds the samples of each row to fewer bits. What exceeds full scale is clipped.

    Args:
        min_bits: Least bits of a sample; all numbers are equally likely.
        max_bits: Most.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    Draws:
        ``bits``: (batch,) int64.
    """

    def __init__(self, *, min_bits: int = 6, max_bits: int = 12, p: float = 0.5, seed: int | None = None) -> None:
        super().__init__(min_bits=min_bits, max_bits=max_bits, p=p, seed=seed)

    def _change(self, batch: B, drawn: Parameters) -> B:
        steps = per_row(torch.exp2(drawn["bits"].double() - 1.0).round(), batch.audio)
        rounded = (batch.audio * steps).round()
        return with_audio(batch, torch.minimum(torch.maximum(rounded, -steps), steps - 1.0) / steps)


class Apply(Augmentation):
    """Lets any function or module change the audio of each row with probability ``p``: a codec, there and back.

    The function sees all rows, with padding, and must treat each by itself, alike in every batch: law L1 holds as far
    as it keeps to that. What it does to padding is undone.

    Args:
        function: (batch, channel, time) to the same shape; a module is moved along with this one.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    Raises:
        InputError: The function can't be called; when called: it gives another shape.
    """

    def __init__(
        self, function: Callable[[Tensor], Tensor] | nn.Module, *, p: float = 1.0, seed: int | None = None
    ) -> None:
        super().__init__(p=p, seed=seed)
        if not callable(function):
            raise InputError(f"Apply: function is a {type(function).__name__}; give what can be called with audio")
        self.function = function

    def _num_uniforms(self, batch: AudioBatch) -> int:
        return 0

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        return {}

    def _change(self, batch: B, drawn: Parameters) -> B:
        audio = self.function(batch.audio)
        if audio.shape != batch.audio.shape:
            raise InputError(
                f"Apply: the function made {tuple(audio.shape)} of audio of {tuple(batch.audio.shape)}; "
                "it must keep the shape"
            )
        return with_audio(batch, without_padding(audio.to(batch.audio.dtype), batch.lengths))
