"""``Resample``: audio at another rate, by a polyphase filter, where the audio is.

    samples in    |0 . . .|orig . . .|2·orig . .|         a block: orig samples in, new samples out, whose places
    samples out   |0 . . . . |new . . . . |2·new .|       between the samples in are the same in every block

Each sample out is a sum of the samples in around it, weighted by a windowed sinc at their distance. Distances repeat
from block to block, so the whole is one product of blocks, with what lies around them, and a matrix that is made once:

    blocks (block, orig + 2·width)  @  kernel (orig + 2·width, new)  =  samples out (block, new)
"""

import math

import torch
from torch import Tensor, nn

from shardkit.core.checks import checked_whole
from shardkit.core.errors import InputError

_WIDTH = 6  # zero crossings of the sinc on either side
_ROLLOFF = 0.99  # of half the lower rate: where the filter cuts
_MAX_KERNEL = 1 << 24  # values; more are rates with hardly a common divisor
_LEAST_BLOCK = 64  # samples: shorter blocks overlap more than they hold


class Resample(nn.Module):
    """Audio at another rate.

    Shape: (batch, channel, time) to (batch, channel, ceil(time · to_rate / from_rate)).

    Sample i out stands for the time of sample i · from_rate / to_rate in; what lies outside of the audio is silence. It
    computes in float32 under autocast too. On CUDA that is what a matrix product makes of it: where
    ``torch.set_float32_matmul_precision`` allows TF32, that rounds the samples to 11 bits, an error of some −70 dB.

    Args:
        from_rate: Of the audio, in Hz.
        to_rate: To deliver, in Hz.

    Attributes:
        from_rate: As given.
        to_rate: As given.

    Raises:
        InputError: A rate is no whole positive number, or the two have so small a common divisor that the filter would
            take more than 64 MB.

    Source:
        Equal, but for rounding, to ``torchaudio.functional.resample`` with its defaults: a sinc of six zero crossings a
        side under a Hann window, after Smith, "Digital audio resampling", which cuts at 0.99 of half the lower rate.

    >>> Resample(44_100, 16_000)(torch.zeros(8, 1, 44_101)).shape
    torch.Size([8, 1, 16001])
    """

    kernel: Tensor

    def __init__(self, from_rate: int, to_rate: int) -> None:
        super().__init__()
        self.from_rate = checked_whole(from_rate, "from_rate")
        self.to_rate = checked_whole(to_rate, "to_rate")
        common = math.gcd(from_rate, to_rate)
        self._orig, self._new = from_rate // common, to_rate // common
        # Blocks of a few samples are put together: they'd have more around them than in them.
        together = -(-_LEAST_BLOCK // max(self._orig, self._new))
        self._orig, self._new = together * self._orig, together * self._new
        self._width = math.ceil(_WIDTH * self._orig / (min(self._orig, self._new) * _ROLLOFF))
        if self._new * (self._orig + 2 * self._width) > _MAX_KERNEL:
            raise InputError(
                f"resampling from {from_rate} to {to_rate} Hz, whose common divisor is {common}, would take a filter "
                f"of {self._new} phases; choose rates with a larger one, or Stream(sample_rate={to_rate})"
            )
        self.register_buffer("kernel", _kernel(self._orig, self._new, self._width), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Return the audio at ``to_rate``, in the dtype of the module.

        Raises:
            InputError: The audio is not (batch, channel, time) of floats, or the module was cast to half precision.
        """
        if audio.ndim != 3 or not audio.is_floating_point():
            raise InputError(
                f"audio is {audio.dtype} of shape {tuple(audio.shape)}; give floats, (batch, channel, time)"
            )
        if self.kernel.dtype not in (torch.float32, torch.float64):
            raise InputError(f"resampling in {self.kernel.dtype} would add noise; keep this module in float32")
        if self.from_rate == self.to_rate:
            return audio.to(self.kernel.dtype)
        time = audio.shape[-1]
        num_blocks = -(-time // self._orig)
        with torch.autocast(audio.device.type, enabled=False):
            padding = (self._width, self._width + num_blocks * self._orig - time)
            samples = nn.functional.pad(audio.to(self.kernel.dtype), padding)
            if num_blocks == 0:  # which unfold does not take
                return samples[..., :0]
            blocks = samples.unfold(-1, len(self.kernel), self._orig)
            return (blocks @ self.kernel).flatten(-2)[..., : self.num_samples(time)]

    def num_samples(self, time: int) -> int:
        """Return how many samples there are of so many."""
        return -(-time * self._new // self._orig)

    def extra_repr(self) -> str:
        """Return what ``print`` shows."""
        return f"from_rate={self.from_rate}, to_rate={self.to_rate}"


def _kernel(orig: int, new: int, width: int) -> Tensor:
    """Return the weights of samples around a block for each of its samples out, (orig + 2·width, new)."""
    cutoff = min(orig, new) * _ROLLOFF / orig  # relative to half the rate in
    place_in = torch.arange(-width, orig + width, dtype=torch.float64)
    place_out = torch.arange(new, dtype=torch.float64) * orig / new
    crossings = ((place_in[:, None] - place_out) * cutoff).clamp(-_WIDTH, _WIDTH)
    window = torch.cos(crossings * (math.pi / (2 * _WIDTH))).square()
    return (torch.sinc(crossings) * window * cutoff).float()
