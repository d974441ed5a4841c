"""Crops where there is something to hear.

A salient crop starts on the 100 ms grid of the stored energies, where its BS.1770 loudness follows from them as a
meter would measure it on the crop (loudness.py); off the grid it would be an estimate. Any window can be measured, so
a loud one is found if there is one, where other tools decode some random excerpts and keep the last.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from shardkit.core.checks import checked_seconds, is_number
from shardkit.core.content import Content, Runs
from shardkit.core.crops import Fallback, Recording, check_content, check_fallback, crop_length, scaled, starts_with
from shardkit.core.errors import AudioError, FormatError, InputError
from shardkit.core.loudness import (
    ABSOLUTE_GATE_LUFS,
    BLOCK_HOPS,
    HOP_S,
    gated_means,
    hop_bounds,
    integrated_lufs,
    num_hops,
    to_energy,
    to_lufs,
)
from shardkit.core.random import hash_int

_Energies = NDArray[np.float64]
_SEARCHES = ("uniform", "bias_early", "early", "loudest", "energy")

# Levels are compared and weighted after rounding to a millionth of a LU: far below the 0.2 dB of the stored track,
# far above the last bits in which sums and logarithms differ between machines, so a window whose level is exactly
# the floor (-40 is on the track's 0.4 dB scale) passes on all of them.
_LEVEL_DECIMALS = 6

_CHUNK_BLOCKS = 2**17  # 400 ms blocks gated at once: 1 MiB a temporary, whatever the recording's length

# Windows that are tried at random before all are measured. Most recordings are loud nearly everywhere: one window of
# 2 s is measured in 20 µs, all those of five minutes in 0.5 ms.
_TRIALS = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """The places that a salient crop can take in one recording.

    Attributes:
        starts: Where a crop can start, in samples, ascending, (candidate,).
        cumulative: Running sum of the candidates' weights, (candidate,).
        length: Length of the crop in samples.
    """

    starts: NDArray[np.int64]
    cumulative: NDArray[np.float64]
    length: int

    def pick(self, uniform: float) -> tuple[int, int]:
        """Return the bounds that a number in [0, 1) selects: each candidate as often as its weight says."""
        index = int(np.searchsorted(self.cumulative, uniform * self.cumulative[-1], side="right"))
        start = int(self.starts[min(index, len(self.starts) - 1)])
        return start, start + self.length


@dataclass(frozen=True, slots=True, eq=False)
class _Windows:
    """The windows of a recording that a crop may be, with the energies that their levels follow from.

    ``hops`` is the number of hops of a window on the grid; None for a section shorter than a window.
    """

    starts: NDArray[np.int64]
    length: int
    hops: int | None
    energies: _Energies
    sample_rate: int

    def early(self, trial: int) -> int:
        """Return how many of the windows a trial chooses from: at first all, at last those of the first crop length."""
        first, last = int(self.starts[0]), int(self.starts[-1])
        latest = last - max(0, last - first - self.length) * trial // (_TRIALS - 1)
        return int(np.searchsorted(self.starts, latest, side="right"))

    def level(self, start: int) -> float:
        """Return the level of one window; off the grid, that of the hops it touches."""
        first = -(-start * 10 // self.sample_rate)
        on_grid = first * self.sample_rate // 10 == start
        if on_grid and self.hops is not None:
            last = first + self.hops
        else:
            first -= not on_grid
            last = -(-(start + self.length) * 10 // self.sample_rate)
        return round(integrated_lufs(self.energies[first:last]), _LEVEL_DECIMALS)

    def levels(self) -> NDArray[np.float64]:
        """Return the level of each window, (window,)."""
        if len(self.starts) < _TRIALS or self.hops is None:
            return np.array([self.level(start) for start in self.starts.tolist()])
        grid = hop_bounds(len(self.energies), self.sample_rate)
        hop = np.searchsorted(grid, self.starts)
        first, last = int(hop[0]), int(hop[-1]) + self.hops
        levels = np.round(window_lufs(self.energies[first:last], window_hops=self.hops), _LEVEL_DECIMALS)
        levels = levels[np.minimum(hop - first, len(levels) - 1)]
        for index in np.flatnonzero(grid[hop] != self.starts).tolist():
            levels[index] = self.level(int(self.starts[index]))
        return np.asarray(levels)


@dataclass(frozen=True, slots=True)
class SalientCrop:
    """A crop where there is something to hear: its gated loudness reaches a floor.

    Args:
        duration_s: Length in seconds; all of a recording that is shorter.
        floor_lufs: Loudness, as BS.1770 measures it on the crop, that a window must reach to be a candidate.
        search: How to choose among the candidates. ``uniform``: each as likely. ``early``: each as likely of those
            that start less than one crop length after the first. ``bias_early``: eight trials, the first anywhere,
            each next one nearer to the beginning, and then as ``early``. ``loudest``: the loudest, the first if several
            are. ``energy``: in proportion to their energy.
        content: What of its intervals a crop must hold: ``shardkit.content(of=["speech"], ratio=0.5)``. None: nothing.
        fallback: What to do with a recording in which no window reaches the floor, or holds the content. ``keep``
            takes the loudest of those that hold the content, or the most of it; ``skip`` draws another recording
            instead; ``raise`` raises.

    Raises:
        InputError: An option is out of range.

    Source:
        Audiotools' salient excerpts and audiotree's ``SaliencyParams`` for the idea and the default floor.
        ``uniform`` is audiotree's ``search_uniform`` with as many tries as it takes. ``bias_early`` is its
        ``search_bias_early`` with its default of eight tries: each lowers the latest start, from the end of the
        recording to one crop length after the beginning; ``early`` goes on from the first window that reaches the
        floor.
    """

    needs_loudness: ClassVar[bool] = True

    duration_s: float
    _: KW_ONLY
    floor_lufs: float = -40.0
    search: Literal["uniform", "bias_early", "early", "loudest", "energy"] = "uniform"
    content: Content | None = None
    fallback: Fallback = "keep"

    def __post_init__(self) -> None:
        object.__setattr__(self, "duration_s", checked_seconds(self.duration_s, "duration_s"))
        if not is_number(self.floor_lufs):
            raise InputError(f"floor_lufs {self.floor_lufs!r} is not a finite level in LUFS; -40 is usual")
        object.__setattr__(self, "floor_lufs", float(self.floor_lufs))
        if self.search not in _SEARCHES:
            raise InputError(
                f"search {self.search!r} is unknown; choose {', '.join(_SEARCHES[:-1])} or {_SEARCHES[-1]}"
            )
        check_content(self.content)
        check_fallback(self.fallback)

    @property
    def interval_names(self) -> tuple[str, ...] | None:
        """See ``Crop``."""
        return None if self.content is None else self.content.of

    def place(self, recording: Recording, uniform: float) -> tuple[int, int] | None:
        """Return the crop's bounds; see ``Crop.place``."""
        windows, chance = self._windows(recording), uniform
        if windows is None:
            return None
        if self.search in ("uniform", "bias_early"):
            for trial in range(_TRIALS):
                count = len(windows.starts) if self.search == "uniform" else windows.early(trial)
                start = int(windows.starts[scaled(chance, count)])
                if windows.level(start) >= self.floor_lufs:
                    return start, start + windows.length
                chance = _next_chance(uniform, trial)
        found = self._candidates(windows)
        return None if found is None else found.pick(chance)

    def candidates(self, recording: Recording) -> Candidates | None:
        """Return the places among which ``place`` chooses, with the same argument and errors; None: skip it.

        Of ``bias_early``, those among which it chooses when its trials have failed.
        """
        windows = self._windows(recording)
        return None if windows is None else self._candidates(windows)

    def _windows(self, recording: Recording) -> _Windows | None:
        """Return the windows that hold the content; None: there is none, and the recording is skipped."""
        energies = _checked_energies(recording)
        first, last = recording.bounds
        length = crop_length(self.duration_s, recording)
        starts = starts_with(self.content, self.fallback, recording, length)
        if starts is None:
            return None
        full = round(self.duration_s * recording.sample_rate)
        hops = max(1, round(self.duration_s / HOP_S)) if length == full else None
        on_grid = _on_grid(starts, first, last - length, hop_bounds(len(energies), recording.sample_rate))
        return _Windows(on_grid, length, hops, energies, recording.sample_rate)

    def _candidates(self, windows: _Windows) -> Candidates | None:
        starts, levels = windows.starts, windows.levels()
        passing = levels >= self.floor_lufs
        loudest = int(np.argmax(levels))
        if not passing.any() and self.fallback == "skip":
            return None
        if not passing.any() and self.fallback == "raise":
            raise AudioError(
                f"no window of {self.duration_s:g} s reaches {self.floor_lufs:g} LUFS, the loudest has "
                f"{levels[loudest]:.1f}; lower floor_lufs or choose fallback='keep' or 'skip'"
            )
        weights = np.ones(1)
        if self.search == "loudest" or not passing.any():
            starts = starts[loudest : loudest + 1]
        else:
            starts, levels = starts[passing], levels[passing]
            if self.search in ("early", "bias_early"):
                starts = starts[starts < starts[0] + windows.length]
            weights = to_energy(levels) if self.search == "energy" else np.ones(len(starts))
        return Candidates(starts=starts, cumulative=np.cumsum(weights), length=windows.length)


