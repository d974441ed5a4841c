"""Counter-based randomness: every random number is a function of its key, and no generator has a state.

A number drawn for (seed, purpose, position) is the same on every rank, worker and machine, in whatever order the
positions are asked for. All arithmetic is modulo 2^64 on unsigned integers, so no platform can differ.

Source: Salmon, Moraes, Dror, Shaw (2011), "Parallel random numbers: as easy as 1, 2, 3", for the idea; the mixer is
the one of splitmix64: Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators", figure 16, with
the constants of David Stafford's "Mix13". ``hash64(word)`` is the first output of splitmix64 seeded with ``word``.
"""

from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from shardkit.core.errors import InputError

_MASK = (1 << 64) - 1
# splitmix64: the odd integer nearest to 2^64 / golden ratio, and Stafford's two multipliers.
_GAMMA, _MULTIPLIER_1, _MULTIPLIER_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_U_GAMMA, _U_MULTIPLIER_1, _U_MULTIPLIER_2 = np.uint64(_GAMMA), np.uint64(_MULTIPLIER_1), np.uint64(_MULTIPLIER_2)
_U27, _U30, _U31, _U11 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(11)

Word = int | np.integer | NDArray[np.integer]


def hash64(*words: Word) -> NDArray[np.uint64]:
    """Return 64 well-mixed bits of a tuple of words.

    The words are folded one after the other, each through a bijective mixer, so tuples that differ in any one word
    never collide, and tuples that differ in several collide no more often than random 64-bit numbers do:
    (seed 1, pass 2) and (seed 2, pass 1) are unrelated.

    Args:
        words: Integers or arrays of integers, broadcast against each other; taken modulo 2^64.

    Returns:
        One hash per element of the broadcast shape; zero-dimensional when every word is a scalar.

    Raises:
        InputError: A word is not an integer, or there are none.
    """
    if not words:
        raise InputError("hash64 needs at least one word")
    scalar, rest = 0, 0  # leading scalars (seed, purpose) are folded as Python integers, which is cheaper
    for word in words:
        if np.ndim(word) != 0:
            break
        scalar, rest = _mix_int(scalar ^ (_as_int(word) & _MASK)), rest + 1
    state: NDArray[np.uint64] = np.asarray(scalar, dtype=np.uint64)
    for word in words[rest:]:
        state = _mix(np.atleast_1d(np.bitwise_xor(state, _as_words(word))))
    return state


def hash_int(*words: int) -> int:
    """Return ``hash64`` of scalar words as a Python integer in [0, 2^64).

    >>> hex(hash_int(0))
    '0xe220a8397b1dcdaf'
    """
    return int(hash64(*words))


@lru_cache(maxsize=4096)
def key_of(text: str) -> int:
    """Return the 64-bit key of a name, equal in every process (unlike ``hash``, which Python salts).

    Args:
        text: A purpose, a source's name, or any other text.

    Returns:
        An integer in [0, 2^64): BLAKE2b (RFC 7693) with an 8-byte digest of the UTF-8 text, little-endian.
    """
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def uniform(seed: int, positions: NDArray[np.int64], purpose: str, index: int = 0) -> NDArray[np.float64]:
    """Return one uniform number in [0, 1) for each position.

    Args:
        seed: Any integer in [0, 2^63).
        positions: Positions of the stream.
        purpose: What the number decides, such as ``"crop"``; different purposes are independent.
        index: Distinguishes several numbers for one position and purpose.

    Returns:
        Multiples of 2^-53, in the shape of ``positions``.

    Raises:
        InputError: The seed is out of range.
    """
    bits = hash64(check_seed(seed), key_of(purpose), index, positions)
    return np.asarray((bits >> _U11) * 2.0**-53, dtype=np.float64)


def check_seed(seed: int) -> int:
    """Return the seed if it is an integer in [0, 2^63).

    Raises:
        InputError: It is not.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise InputError(f"seed {seed!r} is not an integer in [0, 2^63); choose one such as 0")
    return int(seed)


def _as_int(word: Word) -> int:
    if isinstance(word, int):
        return word
    return int(_as_words(word))


def _as_words(word: Word) -> NDArray[np.uint64]:
    if isinstance(word, int):
        return np.asarray(word & _MASK, dtype=np.uint64)
    array = np.asarray(word)
    if array.dtype == np.uint64:
        return array.view(np.uint64)
    if array.dtype.kind not in "iu":
        raise InputError(f"hash64 takes integers, not {array.dtype}; convert them first")
    return array.astype(np.int64, copy=False).view(np.uint64)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix in place; the same steps as ``_mix_int``."""
    state += _U_GAMMA
    shifted = state >> _U30
    state ^= shifted
    state *= _U_MULTIPLIER_1
    np.right_shift(state, _U27, out=shifted)
    state ^= shifted
    state *= _U_MULTIPLIER_2
    np.right_shift(state, _U31, out=shifted)
    state ^= shifted
    return state


def _mix_int(state: int) -> int:
    state = (state + _GAMMA) & _MASK
    state = ((state ^ (state >> 30)) * _MULTIPLIER_1) & _MASK
    state = ((state ^ (state >> 27)) * _MULTIPLIER_2) & _MASK
    return state ^ (state >> 31)
