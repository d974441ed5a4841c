"""How the rows of a pass are permuted."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shardkit.core.errors import InputError
from shardkit.core.permutation import permute, permute_blocks

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shuffle:
    """How the rows of a pass are permuted.

    Attributes:
        kind: ``full`` permutes all rows; ``block`` permutes blocks of neighbouring rows, then the rows within each
            window of blocks, so that what is drawn next lies together on storage; ``none`` leaves rows as packed.
        block_rows: Rows of a block, for ``block``.
        window_blocks: Blocks of a window, for ``block``.

    Raises:
        InputError: An unknown kind, or a size below one.
    """

    kind: Literal["full", "block", "none"] = "full"
    block_rows: int = 64
    window_blocks: int = 16

    def __post_init__(self) -> None:
        if self.kind not in ("full", "block", "none"):
            raise InputError(f"shuffle kind {self.kind!r} is unknown; choose full, block or none")
        for name, value in (("block_rows", self.block_rows), ("window_blocks", self.window_blocks)):
            if not isinstance(value, int) or not 1 <= value <= 2**20:
                raise InputError(f"shuffle {name} {value!r} is not an integer from 1 to 2^20; 64 and 16 are usual")

    def rows(self, offsets: _Ints, *, num_rows: _Ints, keys: NDArray[np.uint64]) -> _Ints:
        """Return the rows at these offsets of a pass.

        Args:
            offsets: Places in the pass, 0 <= offset < num_rows.
            num_rows: Rows of the pass; of the shape of ``offsets``, or (1,).
            keys: Keys of the pass; of the shape of ``offsets``, or (1,).

        Returns:
            For fixed num_rows and key, a permutation of [0, num_rows).
        """
        if self.kind == "none":
            return offsets
        if self.kind == "full":
            return permute(offsets, num_rows, keys)
        return permute_blocks(offsets, num_rows, keys, block_rows=self.block_rows, window_blocks=self.window_blocks)

    def window(self, offset: int, *, start: int, length: int) -> tuple[int, int]:
        """Return how far before and after a place in a segment of a pass its window reaches.

        Args:
            offset: The place, counted from the start of the segment.
            start: Where the segment starts in the pass.
            length: Places in the segment.

        Returns:
            (first, last): the window is the places [offset + first, offset + last), first <= 0 < last.
        """
        span = self.block_rows * self.window_blocks
        place = start + offset
        first = max(place // span * span, start)
        last = min((place // span + 1) * span, start + length)
        return first - place, last - place
