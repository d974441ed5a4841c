"""The rows of a view's pass: parts of recordings, and some of them several times.

A view is a list of recordings, perhaps cut into parts (windows), perhaps repeated. Its rows are not written out: from
the number of parts and the repeat factor of each recording follows, by one running sum, which part of which recording
row number k of a pass is. A factor need not be whole. Laid end to end, each part as long as its factor,

    parts      |-- 1.5 --|-- 1.5 --|----- 2.0 -----|- 1.0 -|
    rows          x      x     x      x      x      x           one point each, num_rows of them, evenly spaced

the row is the part on which its point falls; each pass moves all points by an amount of its own. So a part of factor
1.5 comes once in some passes and twice in others, and never less often than its factor's whole part.

Source: systematic sampling, as in Kitagawa (1996), "Monte Carlo filter and smoother", appendix; repeat factors for
rare classes: Gupta, Dollar, Girshick (2019), "LVIS", section 5.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shardkit.core.errors import InputError
from shardkit.core.random import hash64

UNIT = 2**20  # a factor of one: factors are whole multiples of a millionth, so that all sums are exact
MAX_FACTOR = 2**20
_MAX_UNEVEN_ROWS = 2**31  # so that products of two row numbers fit int64

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class RowSpace:
    """The rows of a pass over some recordings.

    Args:
        num_recordings: How many recordings there are.
        num_parts: Parts of each recording, at least one, (recording,); None: each is one part.
        factors: How often each part of a recording comes in a pass, in units of 1 / UNIT, (recording,); None: once.

    Attributes:
        num_rows: Rows of a pass: the sum of the factors, rounded up.

    Raises:
        InputError: There would be too many rows.
    """

    num_recordings: int
    num_parts: _Ints | None = None
    factors: _Ints | None = None
    num_rows: int = field(init=False)
    _ends: _Ints | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        lengths = np.ones(self.num_recordings, dtype=np.int64) if self.num_parts is None else self.num_parts
        total = float(lengths.sum())
        if self.factors is not None:
            total = float(lengths.astype(np.float64) @ self.factors)
            lengths = lengths * self.factors
        if total >= 2**62:
            raise InputError("a pass would have too many rows; cut or repeat less")
        ends = None if self.num_parts is None and self.factors is None else np.cumsum(lengths)
        whole = self.num_recordings if ends is None else int(ends[-1]) if len(ends) else 0
        unit = 1 if self.factors is None else UNIT
        num_rows = -(-whole // unit)
        if whole % unit and num_rows > _MAX_UNEVEN_ROWS:
            raise InputError(f"a pass of {num_rows:,} rows is too long for repeat factors that are not whole")
        object.__setattr__(self, "num_rows", num_rows)
        object.__setattr__(self, "_ends", ends)

    def locate(self, rows: _Ints, *, passes: _Ints, key: int) -> tuple[_Ints, _Ints]:
        """Return what rows of a pass are.

        Args:
            rows: Row numbers, 0 <= row < num_rows, (row,).
            passes: The pass of each, (row,).
            key: Of the source.

        Returns:
            For each row, the recording and the part of it, (row,) each.
        """
        if self._ends is None:
            return rows, np.zeros_like(rows)
        points = rows if self.factors is None else self._points(rows, passes, key)
        recordings = np.searchsorted(self._ends, points, side="right")
        parts = points - np.concatenate([[0], self._ends])[recordings]
        return recordings, parts if self.factors is None else parts // self.factors[recordings]

    def _points(self, rows: _Ints, passes: _Ints, key: int) -> _Ints:
        """Return ⌊(row · total + shift) / num_rows⌋, shift < total a number of the pass, without overflow."""
        assert self._ends is not None  # noqa: S101  for the type checker
        total = int(self._ends[-1])
        spacing, uneven = divmod(total, self.num_rows)
        if not uneven:
            return rows * spacing
        shift = (hash64(key, passes) >> np.uint64(2)).astype(np.int64) % total
        return rows * spacing + (rows * uneven + shift) // self.num_rows
