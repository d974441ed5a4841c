"""Keyed permutations of [0, size), computed at a point: nothing is stored, whatever the size.

A Feistel network permutes a domain of side × side pairs, and cycle walking restricts it to [0, size): an image that
falls outside is permuted again until it falls inside, which keeps the map a bijection. The halves are added modulo
``side`` instead of xored, so the domain can be the next even square above ``size`` rather than the next power of
four, and almost no point walks: at a million rows at most one in 250 does.

``side`` is even because a rotation of an even number of points is an odd permutation; with an odd side, every round
would be even and only half of all permutations could be reached, which shows at sizes below ten. The price is a
domain of up to 4 × size there (1 in 4, 5 in 16) and at most 2 × size from 18 on.

Source: Black and Rogaway (2002), "Ciphers with arbitrary finite domains" (generalised Feistel, cycle walking); the
map of 32 random bits to [0, side) by a multiplication is Lemire (2019), "Fast random integer generation in an
interval".
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from shardkit.core.errors import InputError
from shardkit.core.random import Word, hash64

MAX_SIZE = 2**62

# With six rounds the images of two neighbours are visibly dependent at size 16; with eight, a chi-square over 100,000
# keys finds nothing at any size, down to counting every permutation of 3 to 7 points.
ROUNDS = 8

_U32 = np.uint64(32)
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)  # of splitmix64, as in random.py
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)
_ROUND_KEYS = [np.uint64((i * 0x9E3779B97F4A7C15) & (2**64 - 1)) for i in range(1, ROUNDS + 1)]

_Words = NDArray[np.uint64]
_Pass = Callable[[_Words, _Words, _Words], _Words]


def permute(index: Word, size: Word, key: Word) -> NDArray[np.int64]:
    """Return the image of each index under the permutation of [0, size) that the key selects.

    Args:
        index: Points, 0 <= index < size.
        size: Sizes of the domains, 1 to 2^62; one for all or one per point.
        key: 64-bit keys; one for all or one per point. Any two keys give unrelated permutations.

    Returns:
        Images in [0, size), in the broadcast shape of the arguments, with at least one axis.

    Raises:
        InputError: A size or an index is out of range.
    """
    return _walk(_forward, index, size, key)


def unpermute(image: Word, size: Word, key: Word) -> NDArray[np.int64]:
    """Return the index of each image: the inverse of ``permute``, with the same arguments.

    Raises:
        InputError: A size or an image is out of range.
    """
    return _walk(_backward, image, size, key)


def permute_blocks(
    index: NDArray[np.int64], size: NDArray[np.int64], key: NDArray[np.uint64], *, block_rows: int, window_blocks: int
) -> NDArray[np.int64]:
    """Return the image of each index under a permutation that keeps neighbours near.

    [0, size) is cut into blocks of ``block_rows``, the last of them possibly shorter. The blocks are permuted; then,
    of each ``window_blocks`` blocks that now follow one another, the rows are permuted among themselves:

        rows      | block 0 | block 1 | block 2 | block 3 | b4 |
        permuted  | block 3 | block 0 | b4 | block 2 | block 1 |
                  |<----- window 0 ------->|<---- window 1 --->|      window_blocks = 3

    Args:
        index: Points, 0 <= index < size.
        size: Sizes of the domains; of the shape of ``index``, or (1,).
        key: 64-bit keys; of the shape of ``index``, or (1,).
        block_rows: Rows of a block.
        window_blocks: Blocks of a window.

    Returns:
        Images in [0, size), in the shape of ``index``.

    Raises:
        InputError: A size or an index is out of range.
    """
    blocks = _Blocks(size, key, block_rows=block_rows, window_blocks=window_blocks)
    window, start, stop = blocks.windows(index)
    inside = start + permute(index - start, stop - start, hash64(key, window))
    full = blocks.filled(inside)
    place = full // block_rows
    return np.asarray(permute(place, blocks.num_blocks, key) * block_rows + (full - place * block_rows))


def block_windows(
    index: NDArray[np.int64], size: NDArray[np.int64], key: NDArray[np.uint64], *, block_rows: int, window_blocks: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the bounds of the window that ``permute_blocks`` permutes each index in, with the same arguments."""
    _, start, stop = _Blocks(size, key, block_rows=block_rows, window_blocks=window_blocks).windows(index)
    return start, stop


