"""Which windows of recordings are kept: those that hold enough of what is labelled.

    windows      |....|                    every hop one; they may overlap
                   |....|
                     |....|  ...
    interval             |======|
    kept           1 to 6                  a run of consecutive windows: two numbers, however many they are

All recordings of one rate are laid end to end, a window's length apart, so that their runs are found in one go.
"""

from typing import Self

import numpy as np
from numpy.typing import NDArray

from shardkit.core.content import Content
from shardkit.core.cuts import Windows
from shardkit.core.distinct import distinct

_Ints = NDArray[np.int64]


class KeptParts:
    """Runs of consecutive parts that are kept of each recording.

    Args:
        num_runs: Runs of each recording, (recording,).
        firsts: First part of each run, those of one recording together and ascending, (run,).
        counts: Parts in each run, at least one, (run,).
    """

    def __init__(self, num_runs: _Ints, firsts: _Ints, counts: _Ints) -> None:
        self.num_runs, self.firsts, self.counts = num_runs, firsts, counts
        self._runs = np.concatenate([[0], np.cumsum(num_runs)])  # where each recording's runs begin
        self._before = np.concatenate([[0], np.cumsum(counts)])  # kept parts before each run, of all recordings

    @property
    def num_parts(self) -> _Ints:
        """How many parts of each recording are kept, (recording,)."""
        return np.asarray(np.diff(self._before[self._runs]))

    def parts(self, recordings: _Ints, places: _Ints) -> _Ints:
        """Return the number that the kept part at some place of a recording has among all its parts."""
        wanted = self._before[self._runs[recordings]] + places
        run = np.searchsorted(self._before, wanted, side="right") - 1
        return np.asarray(self.firsts[run] + wanted - self._before[run])

    def take(self, recordings: _Ints) -> Self:
        """Return what is kept of some of the recordings, in their order."""
        num_runs = self.num_runs[recordings]
        first = np.repeat(self._runs[recordings] - (np.cumsum(num_runs) - num_runs), num_runs)
        runs = first + np.arange(len(first))
        return type(self)(num_runs, self.firsts[runs], self.counts[runs])


def kept_windows(
    windows: Windows, content: Content, *, frames: _Ints, sample_rate: _Ints, events: _Ints, recordings: _Ints
) -> KeptParts:
    """Return the windows that hold enough of the events, counted in samples.

    Where a recording is shorter than its window, the share is that of the whole window, padding included.

    Args:
        windows: How the recordings are cut.
        content: How much a window must hold.
        frames: Lengths in samples, (recording,).
        sample_rate: In Hz, (recording,).
        events: Bounds of the named intervals, half-open, in samples, (event, 2).
        recordings: Which recording each event is of, (event,).

    Source:
        spgdataset's ``window_content_ratio``: overlap with the union of the wanted intervals, over the window.
    """
    num_parts = windows.num_parts(frames, sample_rate)
    found = [np.empty((0, 3), dtype=np.int64)]
    for rate in distinct(sample_rate[recordings]):
        alike = np.flatnonzero(sample_rate == rate)
        number = np.full(len(frames), -1)
        number[alike] = np.arange(len(alike))
        mine = number[recordings] >= 0
        size, hop = (int(length[0]) for length in windows.lengths(np.array([rate])))
        origins = np.cumsum(frames[alike] + size) - (frames[alike] + size)
        place = number[recordings[mine]]
        shifted = np.clip(events[mine], 0, frames[alike][place][:, None]) + origins[place][:, None]
        shifted = shifted[shifted[:, 0] < shifted[:, 1]]
        runs = content.starts(shifted, 0, int(origins[-1] + frames[alike[-1]]), size)
        lasts = runs.firsts + runs.counts - 1
        # A run may begin before the recording, where windows reach into it, but never ends there.
        of = np.searchsorted(origins, lasts, side="right") - 1
        low = -(-np.maximum(runs.firsts - origins[of], 0) // hop)
        high = np.minimum((lasts - origins[of]) // hop, num_parts[alike[of]] - 1)
        some = low <= high
        found.append(np.stack([alike[of], low, high - low + 1], axis=1)[some])
    rows = np.concatenate(found)
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    return KeptParts(np.bincount(rows[:, 0], minlength=len(frames)), rows[:, 1], rows[:, 2])
