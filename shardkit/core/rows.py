"""The rows of a view's pass: parts of recordings, and some of them several times.

A view is a list of recordings, perhaps cut into parts (windows), perhaps repeated. Its rows are not written out: from
the number of parts and the repeat factor of each recording follows, by running sums, which part of which recording
row number k of a pass is.

A factor need not be whole. Recordings of one factor form a group. First come the whole copies of each group; then of
each group as many parts as its fractional part says, other ones in each pass: the first of a permutation that the
pass selects. Where the groups' fractional parts are not whole numbers of rows either, they are laid end to end, and a
shift that the pass selects says which group gets the odd row:

    fractions of groups     |--- 2.4 ---|- 0.9 -|------- 4.7 -------|
    extra rows                x     x     x     x     x     x     x    x      the points move with the pass

So a part of factor 1.5 comes once in some passes and twice in others, and never less often than once.

Source: repeat factors for rare classes: Gupta, Dollar, Girshick (2019), "LVIS", section 5; the shifted points are
systematic sampling, as in Kitagawa (1996), "Monte Carlo filter and smoother", appendix.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardkit.core.errors import InputError
from shardkit.core.permutation import permute
from shardkit.core.random import hash64

UNIT = 2**20  # a factor of one: factors are whole multiples of a millionth, so that all sums are exact
MAX_FACTOR = 2**20
MAX_ROWS = 2**50

_Ints = NDArray[np.int64]


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

    def __init__(self, num_recordings: int, num_parts: _Ints | None = None, factors: _Ints | None = None) -> None:
        lengths = np.ones(num_recordings) if num_parts is None else num_parts.astype(np.float64)
        if float(lengths.sum() if factors is None else lengths @ factors / UNIT) > MAX_ROWS:
            raise InputError("a pass would have more than 2^50 rows; cut or repeat less")
        self._repeats = None
        if factors is not None:
            order = np.argsort(factors, kind="stable")
            num_parts = None if num_parts is None else num_parts[order]
            self._repeats = _Repeats.of(factors[order], num_parts, order)
        self._begins = None if num_parts is None else np.cumsum(num_parts) - num_parts
        num_items = num_recordings if num_parts is None else int(num_parts.sum())
        self.num_rows: int = num_items if self._repeats is None else self._repeats.num_rows

    def locate(self, rows: _Ints, *, passes: _Ints, key: int) -> tuple[_Ints, _Ints]:
        """Return what rows of a pass are.

        Args:
            rows: Row numbers, 0 <= row < num_rows, (row,).
            passes: The pass of each, (row,).
            key: Of the source.

        Returns:
            For each row, the recording and the part of it, (row,) each.
        """
        items = rows if self._repeats is None else self._repeats.items(rows, passes, key)
        if self._begins is None:
            recordings, parts = items, np.zeros_like(items)
        else:
            recordings = np.searchsorted(self._begins, items, side="right") - 1
            parts = items - self._begins[recordings]
        return recordings if self._repeats is None else self._repeats.order[recordings], parts


@dataclass(frozen=True, slots=True, eq=False)
class _Repeats:
    """Groups of items (parts, by recording) of one factor each; all arrays but the first are (group,).

    Attributes:
        order: The recordings, sorted by factor, (recording,).
        num_items: Items of each group.
        whole_ends: Running sum of the rows that are whole copies.
        fraction_ends: Running sum of the fractional rows, in units of 1 / UNIT; the last is a whole number of rows.
    """

    order: _Ints
    num_items: _Ints
    whole_ends: _Ints
    fraction_ends: _Ints

    @classmethod
    def of(cls, factors: _Ints, num_parts: _Ints | None, order: _Ints) -> "_Repeats":
        """Return the groups of sorted factors."""
        found, group = np.unique(factors, return_inverse=True)
        num_items = np.zeros(len(found), dtype=np.int64)
        np.add.at(num_items, group, 1 if num_parts is None else num_parts)
        fractions = num_items * (found % UNIT)
        if len(fractions):  # what the sum lacks of a whole row is shared by all items alike
            missing = -int(fractions.sum()) % UNIT
            fractions += (missing * (num_items / num_items.sum())).astype(np.int64)
            fractions[np.argmax(num_items)] += -int(fractions.sum()) % UNIT
        return cls(order, num_items, np.cumsum(num_items * (found // UNIT)), np.cumsum(fractions))

    @property
    def num_rows(self) -> int:
        """Rows of a pass."""
        return int(self.whole_ends[-1]) + int(self.fraction_ends[-1]) // UNIT if len(self.order) else 0

    def items(self, rows: _Ints, passes: _Ints, key: int) -> _Ints:
        """Return the item that each row is, counted through the groups."""
        whole = np.minimum(rows, self.whole_ends[-1] - 1)
        group = np.searchsorted(self.whole_ends, whole, side="right")
        inside = (whole - _before(self.whole_ends)[group]) % self.num_items[group]
        extra = np.flatnonzero(rows >= self.whole_ends[-1])
        if len(extra):
            group[extra], inside[extra] = self._extras(rows[extra] - self.whole_ends[-1], passes[extra], key)
        return np.asarray(_before(np.cumsum(self.num_items))[group] + inside)

    def _extras(self, rows: _Ints, passes: _Ints, key: int) -> tuple[_Ints, _Ints]:
        """Return the group of rows beyond the whole copies, and the item inside it."""
        keys = hash64(key, passes)
        shift = (keys >> np.uint64(44)).astype(np.int64)  # 20 bits: below UNIT
        group = np.searchsorted(self.fraction_ends, (rows + 1) * UNIT - shift - 1, side="right")
        number = rows - (_before(self.fraction_ends)[group] + shift) // UNIT
        num_items = self.num_items[group]
        return group, permute(number % num_items, num_items, hash64(keys, group))


def _before(ends: _Ints) -> _Ints:
    return np.concatenate([[0], ends[:-1]])
