"""The blocks of one recording at another rate, with other channels, of another bit depth."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from shardkit.audio import pcm
from shardkit.audio.facts import AudioFacts
from shardkit.audio.resample import BlockResampler


class Reshaper:
    """Turns the native blocks of a recording into those of what is to be written.

    Integers go through float64 only where something must be computed: a mean, another rate, fewer bits.

    Args:
        facts: Of the recording.
        sample_rate: Rate wanted.
        channels: Number of channels wanted: the recording's, 1, or any for a mono recording.
        bit_depth: Bits of the integers wanted; None: floats of the recording's type.

    Attributes:
        frames_in: Samples taken so far.
        num_clipped: Samples so far that were beyond full scale when rounded to integers.
    """

    def __init__(self, facts: AudioFacts, *, sample_rate: int, channels: int, bit_depth: int | None) -> None:
        self.frames_in = 0
        self.num_clipped = 0
        self._bit_depth = bit_depth
        self._takes_mean = channels == 1 != facts.channels
        self._num_copies = channels if facts.channels == 1 else 1
        self._fits = bit_depth is not None and facts.bit_depth is not None and facts.bit_depth <= bit_depth
        self._float_dtype = np.float64 if facts.sample_format == "f64" else np.float32
        self._resampler = (
            BlockResampler(facts.sample_rate, sample_rate, channels) if sample_rate != facts.sample_rate else None
        )

    def run(self, blocks: Iterable[pcm.Native]) -> Iterator[pcm.Native]:
        """Yield what the blocks become.

        Raises:
            AudioError: A float sample is NaN or infinite.
        """
        for block in blocks:
            pcm.check_finite(block, self.frames_in)
            self.frames_in += len(block)
            yield self._reshape(block)
        if self._resampler is not None:
            yield self._store(self._resampler.finish())

    def _reshape(self, block: pcm.Native) -> pcm.Native:
        if self._num_copies > 1:
            block = np.repeat(block, self._num_copies, axis=1)
        if not self._takes_mean and self._resampler is None:
            return self._store_unchanged(block)
        samples = pcm.to_float64(block)
        if self._takes_mean:
            samples = samples.mean(axis=1, keepdims=True)
        return self._store(samples if self._resampler is None else self._resampler.feed(samples))

    def _store_unchanged(self, block: pcm.Native) -> pcm.Native:
        if self._bit_depth is None:
            return block
        if not self._fits:
            return self._store(pcm.to_float64(block))
        return pcm.widen(block, self._bit_depth)

    def _store(self, samples: NDArray[np.float64]) -> pcm.Native:
        if self._bit_depth is None:
            return samples.astype(self._float_dtype)
        block, num_clipped = pcm.quantise(samples, self._bit_depth)
        self.num_clipped += num_clipped
        return block
