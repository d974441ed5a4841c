"""K-weighted energy of each 100 ms of a recording, measured block by block as it is decoded.

Source:
    ITU-R BS.1770-5, annex 1: the filters are in ``kweighting``; channel weights are table 3, table 4 for layouts
    beyond 5.1.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardkit.audio.kweighting import CHUNK, KWeighting
from shardkit.audio.pcm import Native, check_finite, full_scale
from shardkit.core.errors import AudioError
from shardkit.core.loudness import BLOCK_HOPS, hop_bounds, integrated_lufs, num_hops, quantise, to_lufs

_MIN_RATE = 400  # a few times the high pass; below, a hop of 100 ms has too few samples to filter

# WAVE and FLAC channel order. Surrounds weigh 1.41 where they stand beside the listener (60 to 120 degrees), else 1;
# low-frequency effects do not count. Other numbers of channels are not loudspeakers in known places: all count 1.
_WEIGHTS: dict[int, tuple[float, ...]] = {
    5: (1.0, 1.0, 1.0, 1.41, 1.41),  # L R C Ls Rs
    6: (1.0, 1.0, 1.0, 0.0, 1.41, 1.41),  # L R C LFE Ls Rs
    7: (1.0, 1.0, 1.0, 0.0, 1.0, 1.41, 1.41),  # L R C LFE Back Ls Rs
    8: (1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.41, 1.41),  # L R C LFE Lback Rback Ls Rs
}


@dataclass(frozen=True, slots=True)
class Loudness:
    """What was measured of a recording.

    Attributes:
        energies: K-weighted, channel-weighted mean square of each 100 ms hop; the last one as if padded with zeros.
            None where only the peak was asked for.
        lufs: Integrated loudness, None if nothing passes the gate.
        peak: Largest absolute sample.
        frames: Number of samples seen.
    """

    energies: NDArray[np.float64] | None
    lufs: float | None
    peak: float
    frames: int

    def track(self) -> bytes | None:
        """Return the loudness track as the index stores it, one byte a hop; None where there are no energies."""
        return None if self.energies is None else quantise(self.energies).tobytes()


class PeakMeter:
    """Measures of a recording what costs next to nothing: its peak; refuses what can't be measured all the same.

    Attributes:
        frames: Samples taken so far.
    """

    def __init__(self) -> None:
        self._scale = 1.0
        self._peak = 0.0
        self.frames = 0

    def feed(self, block: Native) -> None:
        """Take the next samples: a native block, (time, channel), of the same type as the ones before.

        Raises:
            AudioError: One of them is NaN or infinite; says which.
        """
        check_finite(block, self.frames)
        self.frames += len(block)
        if block.size:
            self._scale = full_scale(block.dtype)
            self._peak = max(self._peak, float(block.max()), -float(block.min()))

    def finish(self) -> Loudness:
        """Return the measurement; nothing may be fed afterwards."""
        return Loudness(None, None, self._peak / self._scale, self.frames)


class LoudnessMeter(PeakMeter):
    """Measures a recording fed to it in blocks of any size; the partition does not change a bit of the result.

    Args:
        sample_rate: Samples per second, at least 400.
        channels: Number of channels.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        super().__init__()
        if sample_rate < _MIN_RATE or channels < 1:
            raise AudioError(
                f"loudness of {channels} channels at {sample_rate} Hz: at least 1 and {_MIN_RATE} needed; "
                "'shardkit pack --no-loudness' does without"
            )
        self._sample_rate, self._channels = sample_rate, channels
        self._filter = KWeighting(sample_rate, channels)
        self._pending: Native | None = None  # less than a chunk
        self._sums: list[tuple[int, NDArray[np.float64]]] = []  # of squares, from some hop on, (channel, hop)
        self._measured = 0

    def feed(self, block: Native) -> None:
        """Take the next samples, as ``PeakMeter`` does."""
        super().feed(block)
        if not block.size:
            return
        if self._pending is not None:
            block = np.concatenate([self._pending, block])
        whole = len(block) - len(block) % CHUNK
        for start in range(0, whole, CHUNK):
            self._measure(block[start : start + CHUNK])
        self._pending = block[whole:] if whole < len(block) else None

    def finish(self) -> Loudness:
        """Return the measurement; nothing may be fed afterwards."""
        if self._pending is not None:
            self._measure(self._pending)
            self._pending = None
        energies = self._energies()
        lufs = self._integrated(energies)
        return Loudness(energies, lufs if math.isfinite(lufs) else None, self._peak / self._scale, self.frames)

    def _measure(self, chunk: Native) -> None:
        weighted = self._filter.weigh(chunk.T)
        start, stop = self._measured, self._measured + len(chunk)
        # Hops that the chunk has a part of: i begins at floor(i · rate / 10).
        first, last = ((start + 1) * 10 - 1) // self._sample_rate, (stop * 10 - 1) // self._sample_rate
        begins = np.arange(first, last + 1) * self._sample_rate // 10 - start
        begins[0] = 0
        self._sums.append((first, np.add.reduceat(np.square(weighted, out=weighted), begins, axis=1)))
        self._measured = stop

    def _energies(self) -> NDArray[np.float64]:
        sums = np.zeros((self._channels, num_hops(self.frames, self._sample_rate)))
        for first, some in self._sums:
            sums[:, first : first + some.shape[1]] += some
        weights = _WEIGHTS.get(self._channels)
        if weights is not None:
            sums *= np.array(weights)[:, None]
        return np.asarray(sums.sum(axis=0) / (self._lengths(sums.shape[1]) * self._scale**2))

    def _lengths(self, hops: int) -> NDArray[np.int64]:
        bounds = hop_bounds(hops, self._sample_rate)
        return bounds[1:] - bounds[:-1]

    def _integrated(self, energies: NDArray[np.float64]) -> float:
        """Return the gated loudness of the whole hops; of the few there are, ungated, if they don't fill a block."""
        num_whole = self.frames * 10 // self._sample_rate
        if num_whole >= BLOCK_HOPS or not energies.size:
            return integrated_lufs(energies[:num_whole])
        return float(to_lufs((energies * self._lengths(energies.size)).sum() / self.frames))
