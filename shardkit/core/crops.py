"""Where in a recording a sample is cut: policies that place a crop from the index alone, without decoding.

Each policy is a frozen value with one method, ``place``: a pure function of the recording's length, its 100 ms
energies and one uniform number, so a crop can be drawn again anywhere. Bounds are half-open, in samples at the stored
rate.

A salient crop starts on the 100 ms grid of the stored energies, where its BS.1770 loudness follows from them as a
meter would measure it on the crop (loudness.py); off the grid it would be an estimate. All windows are measured, so a
loud one is found if there is one, where other tools decode some random excerpts and keep the last.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from shardkit.core.checks import checked_seconds, is_number
from shardkit.core.errors import AudioError, FormatError, InputError
from shardkit.core.loudness import (
    ABSOLUTE_GATE_LUFS,
    BLOCK_HOPS,
    HOP_S,
    RELATIVE_GATE_LU,
    hop_bounds,
    integrated_lufs,
    num_hops,
    to_energy,
    to_lufs,
)

_Energies = NDArray[np.float64]

# Levels are compared and weighted after rounding to a millionth of a LU: far below the 0.2 dB of the stored track,
# far above the last bits in which sums and logarithms differ between machines, so a window whose level is exactly
# the floor (-40 is on the track's 0.4 dB scale) passes on all of them.
_LEVEL_DECIMALS = 6

_CHUNK_BLOCKS = 2**17  # 400 ms blocks gated at once: 1 MiB a temporary, whatever the recording's length


class Crop(Protocol):
    """A policy that places one crop in a recording."""

    @property
    def duration_s(self) -> float:
        """Length of the crop in seconds."""

    @property
    def needs_loudness(self) -> bool:
        """Whether ``place`` uses the energies; if not, they may be None."""

    def place(
        self,
        *,
        frames: int,
        sample_rate: int,
        energies: _Energies | None,
        uniform: float,
        section: tuple[int, int] | None = None,
    ) -> tuple[int, int]:
        """Return the crop's bounds.

        Args:
            frames: Length of the recording in samples.
            sample_rate: Its stored rate in Hz.
            energies: Its K-weighted energy each 100 ms, (hop,), or None where the index has none.
            uniform: A number in [0, 1) that decides among the possible places.
            section: Samples [start, stop) of the recording inside which the crop lies; None: all of it.

        Returns:
            Start and stop in samples, from the start of the recording; stop - start is ``duration_s`` at the stored
            rate, or all of a shorter section.

        Raises:
            InputError: The crop is shorter than one sample.
            FormatError: The policy needs energies that are missing or don't fit the recording.
            AudioError: The policy finds no place that will do, and was told to raise.
        """


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """A crop that starts at any sample with equal probability.

    Args:
        duration_s: Length in seconds.

    Raises:
        InputError: The duration is not a positive number.
    """

    needs_loudness: ClassVar[bool] = False

    duration_s: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "duration_s", checked_seconds(self.duration_s, "duration_s"))

    def place(
        self,
        *,
        frames: int,
        sample_rate: int,
        energies: _Energies | None = None,
        uniform: float,
        section: tuple[int, int] | None = None,
    ) -> tuple[int, int]:
        """Return the crop's bounds; see ``Crop.place``. The energies are not used."""
        del energies
        first, last = section or (0, frames)
        length = _crop_length(self.duration_s, frames=last - first, sample_rate=sample_rate)
        start = first + _scaled(uniform, last - first - length + 1)
        return start, start + length


