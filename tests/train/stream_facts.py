"""What two ways to read one stream must agree on."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import xxhash


def facts(batches: Iterable[Any]) -> list[tuple[int, str, int, str]]:
    """Position, key, start and a hash of the audio, of each sample of NumPy or torch batches."""
    return [
        (int(position), key, int(start), xxhash.xxh3_64_hexdigest(np.ascontiguousarray(audio)))
        for batch in batches
        for position, key, start, audio in zip(batch.positions, batch.keys, batch.starts, batch.audio, strict=True)
    ]
