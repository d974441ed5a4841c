"""The rows of a pass in which each value comes once: the values take turns, and the rows of a value do too.

    values        a: r0 r1 r2      b: r1 r3      c: r4
    pass 0        b ─► r3     a ─► r1     c ─► r4          each value once, in an order that stays the same
    pass 1        b ─► r1     a ─► r2     c ─► r4          each by another of its rows, until all have had their turn

Because the order of the values does not change from pass to pass, any L consecutive draws have all L values once each,
wherever they begin: how long it takes until every label has been seen is known before anything is drawn. (The order of
a stream must leave such rows unshuffled: ``SourceRows.steady``.)
"""

import numpy as np
from numpy.typing import NDArray

from shardkit.core.permutation import permute
from shardkit.core.random import hash64

_Ints = NDArray[np.int64]


class TurnSpace:
    """The rows of a pass with one row for each value.

    Args:
        members: The recordings that have a value, those of value 0 first, (pair,).
        ends: Where those of each value end, (value,), ascending: a value has at least one.
        num_parts: Parts of each recording, (recording,); None: each is one part.

    Attributes:
        num_rows: Rows of a pass: the number of values.
    """

    def __init__(self, members: _Ints, ends: _Ints, num_parts: _Ints | None = None) -> None:
        self.members, self.ends = members, ends
        self.num_rows = len(ends)
        self._item_ends = np.arange(1, len(members) + 1) if num_parts is None else np.cumsum(num_parts[members])
        last = self._item_ends[ends - 1]
        self._first_item = np.concatenate([[0], last[:-1]]).astype(np.int64)
        self._num_items = last - self._first_item

    def locate(self, rows: _Ints, *, passes: _Ints, key: int) -> tuple[_Ints, _Ints]:
        """Return what rows of a pass are; see ``RowSpace.locate``."""
        values = permute(rows, self.num_rows, np.uint64(key))
        num_items = self._num_items[values]
        rounds, turns = np.divmod(passes, num_items)
        items = self._first_item[values] + permute(turns, num_items, hash64(key, values, rounds))
        pairs = np.searchsorted(self._item_ends, items, side="right")
        before = np.where(pairs > 0, self._item_ends[pairs - 1], 0)
        return self.members[pairs], items - before
