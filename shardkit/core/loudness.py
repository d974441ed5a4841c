"""Loudness from 100 ms energies: the arithmetic of BS.1770 without any audio.

At pack time the K-weighted energy of each 100 ms is measured once and stored as one byte. BS.1770 measures blocks
of 400 ms that overlap by 75 %, so each of its blocks is the mean of four consecutive stored values, and the gated
loudness of any span on the 100 ms grid follows from the index alone.

Source: ITU-R BS.1770-5, annex 1, equations 2 to 7.
"""

import numpy as np
from numpy.typing import NDArray

HOP_S = 0.1  # one stored energy; a quarter of BS.1770's 400 ms block
BLOCK_HOPS = 4
ABSOLUTE_GATE_LUFS = -70.0
RELATIVE_GATE_LU = -10.0
OFFSET_DB = -0.691  # BS.1770-5, equation 2: makes a 997 Hz sine at 0 dBFS in one channel read -3.01 LKFS

# One byte a hop: 0 is silence, code c > 0 is FLOOR_LUFS + (c - 1) * STEP_DB, so 255 is +1.6 LUFS and above.
FLOOR_LUFS = -100.0
STEP_DB = 0.4


def hop_bounds(num_hops: int, sample_rate: int) -> NDArray[np.int64]:
    """Return the num_hops + 1 sample indices that delimit the 100 ms hops: hop i starts at floor(i · rate / 10)."""
    return np.arange(num_hops + 1, dtype=np.int64) * sample_rate // 10


def num_hops(frames: int, sample_rate: int) -> int:
    """Return how many hops cover ``frames`` samples; the last may be partial (its energy counts as if zero-padded)."""
    return -(-frames * 10 // sample_rate)


def to_lufs(energy: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return LUFS of K-weighted, channel-weighted mean squares; -inf for zero."""
    with np.errstate(divide="ignore"):
        return np.asarray(OFFSET_DB + 10.0 * np.log10(np.asarray(energy, dtype=np.float64)))


def to_energy(lufs: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Return the K-weighted mean square of a level in LUFS; the inverse of ``to_lufs``."""
    return np.asarray(10.0 ** ((np.asarray(lufs, dtype=np.float64) - OFFSET_DB) / 10.0))


def quantise(energy: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return one byte per 100 ms energy; within the range the level is off by at most STEP_DB / 2."""
    return _LEAST_OF_CODE.searchsorted(energy, side="right").astype(np.uint8)


def dequantise(track: bytes | NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the 100 ms energies of a stored track."""
    codes = np.frombuffer(track, dtype=np.uint8) if isinstance(track, bytes) else track
    return np.asarray(_ENERGY_OF_CODE[codes])


def integrated_lufs(energies: NDArray[np.float64]) -> float:
    """Return the gated loudness of a span from its 100 ms energies; -inf when nothing passes the absolute gate.

    A span shorter than one 400 ms block has no BS.1770 loudness; its ungated mean is returned instead.
    """
    if energies.size < BLOCK_HOPS:
        return float(to_lufs(energies.mean())) if energies.size else float("-inf")
    blocks = np.convolve(energies, np.full(BLOCK_HOPS, 1.0 / BLOCK_HOPS), mode="valid")
    gated = blocks[blocks > _GATE]
    if not gated.size:
        return float("-inf")
    threshold = gated.mean() * 10.0 ** (RELATIVE_GATE_LU / 10.0)
    return float(to_lufs(gated[gated > threshold].mean()))


def spans_lufs(energies: NDArray[np.float64], num_hops: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the gated loudness of several spans of different lengths.

    Equal to ``integrated_lufs(energies[i, : num_hops[i]])`` for each i, up to rounding in the last bits, but computed
    for all spans together.

    Args:
        energies: K-weighted energy of each 100 ms, (span, hop).
        num_hops: Hops of each span, (span,); what lies behind them is not looked at.

    Returns:
        LUFS, (span,); -inf where nothing passes the absolute gate.
    """
    hops = np.arange(energies.shape[1]) < num_hops[:, np.newaxis]
    means = np.where(hops, energies, 0.0).sum(axis=1) / np.maximum(num_hops, 1)
    if energies.shape[1] < BLOCK_HOPS:
        return to_lufs(means)
    num_blocks = energies.shape[1] - BLOCK_HOPS + 1
    blocks = sum(energies[:, i : i + num_blocks] for i in range(BLOCK_HOPS)) / BLOCK_HOPS
    gated = gated_means(np.where(hops[:, BLOCK_HOPS - 1 :] & (blocks > _GATE), blocks, 0.0))
    return to_lufs(np.where(num_hops < BLOCK_HOPS, means, gated))


def gated_means(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the blocks of each span that pass the relative gate, (span,); 0 for a span of zeros.

    Args:
        blocks: Energies of 400 ms, (span, block); zero where they don't pass the absolute gate.
    """
    num_blocks = np.maximum(np.count_nonzero(blocks, axis=1), 1)
    threshold = blocks.sum(axis=1) / num_blocks * 10.0 ** (RELATIVE_GATE_LU / 10.0)
    loud = blocks > threshold[:, np.newaxis]
    num_loud = np.maximum(np.count_nonzero(loud, axis=1), 1)
    return np.asarray((blocks * loud).sum(axis=1) / num_loud)


_GATE = float(to_energy(ABSOLUTE_GATE_LUFS))
_LEAST_OF_CODE = to_energy(FLOOR_LUFS + STEP_DB * (np.arange(255, dtype=np.float64) - 0.5))  # of codes 1 to 255
_ENERGY_OF_CODE = np.concatenate([[0.0], to_energy(FLOOR_LUFS + STEP_DB * np.arange(255, dtype=np.float64))])
