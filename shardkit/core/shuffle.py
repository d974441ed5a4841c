"""How the rows of a pass are permuted."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shardkit.core.errors import InputError
from shardkit.core.permutation import block_windows, permute, permute_blocks

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

    def window(self, place: int, *, segment: tuple[int, int], num_rows: int, key: np.uint64) -> tuple[int, int]:
        """Return the bounds of the places in a pass whose rows were kept near that of one place.

        Args:
            place: In the pass.
            segment: Start and stop of the places in question, ``place`` among them.
            num_rows: Rows of the pass.
            key: Key of the pass.

        Returns:
            Start and stop of the window, within the segment.
        """
        if self.kind == "full":
            return place, place + 1
        if self.kind == "none":
            span = self.block_rows * self.window_blocks
            first, last = place // span * span, (place // span + 1) * span
        else:
            bounds = block_windows(
                np.array([place]),
                np.array([num_rows]),
                np.array([key], dtype=np.uint64),
                block_rows=self.block_rows,
                window_blocks=self.window_blocks,
            )
            first, last = (int(bound[0]) for bound in bounds)
        return max(first, segment[0]), min(last, segment[1])