class _Blocks:
    """Where blocks and windows lie when the last block, which may be short, has been permuted to some other place.

    Positions are computed as if that block were full, and those past its place shifted by the gap.
    """

    def __init__(
        self, size: NDArray[np.int64], key: NDArray[np.uint64], *, block_rows: int, window_blocks: int
    ) -> None:
        self._span = block_rows * window_blocks
        self._block_rows = block_rows
        self.num_blocks = -(-size // block_rows)
        self._gap = self.num_blocks * block_rows - size  # rows that the last block lacks
        self._past_short: NDArray[np.int64] = self.num_blocks
        if self._gap.any():
            self._past_short = (unpermute(self.num_blocks - 1, self.num_blocks, key) + 1) * block_rows

    def filled(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return positions as if the short block were full."""
        return np.asarray(index + self._gap * (index >= self._past_short - self._gap))

    def windows(self, index: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return number, start and stop of the window of each index."""
        window = self.filled(index) // self._span
        first = window * self._span
        last = np.minimum((window + 1) * self._span, self.num_blocks * self._block_rows)
        start = first - self._gap * (first >= self._past_short)
        return window, np.asarray(start), np.asarray(last - self._gap * (last >= self._past_short))


def _walk(one_pass: _Pass, points: Word, size: Word, key: Word) -> NDArray[np.int64]:
    sizes = np.atleast_1d(np.asarray(size, dtype=np.int64))
    state = np.atleast_1d(np.asarray(points, dtype=np.int64)).view(np.uint64)
    limits = sizes.view(np.uint64)
    if sizes.size and (sizes.min() < 1 or sizes.max() > MAX_SIZE):
        raise InputError(f"a permutation needs a size in [1, 2^62], not {sizes.min()} to {sizes.max()}")
    if (state >= limits).any():  # as unsigned numbers, negative points are large
        raise InputError("a point to permute lies outside [0, size)")
    sides, keys = _sides(sizes), np.atleast_1d(hash64(key))  # hashed, so that keys 1, 2, 3 … do as well as any
    state = one_pass(state, sides, keys)
    outside = state >= limits
    if outside.any():
        limits, sides, keys = (np.broadcast_to(array, state.shape) for array in (limits, sides, keys))
        walking = np.nonzero(outside)
        while walking[0].size:
            state[walking] = one_pass(state[walking], sides[walking], keys[walking])
            left = state[walking] >= limits[walking]
            walking = tuple(axis[left] for axis in walking)
    return state.view(np.int64)


def _sides(sizes: NDArray[np.int64]) -> _Words:
    """Return the smallest even side whose square holds each size; one step more where the float root was short."""
    roots = np.ceil(np.sqrt(sizes.astype(np.float64))).astype(np.int64)
    roots += roots & 1
    roots += 2 * (roots * roots < sizes)
    return roots.view(np.uint64)


def _forward(points: _Words, sides: _Words, keys: _Words) -> _Words:
    halves = _split(points, sides, keys)
    for turn, round_key in enumerate(_ROUND_KEYS):
        target, other = halves[turn % 2], halves[1 - turn % 2]
        target += _round(other, keys + round_key, sides)
        np.minimum(target, target - sides, out=target)  # mod side: below it, the difference wraps to a large number
    return _join(halves, sides)


def _backward(points: _Words, sides: _Words, keys: _Words) -> _Words:
    halves = _split(points, sides, keys)
    for turn in reversed(range(ROUNDS)):
        target, other = halves[turn % 2], halves[1 - turn % 2]
        target -= _round(other, keys + _ROUND_KEYS[turn], sides)
        np.minimum(target, target + sides, out=target)  # mod side: only a negative difference wraps back
    return _join(halves, sides)


def _split(points: _Words, sides: _Words, keys: _Words) -> tuple[_Words, _Words]:
    shape = np.broadcast_shapes(points.shape, sides.shape, keys.shape)
    high = np.empty(shape, dtype=np.uint64)
    np.floor_divide(points, sides, out=high)
    return high, points - high * sides


def _join(halves: tuple[_Words, _Words], sides: _Words) -> _Words:
    high, low = halves
    high *= sides
    high += low
    return high


def _round(half: _Words, round_keys: _Words, sides: _Words) -> _Words:
    """Return a number in [0, side) that depends on every bit of the half and of the key."""
    bits = half + round_keys
    bits *= _MULTIPLIER_1
    bits ^= bits >> _U32
    bits *= _MULTIPLIER_2
    bits >>= _U32
    bits *= sides
    bits >>= _U32
    return bits
