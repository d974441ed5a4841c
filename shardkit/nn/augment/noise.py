"""``AddNoise``: other recordings behind a row, at a signal-to-noise ratio.

The ratio is that of the mean squares over the row's own samples, padding left out; noise that is shorter is read round
and round. Where the row or its noise is silent no ratio can be had, and the row stays as it is.
"""

import torch
from torch import Tensor

from shardkit.core.errors import InputError
from shardkit.nn.augment.bank import Bank, looped
from shardkit.nn.augment.options import between, checked_range, gain_of_db, per_row
from shardkit.nn.augment.padding import without_padding
from shardkit.nn.augment.step import AudioBatch, Augmentation, B, Parameters, with_audio
from shardkit.nn.augment.sums import mean_squares
from shardkit.nn.draws import Draws, integers


class AddNoise(Augmentation):
    """Adds to each row a recording at a signal-to-noise ratio, equally likely in dB between two bounds.

    Give either ``beside``, to take the noise from a second stream, or ``bank``. Of the stream each row takes the row at
    its own position. Of the bank each row takes one recording, from one sample on, all equally likely. Noise of one
    channel goes to all; otherwise noise and audio have equally many. Nothing is clipped.

    Args:
        beside: Name of the stream in ``batch.beside``; its rate is that of the batch.
        bank: (num, channel, time) recordings at the rate of the batch.
        lengths: Samples of each in the bank that are not padding, (num,); None: all.
        min_snr_db: Least ratio.
        max_snr_db: Most ratio.
        p: Probability that a row is changed.
        seed: See ``Augmentation``.

    Draws:
        ``snr_db``: (batch,). Of a bank also ``recording`` and ``start``: (batch,) int64.

    Raises:
        InputError: An option can't be; when called: the batch has no such stream, or one that does not fit.
    """

    def __init__(
        self,
        *,
        beside: str | None = None,
        bank: Tensor | None = None,
        lengths: Tensor | None = None,
        min_snr_db: float = 5.0,
        max_snr_db: float = 30.0,
        p: float = 0.5,
        seed: int | None = None,
    ) -> None:
        super().__init__(p=p, seed=seed)
        if (beside is None) == (bank is None):
            raise InputError("AddNoise takes the noise from a stream beside or from a bank; give one of the two")
        self.beside = beside
        self.min_snr_db, self.max_snr_db = checked_range(min_snr_db, max_snr_db, name="snr_db")
        self.bank = None if bank is None else Bank(bank, lengths, what="AddNoise: bank")

    def _num_uniforms(self, batch: AudioBatch) -> int:
        return 1 if self.bank is None else 3

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        drawn = {"snr_db": between(uniforms[0], self.min_snr_db, self.max_snr_db)}
        if self.bank is not None:
            drawn["recording"] = integers(uniforms[1], len(self.bank))
            drawn["start"] = integers(uniforms[2], self.bank.lengths[drawn["recording"]])
        return drawn

    def _change(self, batch: B, drawn: Parameters) -> B:
        noise = self._noise(batch, drawn)
        if noise.shape[1] not in (1, batch.audio.shape[1]):
            raise InputError(
                f"AddNoise: noise of {noise.shape[1]} channels does not fit audio of {batch.audio.shape[1]}; "
                "give noise of one channel, or of as many"
            )
        noise = without_padding(noise.to(batch.audio.dtype), batch.lengths)
        return with_audio(batch, added_at(batch.audio, noise, batch.lengths, drawn["snr_db"]))

    def _noise(self, batch: AudioBatch, drawn: Parameters) -> Tensor:
        time = batch.audio.shape[2]
        if self.bank is not None:
            lengths = self.bank.lengths[drawn["recording"]]
            return looped(self.bank.recordings, drawn["recording"], drawn["start"], lengths, time)
        other = batch.beside.get(self.beside)  # type: ignore[arg-type]
        if other is None:
            listed = ", ".join(batch.beside) or "none"
            raise InputError(f"AddNoise: no stream {self.beside!r} is beside this one (there are: {listed}); give one")
        if other.sample_rate != batch.sample_rate or len(other.audio) != len(batch.audio):
            raise InputError(
                f"AddNoise: stream {self.beside!r} gives {len(other.audio)} rows at {other.sample_rate} Hz beside "
                f"{len(batch.audio)} at {batch.sample_rate} Hz; make the two the same"
            )
        rows = torch.arange(len(other.audio), device=other.audio.device)
        return looped(other.audio, rows, torch.zeros_like(rows), other.lengths, time)


def added_at(audio: Tensor, noise: Tensor, lengths: Tensor, snr_db: Tensor) -> Tensor:
    """Return audio with noise at a signal-to-noise ratio; unchanged where either is silent.

    Args:
        audio: (batch, channel, time).
        noise: (batch, channel or 1, time), zero beyond the lengths.
        lengths: Samples that are not padding, (batch,).
        snr_db: (batch,).
    """
    signal_power, noise_power = mean_squares(audio, lengths), mean_squares(noise, lengths)
    silent = (signal_power == 0.0) | (noise_power == 0.0)
    level = (signal_power / torch.where(silent, 1.0, noise_power)).sqrt() * gain_of_db(-snr_db)
    return torch.where(silent[:, None, None], audio, audio + noise * per_row(level, audio))