@dataclass(frozen=True, slots=True)
class CenterCrop:
    """The middle of the recording, the same each time.

    Args:
        duration_s: Length in seconds.

    Raises:
        InputError: The duration is not a positive number.
    """

    needs_loudness: ClassVar[bool] = False

    duration_s: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "duration_s", checked_seconds(self.duration_s, "duration_s"))

    def place(
        self,
        *,
        frames: int,
        sample_rate: int,
        energies: _Energies | None = None,
        uniform: float = 0.0,
        section: tuple[int, int] | None = None,
    ) -> tuple[int, int]:
        """Return the crop's bounds; see ``Crop.place``. Neither the energies nor the number are used."""
        del energies, uniform
        first, last = section or (0, frames)
        length = _crop_length(self.duration_s, frames=last - first, sample_rate=sample_rate)
        start = first + (last - first - length) // 2
        return start, start + length


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """The places a salient crop can take in one recording; worth keeping while rows are drawn again and again.

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


@dataclass(frozen=True, slots=True)
class SalientCrop:
    """A crop where there is something to hear: its gated loudness reaches a floor.

    Args:
        duration_s: Length in seconds.
        floor_lufs: Loudness, as BS.1770 measures it on the crop, that a window must reach to be a candidate.
        search: How to choose among the candidates. ``uniform``: each as likely. ``early``: each as likely of those
            that start less than one crop length after the first. ``loudest``: the loudest, the first if several are.
            ``energy``: in proportion to their energy.
        fallback: What to do when no window reaches the floor. ``keep`` takes the loudest; ``raise`` raises.

    Raises:
        InputError: An option is out of range.

    Source:
        Audiotools' salient excerpts and audiotree's ``SaliencyParams`` for the idea and the default floor.
        ``uniform`` is audiotree's ``search_uniform`` with as many tries as it takes. Its ``search_bias_early`` lowers
        the latest start with every try, from the end of the recording to one crop length after the beginning;
        ``early`` is the end of that search, counted from the first window that reaches the floor.
    """

    needs_loudness: ClassVar[bool] = True

    duration_s: float
    _: KW_ONLY
    floor_lufs: float = -40.0
    search: Literal["uniform", "early", "loudest", "energy"] = "uniform"
    fallback: Literal["keep", "raise"] = "keep"

    def __post_init__(self) -> None:
        object.__setattr__(self, "duration_s", checked_seconds(self.duration_s, "duration_s"))
        if not is_number(self.floor_lufs):
            raise InputError(f"floor_lufs {self.floor_lufs!r} is not a finite level in LUFS; -40 is usual")
        object.__setattr__(self, "floor_lufs", float(self.floor_lufs))
        if self.search not in ("uniform", "early", "loudest", "energy"):
            raise InputError(f"search {self.search!r} is unknown; choose uniform, early, loudest or energy")
        if self.fallback not in ("keep", "raise"):
            raise InputError(f"fallback {self.fallback!r} is unknown; choose keep or raise")

    def place(
        self,
        *,
        frames: int,
        sample_rate: int,
        energies: _Energies | None,
        uniform: float,
        section: tuple[int, int] | None = None,
    ) -> tuple[int, int]:
        """Return the crop's bounds; see ``Crop.place``."""
        found = self.candidates(frames=frames, sample_rate=sample_rate, energies=energies, section=section)
        return found.pick(uniform)

    def candidates(
        self, *, frames: int, sample_rate: int, energies: _Energies | None, section: tuple[int, int] | None = None
    ) -> Candidates:
        """Return the places among which ``place`` chooses, with the same arguments and errors."""
        known = _checked_energies(energies, frames=frames, sample_rate=sample_rate)
        first, last = section or (0, frames)
        length = _crop_length(self.duration_s, frames=last - first, sample_rate=sample_rate)
        grid = hop_bounds(len(known), sample_rate)
        lowest = int(np.searchsorted(grid, first))
        starts = grid[lowest : int(np.searchsorted(grid, last - length, side="right"))]
        if length == last - first or not len(starts):
            # One window, perhaps off the grid: it is measured by the hops that it touches.
            touched = known[max(0, lowest - (first not in grid)) : int(np.searchsorted(grid, first + length))]
            starts, levels = np.array([first]), np.array([integrated_lufs(touched)])
        else:
            window_hops = max(1, round(self.duration_s / HOP_S))
            levels = window_lufs(known[lowest:], window_hops=window_hops)[: len(starts)]
        starts, weights = self._weighted(starts, np.round(levels, _LEVEL_DECIMALS), length)
        return Candidates(starts=starts, cumulative=np.cumsum(weights), length=length)

    def _weighted(
        self, starts: NDArray[np.int64], levels: NDArray[np.float64], length: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the candidates' starts and weights."""
        passing = levels >= self.floor_lufs
        loudest = int(np.argmax(levels))
        if not passing.any() and self.fallback == "raise":
            raise AudioError(
                f"no window of {self.duration_s:g} s reaches {self.floor_lufs:g} LUFS, the loudest has "
                f"{levels[loudest]:.1f}; lower floor_lufs or choose fallback='keep'"
            )
        if self.search == "loudest" or not passing.any():
            return starts[loudest : loudest + 1], np.ones(1)
        starts, levels = starts[passing], levels[passing]
        if self.search == "early":
            starts = starts[starts < starts[0] + length]
        return starts, to_energy(levels) if self.search == "energy" else np.ones(len(starts))


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
        gated[start : start + chunk] = _gated_mean(windows[start : start + chunk])
    return to_lufs(gated)


def _gated_mean(windows: _Energies) -> _Energies:
    """Return the mean of the blocks of each window that pass the relative gate; 0 for a window of zeros."""
    num_blocks = np.maximum(np.count_nonzero(windows, axis=1), 1)
    threshold = windows.sum(axis=1) / num_blocks * 10.0 ** (RELATIVE_GATE_LU / 10.0)
    loud = windows > threshold[:, np.newaxis]
    num_loud = np.maximum(np.count_nonzero(loud, axis=1), 1)
    return np.asarray((windows * loud).sum(axis=1) / num_loud)


def _sliding(values: _Energies, width: int) -> _Energies:
    return np.lib.stride_tricks.sliding_window_view(values, width)


def _checked_energies(energies: _Energies | None, *, frames: int, sample_rate: int) -> _Energies:
    if energies is None:
        raise FormatError(
            "a salient crop needs the loudness of the recording, and its index has no loudness track; "
            "run `shardkit index` on the shards, or choose RandomCrop"
        )
    expected = num_hops(frames, sample_rate)
    if len(energies) != expected:
        raise FormatError(
            f"the loudness track has {len(energies)} hops of 100 ms, but {frames} samples at {sample_rate} Hz have "
            f"{expected}; run `shardkit index` on the shards again"
        )
    return energies


def _crop_length(duration_s: float, *, frames: int, sample_rate: int) -> int:
    length = round(duration_s * sample_rate)
    if length < 1:
        raise InputError(f"duration_s {duration_s:g} is less than one sample at {sample_rate} Hz; choose a longer one")
    return min(frames, length)


def _scaled(uniform: float, count: int) -> int:
    """Return an integer in [0, count): each equally likely (to 2^-53 · count)."""
    return min(int(uniform * count), count - 1)
