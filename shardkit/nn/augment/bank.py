"""``Bank``: recordings on the device, noises or impulse responses, of which each row of a batch gets one."""

import torch
from torch import Tensor, nn

from shardkit.core.errors import InputError


class Bank(nn.Module):
    """Some recordings as one tensor. They follow ``.to(device)``, and are in no ``state_dict``.

    Args:
        recordings: (num, channel, time) floats.
        lengths: Samples of each that are not padding, (num,); None: all.
        what: What they are, for messages.

    Raises:
        InputError: They are something else, there are none, or some have no samples.
    """

    recordings: Tensor
    lengths: Tensor

    def __init__(self, recordings: Tensor, lengths: Tensor | None = None, *, what: str) -> None:
        super().__init__()
        if not isinstance(recordings, Tensor) or recordings.ndim != 3 or not recordings.is_floating_point():
            found = tuple(recordings.shape) if isinstance(recordings, Tensor) else type(recordings).__name__
            raise InputError(f"{what}: found {found}; give a tensor of floats, (num, channel, time)")
        if not recordings.numel():
            raise InputError(f"{what}: shape {tuple(recordings.shape)} holds no samples; give at least one recording")
        num, _, time = recordings.shape
        lengths = torch.full((num,), time) if lengths is None else torch.as_tensor(lengths).long()
        if lengths.shape != (num,) or not bool(((lengths >= 1) & (lengths <= time)).all()):
            raise InputError(f"{what}: lengths are {lengths.tolist()}; give one from 1 to {time} for each of {num}")
        self.register_buffer("recordings", recordings.detach().float(), persistent=False)
        self.register_buffer("lengths", lengths, persistent=False)

    def __len__(self) -> int:
        return len(self.recordings)


def looped(recordings: Tensor, rows: Tensor, starts: Tensor, lengths: Tensor, num_samples: int) -> Tensor:
    """Return recordings read from a sample on, round and round.

    Args:
        recordings: (num, channel, time).
        rows: Which recording each row is of, (batch,) int64.
        starts: First sample to read, (batch,) int64.
        lengths: Where each row begins again, (batch,) int64; 0 reads the first sample of padding, which is zero.
        num_samples: How much to read.

    Returns:
        (batch, channel, num_samples).
    """
    num_channels, time = recordings.shape[1:]
    if not time:
        return recordings.new_zeros((len(rows), num_channels, num_samples))
    times = torch.arange(num_samples, device=recordings.device)
    times = (starts[:, None] + times) % lengths.clamp(min=1)[:, None]
    channels = torch.arange(num_channels, device=recordings.device)
    return recordings[rows[:, None, None], channels[:, None], times[:, None, :]]