def window_lufs(energies: _Energies, *, window_hops: int) -> NDArray[np.float64]:
    """Return the gated loudness of each window of consecutive hops.

    Equal to ``integrated_lufs(energies[i : i + window_hops])`` for each i, up to rounding in the last bits, but
    computed for all windows together, in bounded memory.

    Args:
        energies: K-weighted energy of each 100 ms, (hop,).
        window_hops: Length of a window, in hops.

    Returns:
        LUFS, (hop - window_hops + 1,); -inf where nothing passes the absolute gate.
    """
    if window_hops < BLOCK_HOPS:
        return to_lufs(_sliding(energies, window_hops).mean(axis=1))
    blocks = _sliding(energies, BLOCK_HOPS).mean(axis=1)
    blocks = np.where(blocks > to_energy(ABSOLUTE_GATE_LUFS), blocks, 0.0)  # zero: fails the relative gate as well
    windows = _sliding(blocks, window_hops - BLOCK_HOPS + 1)
    gated = np.zeros(len(windows))
    chunk = max(1, _CHUNK_BLOCKS // windows.shape[1])
    for start in range(0, len(windows), chunk):
        gated[start : start + chunk] = gated_means(windows[start : start + chunk])
    return to_lufs(gated)


def _sliding(values: _Energies, width: int) -> _Energies:
    return np.lib.stride_tricks.sliding_window_view(values, width)


def _checked_energies(recording: Recording) -> _Energies:
    if recording.energies is None:
        raise FormatError(
            "a salient crop needs the loudness of the recording, and its index has no loudness track; "
            "run `shardkit index` on the shards, or choose RandomCrop"
        )
    expected = num_hops(recording.frames, recording.sample_rate)
    if len(recording.energies) != expected:
        raise FormatError(
            f"the loudness track has {len(recording.energies)} hops of 100 ms, but {recording.frames} samples at "
            f"{recording.sample_rate} Hz have {expected}; run `shardkit index` on the shards again"
        )
    return recording.energies


def _on_grid(starts: Runs, first: int, last: int, grid: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the points of the grid in ``starts``, which lie from first to last; of a run without any, its middle."""
    points = grid[np.searchsorted(grid, first) : np.searchsorted(grid, last, side="right")]
    inside = points[starts.holds(points)]
    reached = np.searchsorted(inside, starts.firsts) < np.searchsorted(inside, starts.firsts + starts.counts)
    middles = (starts.firsts + (starts.counts - 1) // 2)[~reached]
    return np.sort(np.concatenate([inside, middles])) if len(middles) else inside


def _next_chance(uniform: float, trial: int) -> float:
    """Return a further number in [0, 1) for the same draw."""
    return (hash_int(int(uniform * 2.0**53), trial) >> 11) * 2.0**-53
