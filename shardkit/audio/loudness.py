"""K-weighted energy of each 100 ms of a recording, measured block by block as it is decoded.

Source:
    ITU-R BS.1770-5, annex 1: two biquads (tables 1 and 2, at 48 kHz), channel weights (table 3; table 4 for layouts
    beyond 5.1). At other rates the filters are those with the same analogue prototype, found by matching the 48 kHz
    tables (Brecht De Man, "Evaluation of implementations of the EBU R128 loudness measurement", AES 145, 2018).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import sosfilt

from shardkit.audio.pcm import check_finite
from shardkit.core.errors import AudioError
from shardkit.core.loudness import BLOCK_HOPS, hop_bounds, integrated_lufs, num_hops, quantise, to_lufs

# The prototypes: a high shelf (the head) and a high pass (the ear's loss of low frequencies).
_SHELF_HZ, _SHELF_DB, _SHELF_Q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
_SHELF_MID = 0.4996667741545416  # exponent of the gain at the shelf's centre
_PASS_HZ, _PASS_Q = 38.13547087602444, 0.5003270373238773
_TABLE_RATE = 48_000
_MIN_RATE = 400  # a few times the high pass; below, a hop of 100 ms has too few samples to filter

# WAVE and FLAC channel order. Surrounds weigh 1.41 where they stand beside the listener (60 to 120 degrees), else 1;
# low-frequency effects do not count. Other numbers of channels are not loudspeakers in known places: all count 1.
_WEIGHTS: dict[int, tuple[float, ...]] = {
    5: (1.0, 1.0, 1.0, 1.41, 1.41),  # L R C Ls Rs
    6: (1.0, 1.0, 1.0, 0.0, 1.41, 1.41),  # L R C LFE Ls Rs
    7: (1.0, 1.0, 1.0, 0.0, 1.0, 1.41, 1.41),  # L R C LFE Back Ls Rs
    8: (1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.41, 1.41),  # L R C LFE Lback Rback Ls Rs
}
_SILENT_STATE = 1e-12  # of a filter: -240 dB


@dataclass(frozen=True, slots=True)
class Loudness:
    """What was measured of a recording.

    Attributes:
        energies: K-weighted, channel-weighted mean square of each 100 ms hop; the last one as if padded with zeros.
        lufs: Integrated loudness, None if nothing passes the gate.
        peak: Largest absolute sample.
        frames: Number of samples seen.
    """

    energies: NDArray[np.float64]
    lufs: float | None
    peak: float
    frames: int

    def track(self) -> bytes:
        """Return the loudness track as the index stores it: one byte a hop."""
        return quantise(self.energies).tobytes()


class LoudnessMeter:
    """Measures a recording fed to it in blocks of any size; the partition does not change a bit of the result.

    Samples are filtered as float32, which is exact enough (below 0.001 dB at 48 kHz) unless a quiet signal rides on a
    constant offset thousands of times its size.

    Args:
        sample_rate: Samples per second, at least 400.
        channels: Number of channels.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        if sample_rate < _MIN_RATE or channels < 1:
            raise AudioError(f"loudness of {channels} channels at {sample_rate} Hz: at least 1 and {_MIN_RATE} needed")
        self._sample_rate = sample_rate
        self._weights = np.array(_WEIGHTS.get(channels, (1.0,) * channels))
        self._sos = k_weighting(sample_rate).astype(np.float32)
        self._state = np.zeros((len(self._sos), 2, channels), np.float32)
        self._pending = np.empty((0, channels), np.float32)  # less than one stretch
        self._energies: list[NDArray[np.float64]] = []
        self._peak = 0.0
        self._frames = 0

    def feed(self, block: NDArray[np.float32]) -> None:
        """Take the next samples, (time, channel).

        Raises:
            AudioError: One of them is NaN or infinite; says which.
        """
        check_finite(block, self._frames)
        self._frames += len(block)
        if block.size:
            self._peak = max(self._peak, float(block.max()), -float(block.min()))
        pending = np.concatenate([self._pending, block])
        # Stretches of a second, ten hops, counted from the first sample: the same calls whatever the partition.
        stretch = self._sample_rate
        whole = len(pending) - len(pending) % stretch
        for start in range(0, whole, stretch):
            self._measure(pending[start : start + stretch])
        self._pending = pending[whole:].copy()

    def finish(self) -> Loudness:
        """Return the measurement; nothing may be fed afterwards."""
        if len(self._pending):
            self._measure(self._pending)
            self._pending = self._pending[:0]
        energies = np.concatenate(self._energies) if self._energies else np.empty(0)
        lufs = self._integrated(energies)
        return Loudness(energies, lufs if math.isfinite(lufs) else None, self._peak, self._frames)

    def _measure(self, stretch: NDArray[np.float32]) -> None:
        weighted, self._state = sosfilt(self._sos, stretch, axis=0, zi=self._state)
        if np.abs(self._state).max() < _SILENT_STATE:
            # In digital silence the state decays into denormal numbers, with which filters are 40 times slower.
            self._state = np.zeros_like(self._state)
        bounds = hop_bounds(num_hops(len(stretch), self._sample_rate), self._sample_rate)
        sums = np.add.reduceat(np.square(weighted, dtype=np.float64), bounds[:-1], axis=0)
        self._energies.append((sums * self._weights).sum(axis=1) / np.diff(bounds))

    def _integrated(self, energies: NDArray[np.float64]) -> float:
        """Return the gated loudness of the whole hops; of the few there are, ungated, if they don't fill a block."""
        num_whole = self._frames * 10 // self._sample_rate
        if num_whole >= BLOCK_HOPS or not energies.size:
            return integrated_lufs(energies[:num_whole])
        hops = np.diff(hop_bounds(energies.size, self._sample_rate))
        return float(to_lufs((energies * hops).sum() / self._frames))


def k_weighting(sample_rate: int) -> NDArray[np.float64]:
    """Return the two K-weighting biquads for a rate, as second-order sections (b0 b1 b2 a0 a1 a2).

    At 48 kHz these are the tables of BS.1770-5. At other rates the response is the same up to the warping of the
    bilinear transform near the Nyquist frequency, the high pass's gain of 0.04 dB included, which implementations
    that copy the numerator [1, -2, 1] to other rates lose (0.26 dB at 8 kHz).
    """
    return np.array([_high_shelf(sample_rate), _high_pass(sample_rate)])


def _high_shelf(sample_rate: int) -> list[float]:
    if sample_rate <= 2.0 * _SHELF_HZ:
        return [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]  # all that such a rate can hold lies below the shelf
    k = math.tan(math.pi * _SHELF_HZ / sample_rate)
    high = 10.0 ** (_SHELF_DB / 20.0)
    mid = high**_SHELF_MID
    a0 = 1.0 + k / _SHELF_Q + k * k
    b = (high + mid * k / _SHELF_Q + k * k, 2.0 * (k * k - high), high - mid * k / _SHELF_Q + k * k)
    return [*(value / a0 for value in b), 1.0, 2.0 * (k * k - 1.0) / a0, (1.0 - k / _SHELF_Q + k * k) / a0]


def _high_pass(sample_rate: int) -> list[float]:
    k = math.tan(math.pi * _PASS_HZ / sample_rate)
    a0 = 1.0 + k / _PASS_Q + k * k
    at_table = math.tan(math.pi * _PASS_HZ / _TABLE_RATE)
    gain = (1.0 + at_table / _PASS_Q + at_table * at_table) / a0
    return [gain, -2.0 * gain, gain, 1.0, 2.0 * (k * k - 1.0) / a0, (1.0 - k / _PASS_Q + k * k) / a0]
