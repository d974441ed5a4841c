"""``Conversion``: a stream's batch as the loader promises it: floats, at the rate that was asked for.

    stream's rate   samples   |0 . . . . .|hop . . . .|2·hop .        mask_hop = 441 at 44,100 Hz
                    masks     |     0     |     1     |   2
    loader's rate   samples   |0 . .|hop' .|2·hop'                    160 at 16,000 Hz

Masks stay as they are, and stay in time: a frame must be a whole number of samples at either rate. Then there are also
as many frames as before, since ceil(ceil(time · to / from) / hop') = ceil(time / hop).
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from shardkit.core.checks import checked_whole
from shardkit.core.errors import InputError
from shardkit.nn.resample import Resample
from shardkit.stream.pool import Empty
from shardkit.stream.stream import Stream
from shardkit.train.batch import TorchBatch


@dataclass(frozen=True, slots=True)
class Conversion:
    """Makes floats at the loader's rate of one stream's batches, on the device.

    Attributes:
        audio_fields: Which fields are audio.
        resample: None: the rate stays.
    """

    audio_fields: tuple[str, ...]
    resample: Resample | None

    def __call__(self, batch: TorchBatch, empty: Empty) -> TorchBatch:
        """Return the batch converted; ``empty`` makes the floats of a batch on the CPU."""
        batch = batch.as_float(self.audio_fields, empty)
        return batch if self.resample is None else _resampled(batch, self.resample, self.audio_fields)


def _resampled(batch: TorchBatch, resample: Resample, audio_fields: Sequence[str]) -> TorchBatch:
    lengths = -(-batch.lengths * resample.to_rate // resample.from_rate)
    times = torch.arange(resample.num_samples(batch.audio.shape[-1]), device=lengths.device)
    padding = times >= lengths[:, None, None]  # where the filter rings on beyond a recording's end
    batch = batch.map_audio(lambda audio: resample(audio).masked_fill_(padding, 0.0), audio_fields)
    return dataclasses.replace(batch, lengths=lengths, sample_rate=resample.to_rate)


def conversion_of(
    stream: Stream, sample_rate: int | None, device: torch.device, *, what: str = "the stream"
) -> Conversion:
    """Return what makes floats at a rate of a stream's batches.

    Args:
        stream: What they are of.
        sample_rate: None: the stream's own.
        device: Where they are.
        what: The stream's name in errors.

    Raises:
        InputError: The stream reads no audio, a frame of its masks would be no whole number of samples, or the two
            rates have hardly a common divisor.
    """
    if sample_rate is None or checked_whole(sample_rate, "sample_rate") == stream.sample_rate:
        return Conversion(stream.audio_fields, None)
    if not stream.has_audio:
        raise InputError(f"sample_rate={sample_rate}: {what} reads features, which have no other rate; leave it out")
    least = stream.sample_rate // math.gcd(stream.sample_rate, sample_rate)
    if stream.mask_hop is not None and stream.mask_hop % least:
        raise InputError(
            f"sample_rate={sample_rate}: mask_hop={stream.mask_hop} of {what}, at {stream.sample_rate} Hz, would be no "
            f"whole number of samples then, and masks would drift from the audio; give it a multiple of {least}"
        )
    return Conversion(stream.audio_fields, Resample(stream.sample_rate, sample_rate).to(device))
