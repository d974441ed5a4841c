"""What the fused kernel looks up: how it cuts a transform in two, its factors, and which bins make up each band."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GROUP = 16  # bands that a program sums at once
_LARGEST = 64  # samples that a thread transforms: as many as its registers hold
_TF32_LOST_BITS = 13


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How the kernel works on transforms of one length.

    Attributes:
        n1: Length of the transforms in registers.
        n2: Length of those by matrices.
        classes: Transforms by matrices that are done at once, of each frame.
        frames: Frames that are done at once.
        num_warps: Of a program.
    """

    n1: int
    n2: int
    classes: int
    frames: int
    num_warps: int

    @property
    def num_classes(self) -> int:
        """Transforms by matrices of a frame, with those that fill the last part."""
        return -(-(self.n1 // 2 + 1) // self.classes) * self.classes

    @property
    def scratch_size(self) -> int:
        """Values that a program keeps between its two halves."""
        return self.num_classes * self.n2 * self.frames


def shape_of(n_fft: int) -> Shape | None:
    """Return how to transform ``n_fft`` samples, or None where the kernel does not: unless 16 · 2^a · 3^b · 5^c."""
    for n2 in (16, 32):
        n1, rest = divmod(n_fft, n2)
        if rest == 0 and 4 <= n1 <= _LARGEST and _is_smooth(n1):
            few = n1 <= _LARGEST // 2 and n2 == 16
            return Shape(n1=n1, n2=n2, classes=4 if few else 8, frames=32 if few else 16, num_warps=8)
    return None


def twiddles(shape: Shape) -> NDArray[np.float32]:
    """Return cosines and sines of 2π·n2·k1 / n_fft, (2, n1 // 2 + 1, n2)."""
    turns = np.arange(shape.n1 // 2 + 1)[:, np.newaxis] * np.arange(shape.n2)
    angles = 2.0 * np.pi * turns / (shape.n1 * shape.n2)
    return np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def matrices(shape: Shape) -> NDArray[np.float32]:
    """Return the transform over n2 of real parts and of imaginary parts, each as the sum of two matrices.

    Returns:
        (upper or lower bits, real or imaginary, n2, (k2, real or imaginary)).
    """
    turns = np.outer(np.arange(shape.n2), np.arange(shape.n2)) % shape.n2
    c, s = np.cos(2.0 * np.pi * turns / shape.n2), np.sin(2.0 * np.pi * turns / shape.n2)
    both = np.stack([np.stack([c, -s], axis=-1), np.stack([s, c], axis=-1)]).reshape(2, shape.n2, 2 * shape.n2)
    upper = _upper_bits(both)
    return np.stack([upper, _upper_bits(both - upper)])


@dataclass(frozen=True, kw_only=True)
class Bands:
    """Which bins make up each band, a group of bands at a time.

    Attributes:
        widths: Bins of the widest band of each group, (group,) int32.
        bins: For each group, (its width, band of the group, 2): where the kernel keeps that bin, and how much of it
            belongs to the band, a float32's bits; all groups in one row, int32.
    """

    widths: NDArray[np.int32]
    bins: NDArray[np.int32]


def bands(filters: NDArray[np.float32], shape: Shape) -> Bands:
    """Return what the kernel looks up of filters, (band, bin).

    A band is taken from its first bin that counts to its last; bands narrower than their group's widest go on with
    their own first bin and no weight.
    """
    counts = filters != 0.0
    first = counts.argmax(axis=1)
    width = np.where(counts.any(axis=1), filters.shape[1] - counts[:, ::-1].argmax(axis=1) - first, 0)
    widths, groups = [], []
    for start in range(0, len(filters), GROUP):
        members = np.minimum(np.arange(start, start + GROUP), len(filters) - 1)
        step = np.arange(max(1, width[members].max()))[:, np.newaxis]
        within = (step < width[members]) & (np.arange(start, start + GROUP) < len(filters))
        bins = first[members] + np.where(within, step, 0)
        widths.append(len(step))
        weights = np.where(within, filters[members, bins], 0.0).astype(np.float32)
        groups.append(np.stack([_place(bins, shape).astype(np.int32), weights.view(np.int32)], axis=-1).ravel())
    return Bands(widths=np.array(widths, np.int32), bins=np.concatenate(groups))


def _place(bins: NDArray[np.int64], shape: Shape) -> NDArray[np.int64]:
    """Return where the kernel keeps bins: as (k1, k2, frame), a bin being k1 + n1·k2, or its mirror image."""
    mirrored = np.where(2 * (bins % shape.n1) > shape.n1, shape.n1 * shape.n2 - bins, bins)
    place: NDArray[np.int64] = (mirrored % shape.n1 * shape.n2 + mirrored // shape.n1) * shape.frames
    return place


def _upper_bits(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the values without the bits that TF32 lacks."""
    bits = values.astype(np.float32).view(np.int32) & -(1 << _TF32_LOST_BITS)
    return bits.view(np.float32)


def _is_smooth(number: int) -> bool:
    for prime in (2, 3, 5):
        while number % prime == 0:
            number //= prime
    return number == 1
