"""Which samples, and which frames, of a batch are not padding."""

import torch
from torch import Tensor

from shardkit.core.errors import InputError
from shardkit.nn.augment.step import AudioBatch


def without_padding(audio: Tensor, lengths: Tensor) -> Tensor:
    """Return audio with zeros in place of what lies beyond each row's length."""
    times = torch.arange(audio.shape[-1], device=audio.device)
    return torch.where(times < lengths[:, None, None], audio, 0.0)


def valid_frames(batch: AudioBatch) -> Tensor:
    """Return the frames of each row's features that stand for samples and not for padding, (batch,) int64.

    All frames stand for the whole time of the audio; how many a length takes is exact to within one frame.
    """
    if batch.features is None:
        raise InputError("the batch has no features; put a feature module before this step")
    frames, time = batch.features.shape[-1], max(1, batch.audio.shape[-1])
    return -(-batch.lengths * frames // time)
