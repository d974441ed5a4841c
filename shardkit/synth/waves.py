"""Band-limited periodic waves: a table of one period, read at any frequency.

A square, saw or triangle that is sampled point by point folds its harmonics above the Nyquist frequency back as
inharmonic tones. Here each wave is instead the sum of those of its Fourier terms that the sample rate can carry;
what is left of aliasing is the error of linear interpolation in the table.

Linear interpolation of sin(kx) at M points a period is off by at most (2πk/M)²/8. With M = 2^15 and the 72 harmonics
that 110 Hz has at 16 kHz, the errors of a saw add up to less than πK²/(2M²) = 8e-6, below half a step of PCM16.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float64]

WAVES = ("sin", "square", "saw", "triangle")
TABLE_SIZE = 2**15
POINTS_A_HARMONIC = 64  # for waves of so many harmonics that TABLE_SIZE would be too coarse: (2π/64)²/8 = 0.1 %

# The partial sums of a jump overshoot it by 9 % (Wilbraham 1848, Gibbs 1899), however many terms there are; for a jump
# from -1 to 1 the peak is at most that of the first terms, 4/π = 1.27 for a lone sine.
MAX_PEAK = 4.0 / np.pi


def fourier_terms(wave: str, num_harmonics: int) -> Samples:
    """Return the sine coefficients b_1 … b_K of a wave of amplitude 1.

    >>> fourier_terms("square", 3).round(3).tolist()
    [1.273, 0.0, 0.424]
    """
    order = np.arange(1, num_harmonics + 1, dtype=np.float64)
    odd = order % 2.0
    if wave == "sin":
        return np.where(order == 1.0, 1.0, 0.0)
    if wave == "square":
        return 4.0 / np.pi * odd / order
    if wave == "saw":
        return 2.0 / np.pi * np.where(odd, 1.0, -1.0) / order
    return 8.0 / np.pi**2 * odd * np.where(order % 4.0 == 1.0, 1.0, -1.0) / order**2


def num_harmonics(frequency_hz: float, sample_rate: int) -> int:
    """Return how many harmonics lie below the Nyquist frequency, the fundamental included.

    >>> num_harmonics(1000.0, 16_000), num_harmonics(1001.0, 16_000)
    (7, 7)
    """
    return int(np.ceil(sample_rate / (2.0 * frequency_hz))) - 1


@lru_cache(maxsize=64)
def period(wave: str, harmonics: int) -> Samples:
    """Return one period of a wave and its first point again, read-only."""
    wanted = max(TABLE_SIZE, POINTS_A_HARMONIC * harmonics)
    size = 1 << (wanted - 1).bit_length()
    spectrum = np.zeros(size // 2 + 1, dtype=np.complex128)
    spectrum[1 : harmonics + 1] = -0.5j * size * fourier_terms(wave, harmonics)
    one = np.fft.irfft(spectrum, n=size)
    table = np.append(one, one[0])
    table.setflags(write=False)
    return table


def read_period(table: Samples, phase: Samples) -> Samples:
    """Return the wave at ``phase``, in periods (0.25 is a quarter of one), linearly interpolated."""
    position = (phase - np.floor(phase)) * (table.size - 1)
    # A phase just below a whole number can round up to it: the last interval then ends where it should.
    left = np.minimum(position.astype(np.intp), table.size - 2)
    at_left = table[left]
    return np.asarray(at_left + (position - left) * (table[left + 1] - at_left))


def tone(wave: str, frequency_hz: float, *, frames: int, sample_rate: int, max_harmonics: int | None = None) -> Samples:
    """Return a steady tone of amplitude 1 that starts at phase 0.

    Args:
        wave: One of ``WAVES``.
        frequency_hz: Of the fundamental; below the Nyquist frequency.
        frames: How many samples.
        sample_rate: Of the result, in Hz.
        max_harmonics: Leave out the harmonics above this one; None leaves out those that would alias.

    Returns:
        Samples, (time); never beyond ±``MAX_PEAK``.
    """
    harmonics = num_harmonics(frequency_hz, sample_rate)
    table = period(wave, harmonics if max_harmonics is None else min(harmonics, max_harmonics))
    return read_period(table, np.arange(frames, dtype=np.float64) * (frequency_hz / sample_rate))
