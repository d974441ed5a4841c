"""The K-weighting filter, by matrix products instead of sample by sample.

A recursive filter waits for each output before the next, which leaves most of a processor idle: ``sosfilt`` of scipy
takes 4 ns a sample. But the output over a block of samples is linear in these samples and in the filter's state before
them, and so is the state after them. So the states are found first, and then the output of all blocks at once:

    what a block adds to the state   u = x @ inputs            x: its 24 samples
    the state before each block      s' = s @ step + u         in three levels: blocks, groups of 8, units of 16 groups
    its output                       y = [x, s] @ outputs

This takes 1.5 ns a sample, in float64, and needs no scipy, whose signal package imports for as long as 300 short files
take to pack.

Each product is small enough for a matrix library to stay in the thread that calls it, and always of the same shape, so
that what a sample becomes depends on the samples before it only: not on how many follow or how they are handed over.

Source:
    ITU-R BS.1770-5, annex 1: two biquads (tables 1 and 2, at 48 kHz). At other rates the filters are those with the
    same analogue prototype, found by matching the 48 kHz tables (Brecht De Man, "Evaluation of implementations of the
    EBU R128 loudness measurement", AES 145, 2018).
"""

import math
import threading
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# The prototypes: a high shelf (the head) and a high pass (the ear's loss of low frequencies).
_SHELF_HZ, _SHELF_DB, _SHELF_Q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
_SHELF_MID = 0.4996667741545416  # exponent of the gain at the shelf's centre
_PASS_HZ, _PASS_Q = 38.13547087602444, 0.5003270373238773
_TABLE_RATE = 48_000

_STATE = 4  # numbers that two biquads remember
_BLOCK = 24  # samples: OpenBLAS takes 24 at a time where there is AVX-512, and loses nothing by it elsewhere
_GROUP, _UNIT, _UNITS = 8, 16, 16  # blocks of a group, groups of a unit, units of a chunk
_UNIT_BLOCKS = _GROUP * _UNIT
_UNIT_FRAMES = _BLOCK * _UNIT_BLOCKS
CHUNK = _UNIT_FRAMES * _UNITS  # samples filtered at once: as float64 they stay in a core's own cache
_SILENT_STATE = 1e-12  # of full scale, -240 dB

_Matrix = NDArray[np.float64]
_memory = threading.local()  # see _room


@dataclass(frozen=True, slots=True)
class _Scan:
    """From what each of ``n`` steps adds to the state to the state before each step, and after the last.

    Attributes:
        local: What the steps add, (n · 4), to these states had the first been zero, (n · 4, (n + 1) · 4).
        carried: The first state to what it is before each step if nothing is added, (4, n · 4).
        step: The same after all of them, (4, 4).
    """

    local: _Matrix
    carried: _Matrix
    step: _Matrix

    @classmethod
    def of(cls, step: _Matrix, n: int) -> "_Scan":
        """Return the scan of ``n`` steps, each of which takes the state to ``state @ step``."""
        powers = [np.eye(_STATE)]
        for _ in range(n):
            powers.append(powers[-1] @ step)
        local = np.zeros((n, _STATE, n + 1, _STATE))
        for before in range(n):
            for after in range(before + 1, n + 1):
                local[before, :, after] = powers[after - before - 1]
        return cls(local.reshape(n * _STATE, -1), np.concatenate(powers[:-1], axis=1), powers[-1])


@dataclass(frozen=True, slots=True)
class _Filter:
    """The filter of a rate: of a block, ``inputs`` (24, 4) and ``outputs`` (24 + 4, 24), and of each level its scan."""

    inputs: _Matrix
    outputs: _Matrix
    blocks: _Scan
    groups: _Scan
    units: _Scan


