"""Randomness by key: each recording has its own generator, so none depends on which others are made."""

import zlib

import numpy as np


def generator(seed: int, purpose: str, index: int) -> np.random.Generator:
    """Return the generator of one recording (or speaker, or piece).

    The three are hashed together by NumPy's SeedSequence, never added: seed 1, index 2 shares nothing with seed 2,
    index 1. The generator is named, because ``default_rng`` may change to another one (NEP 19).
    """
    entropy = [seed, zlib.crc32(purpose.encode()), index]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))
