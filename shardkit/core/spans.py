"""Events as stretches of recordings: which of them overlap others.

dog      |=======|        |===|              overlap: the first dog and the cat
cat             |====|                       do not: the second dog, and the car that begins where it ends
car                           |====|
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """Stretches of recordings, half-open, in samples at the stored rate; all arrays are (event,).

    Attributes:
        starts: First sample of each.
        stops: The sample after its last.
        numbers: Which interval each is, counted through all rows of its catalog.
    """

    starts: _Ints
    stops: _Ints
    numbers: _Ints

    @property
    def lengths(self) -> _Ints:
        """Samples of each, at least one, (event,)."""
        return self.stops - self.starts

    def take(self, index: _Ints | NDArray[np.bool_]) -> "Spans":
        """Return some of them."""
        return Spans(self.starts[index], self.stops[index], self.numbers[index])


def overlapping(recordings: _Ints, starts: _Ints, stops: _Ints) -> NDArray[np.bool_]:
    """Return which events share a sample with another event of their recording, (event,).

    Args:
        recordings: Which recording each is of, at least 0, (event,).
        starts: First samples, at least 0, (event,).
        stops: The samples after the last ones, above the starts, (event,).

    >>> overlapping(np.zeros(3, np.int64), np.array([0, 8, 12]), np.array([9, 12, 20])).tolist()
    [True, True, False]
    """
    found = np.zeros(len(starts), dtype=bool)
    if len(starts) < 2:
        return found
    order = np.lexsort((starts, recordings))
    # One recording behind the other, so that neither an order nor a running maximum reaches across.
    origins = recordings[order] * (int(stops.max()) + 1)
    first, last = starts[order] + origins, stops[order] + origins
    furthest = np.maximum.accumulate(last)
    shared = np.zeros(len(starts), dtype=bool)
    shared[1:] = furthest[:-1] > first[1:]  # with one that begins earlier
    shared[:-1] |= first[1:] < last[:-1]  # with the next that begins: if not with it, with none of the later ones
    found[order] = shared
    return found