class KWeighting:
    """Weights one recording, chunk by chunk.

    Args:
        sample_rate: Samples per second.
        channels: Number of channels.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._filter = _filter(sample_rate)
        self._state = np.zeros((channels, 1, _STATE))

    def weigh(self, chunk: NDArray[np.number]) -> NDArray[np.float64]:
        """Return the weighted samples of the next chunk, in the unit that its samples have.

        Args:
            chunk: (channel, time); ``CHUNK`` samples, fewer only at the end of the recording.

        Returns:
            (channel, time), in memory that the next chunk of any recording in this thread will take.
        """
        rows = _in_blocks(chunk)
        channels, num_units = rows.shape[:2]
        rows[..., _BLOCK:] = self._states(rows[..., :_BLOCK] @ self._filter.inputs)
        weighted = _room("weighted", (*rows.shape[:-1], _BLOCK))
        np.matmul(rows, self._filter.outputs, out=weighted)
        return weighted.reshape(channels, num_units * _UNIT_FRAMES)[:, : chunk.shape[1]]

    def _states(self, added: _Matrix) -> _Matrix:
        """Return the state before each block, (channel, unit, block, 4), of what the blocks add; keep the last one."""
        channels, num_units = added.shape[:2]
        design, wide = self._filter, _UNITS * _STATE
        in_groups = added.reshape(channels, num_units, _UNIT, _GROUP * _STATE) @ design.blocks.local
        in_units = in_groups[..., -_STATE:].reshape(channels, num_units, 1, _UNIT * _STATE) @ design.groups.local
        of_units = np.zeros((channels, 1, wide))
        of_units[:, 0, : num_units * _STATE] = in_units[..., -_STATE:].reshape(channels, -1)
        in_chunk = of_units @ design.units.local
        units = in_chunk[..., :wide] + self._state @ design.units.carried
        self._state = in_chunk[..., wide:] + self._state @ design.units.step
        if np.abs(self._state).max() < _SILENT_STATE:
            self._state[:] = 0.0  # in digital silence it would decay into denormal numbers, which are slow
        before_units = units.reshape(channels, _UNITS, 1, _STATE)[:, :num_units]
        groups = in_units[..., :-_STATE] + before_units @ design.groups.carried
        blocks = in_groups[..., :-_STATE] + groups.reshape(channels, num_units, _UNIT, _STATE) @ design.blocks.carried
        return blocks.reshape(channels, num_units, _UNIT_BLOCKS, _STATE)


def _in_blocks(chunk: NDArray[np.number]) -> _Matrix:
    """Return the samples in rows of (channel, unit, block, 24 + 4), with room for states; zeros after the end."""
    channels, frames = chunk.shape
    num_units = -(-frames // _UNIT_FRAMES)
    rows = _room("rows", (channels, num_units, _UNIT_BLOCKS, _BLOCK + _STATE))
    flat = rows.reshape(channels, -1, _BLOCK + _STATE)
    num_whole, rest = divmod(frames, _BLOCK)
    flat[:, :num_whole, :_BLOCK] = chunk[:, : frames - rest].reshape(channels, num_whole, _BLOCK)
    flat[:, num_whole:, :_BLOCK] = 0.0
    if rest:
        flat[:, num_whole, :rest] = chunk[:, frames - rest :]
    return rows


def _room(name: str, shape: tuple[int, ...]) -> _Matrix:
    """Return memory that this thread keeps: to have it cleared by the system each time takes as long as filtering."""
    size = math.prod(shape)
    held: _Matrix | None = getattr(_memory, name, None)
    if held is None or held.size < size:
        held = np.empty(size)
        setattr(_memory, name, held)
    return held[:size].reshape(shape)


@lru_cache(maxsize=16)
def _filter(sample_rate: int) -> _Filter:
    # The response to each of the 24 samples of a block and to each of the 4 numbers of the state, one a row.
    inputs = np.eye(_BLOCK + _STATE, _BLOCK)
    state = np.eye(_BLOCK + _STATE, _STATE, -_BLOCK)
    outputs = np.empty((_BLOCK + _STATE, _BLOCK))
    for time in range(_BLOCK):
        signal = inputs[:, time]
        for section, (b0, b1, b2, _, a1, a2) in enumerate(k_weighting(sample_rate)):
            first, second = state[:, 2 * section : 2 * section + 2].T.copy()
            weighted = b0 * signal + first
            state[:, 2 * section] = b1 * signal - a1 * weighted + second
            state[:, 2 * section + 1] = b2 * signal - a2 * weighted
            signal = weighted
        outputs[:, time] = signal
    blocks = _Scan.of(state[_BLOCK:], _GROUP)
    groups = _Scan.of(blocks.step, _UNIT)
    return _Filter(state[:_BLOCK].copy(), outputs, blocks, groups, _Scan.of(groups.step, _UNITS))


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
