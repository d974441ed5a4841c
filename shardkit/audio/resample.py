"""Another rate, another number of channels.

Resampling is soxr's. While packing it runs once and is kept for good: quality VHQ, in float64. While streaming it runs
on each crop: quality HQ, in float32, whose errors lie below those of 16 bits. Both are linear-phase: no delay.
"""

from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from shardkit.core.errors import AudioError

_STREAM_QUALITY, _PACK_QUALITY = "HQ", "VHQ"


def num_resampled(frames: int, from_rate: int, to_rate: int) -> int:
    """Return how many samples ``frames`` become: frames · to / from, rounded, half up."""
    return (2 * frames * to_rate + from_rate) // (2 * from_rate)


def resample(samples: NDArray[np.float32], from_rate: int, to_rate: int) -> NDArray[np.float32]:
    """Return the samples at another rate.

    Args:
        samples: PCM, (channel, time); not modified.
        from_rate: Rate of ``samples``.
        to_rate: Rate wanted.

    Returns:
        (channel, time), ``num_resampled`` long; ``samples`` themselves if the rates are equal.
    """
    if from_rate == to_rate:
        return samples
    length = num_resampled(samples.shape[1], from_rate, to_rate)
    resampled = soxr.resample(np.ascontiguousarray(samples.T), from_rate, to_rate, quality=_STREAM_QUALITY)
    return np.ascontiguousarray(_fit(resampled, length).T)


def mix_channels(samples: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    """Return the samples with another number of channels.

    Args:
        samples: PCM, (channel, time); not modified.
        channels: 1 takes the mean of all; more copy a mono recording.

    Returns:
        (channel, time); ``samples`` themselves if they have that many channels.

    Raises:
        AudioError: Any other change: which channels to leave out or to add is not for us to choose.
    """
    check_mix(samples.shape[0], channels)
    if samples.shape[0] == channels:
        return samples
    if channels == 1:
        return np.asarray(samples.mean(axis=0, dtype=np.float32, keepdims=True))
    return np.repeat(samples, channels, axis=0)


def check_mix(found: int, wanted: int) -> None:
    """Raise unless ``mix_channels`` can make ``wanted`` channels of ``found``.

    Raises:
        AudioError: Says what is possible.
    """
    if wanted not in {found, 1} and found != 1:
        raise AudioError(f"{found} channels can't become {wanted}: keep {found}, or mix to 1 (their mean)")


class BlockResampler:
    """Resamples a recording fed in blocks; the result is that of resampling it at once.

    Args:
        from_rate: Rate of the blocks.
        to_rate: Rate wanted.
        channels: Number of channels.
    """

    def __init__(self, from_rate: int, to_rate: int, channels: int) -> None:
        self._rates = from_rate, to_rate
        self._channels = channels
        self._stream = soxr.ResampleStream(from_rate, to_rate, channels, dtype="float64", quality=_PACK_QUALITY)
        self._num_in = self._num_out = 0

    def feed(self, block: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return what can be said of the output after the next samples, (time, channel)."""
        self._num_in += len(block)
        return self._take(self._stream.resample_chunk(np.ascontiguousarray(block)))

    def finish(self) -> NDArray[np.float64]:
        """Return the rest, so that ``num_resampled`` samples have come out in all."""
        rest = self._stream.resample_chunk(np.empty((0, self._channels)), last=True)
        return self._take(_fit(rest, num_resampled(self._num_in, *self._rates) - self._num_out))

    def _take(self, block: NDArray[np.float64]) -> NDArray[np.float64]:
        self._num_out += len(block)
        return block


def _fit(block: NDArray[Any], length: int) -> NDArray[Any]:
    """Return the block cut or zero-padded to ``length``; soxr rounds the same way, but does not promise to."""
    if len(block) >= length:
        return block[:length]
    return np.concatenate([block, np.zeros((length - len(block), block.shape[1]), block.dtype)])
