"""Points of a lossy member are kept only if decoding from each of them gives what the full decode gave.

Whether a codec's state is forgotten after a lead-in is a matter of theory (``mp3_slices``, ``vorbis_slices``); whether
a file and a decoder keep to it is seen here, once, when the file is packed and decoded anyway. From every point the
samples up to the next one are read as a reader reads them, and compared bit for bit. After these, more than any
lead-in, a decoder's state is that of the full decode, so what it decodes beyond them is the same too.
"""

from collections.abc import Iterator

import numpy as np

from shardkit.audio import mp3_slices, vorbis_slices
from shardkit.audio.facts import AudioFacts
from shardkit.audio.pcm import Native
from shardkit.audio.points import PointTable
from shardkit.audio.slices import read_slice
from shardkit.core.errors import AudioError, FormatError

_MAX_STRETCH = 1 << 22  # samples between points: a page of Vorbis has at most a quarter of these
MIN_DURATION_S = 5.0  # below, reading 2 s by a table takes as long as decoding the whole


def find_points(data: bytes | memoryview, facts: AudioFacts) -> tuple[PointTable | None, bytes | None]:
    """Return a table of points for a recording, yet to be proven, and the setup its decoder needs beside it."""
    if facts.duration_s < MIN_DURATION_S:
        return None, None
    try:
        if facts.codec == "vorbis":
            return vorbis_slices.candidates(data, facts) or (None, None)
        if facts.codec == "mp3":
            return mp3_slices.candidates(data, facts), None
    except AudioError:
        pass  # an unusual file: it is read whole, as any that has no table
    return None, None


class Proof:
    """Compares what a table's points give with the full decode, as that goes by.

    Args:
        data: The member.
        facts: Its facts; ``frames`` need not be right yet.
        table: The points; None proves nothing.
        setup: What the decoder needs beside them.

    Attributes:
        table: The points that were proven, when all blocks have gone by; None: there are none.
        failed_at: Sample from which on the first failed comparison went; None: none failed.
    """

    def __init__(
        self, data: bytes | memoryview, facts: AudioFacts, table: PointTable | None, setup: bytes | None
    ) -> None:
        self.table = table
        self.failed_at: int | None = None
        self._data, self._facts, self._setup = memoryview(data), facts, setup
        self._starts = [] if table is None else table.exact_from().tolist()
        self._next = 0  # point
        self._tail: Native | None = None  # of the full decode, from that point's first exact sample on

    def watch(self, blocks: Iterator[Native]) -> Iterator[Native]:
        """Yield the blocks of the full decode, all samples in order; ``table`` is settled after the last one."""
        for block in blocks:
            if self.table is not None:
                self._compare(block)
            yield block
        if self.table is not None:
            self._compare_last()

    def _compare(self, block: Native) -> None:
        self._tail = block if self._tail is None else np.concatenate([self._tail, block])
        while self.table is not None and self._next + 1 < len(self._starts):
            length = self._starts[self._next + 1] - self._starts[self._next]
            if length > len(self._tail):
                break
            self._check(self._tail[:length])
            self._tail = self._tail[length:]
            self._next += 1
        if len(self._tail) > _MAX_STRETCH:  # a stream whose positions lie: the tail would become all of it
            self.table, self.failed_at, self._tail = None, self._starts[self._next], None
        elif self._tail.base is not None:
            self._tail = self._tail.copy()  # not to keep the block

    def _compare_last(self) -> None:
        if self._tail is not None and len(self._tail):
            self._check(self._tail)
            self._next += 1
        # The end may be trimmed, so that samples which only the last points could give are none.
        if self.table is not None and self._next < len(self._starts):
            self.table = self.table.first_points(self._next, self._data) if self._next >= 2 else None

    def _check(self, expected: Native) -> None:
        start = self._starts[self._next]
        if self.table is None or not self._agrees(self.table, start, expected):
            self.table, self.failed_at = None, start

    def _agrees(self, table: PointTable, start: int, expected: Native) -> bool:
        if not len(expected):
            return False  # points out of order, in a table that somebody else wrote
        stop = start + len(expected)
        span = table.span(start, stop)
        try:
            found = read_slice(self._data[span.lo : span.hi], self._facts, table, self._setup, start, stop)
        except (AudioError, FormatError):
            return False
        return found.tobytes() == expected.tobytes()  # bits: -0.0 is not 0.0
