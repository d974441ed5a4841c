"""From positions to what is to be read: pure arithmetic over the index, no bytes touched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardkit.audio.resample import check_mix
from shardkit.core.checks import checked_whole
from shardkit.core.crops import Crop
from shardkit.core.errors import AudioError, InputError
from shardkit.core.order import MixedOrder, OnePassOrder, substitute_rows
from shardkit.core.random import hash_int, key_of, uniform
from shardkit.format.index import PRIMARY
from shardkit.stream.catalog import Catalog, located
from shardkit.stream.view import View

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Source:
    """A view with the name it has in a stream."""

    name: str
    view: View

    @property
    def catalog(self) -> Catalog:
        """The dataset behind the view."""
        return self.view.catalog


@dataclass(frozen=True, slots=True)
class Draw:
    """One sample to deliver: which source, which row of its catalog, samples [start, stop) at the stored rate."""

    source: int
    row: int
    start: int
    stop: int


@dataclass(slots=True, kw_only=True)
class BatchPlan:
    """What one rank delivers as one batch.

    Attributes:
        positions: Of the draws, (batch,).
        passes: Of the draws, (batch,).
        draws: None for positions past the end of a one-pass stream.
        next_position: Where the next global batch begins.
    """

    positions: _Ints
    passes: _Ints
    draws: list[Draw | None]
    next_position: int


class Planner:
    """Plans batches: a pure function of the position."""

    def __init__(
        self, sources: Sequence[Source], order: MixedOrder | OnePassOrder, crop: Crop | None, *, seed: int
    ) -> None:
        self._sources = sources
        self._order = order
        self._crop = crop
        self._seed = seed
        self._num_rows = np.array([len(source.view) for source in sources], dtype=np.int64)
        self._keys = [hash_int(seed, key_of("repeat"), key_of(source.name)) for source in sources]
        self.num_positions = order.num_rows if isinstance(order, OnePassOrder) else None

    def plan(self, position: int, *, rank: int, world_size: int, batch_size: int) -> BatchPlan:
        """Return the plan of this rank's share of the global batch that begins at ``position``.

        A rank's positions are those that leave its number when divided by the world size, wherever the batch begins.
        """
        first = position + (rank - position) % world_size
        positions = first + world_size * np.arange(batch_size, dtype=np.int64)
        valid = positions if self.num_positions is None else positions[positions < self.num_positions]
        draws, passes = self.draws(valid)
        missing = batch_size - len(valid)
        return BatchPlan(
            positions=positions,
            passes=np.concatenate([passes, np.zeros(missing, dtype=np.int64)]),
            draws=[*draws, *[None] * missing],
            next_position=position + world_size * batch_size,
        )

    def draws(self, positions: _Ints) -> tuple[list[Draw], _Ints]:
        """Return what is drawn at some positions, and the pass of each draw."""
        drawn = self._order.draws(positions)
        chances = uniform(self._seed, positions, "crop")
        return self._placed(drawn.sources, drawn.rows, drawn.passes, chances), drawn.passes

    def neighbours(self, position: int) -> _Ints:
        """Return the positions whose rows lie near this one's because the shuffle kept them so."""
        return self._order.neighbours(position)

    def substitutes(self, positions: _Ints, passes: _Ints, failed: Sequence[Draw], *, attempt: int) -> list[Draw]:
        """Return what takes the place of draws that can't be read: of the same sources, by position and attempt."""
        sources = np.array([draw.source for draw in failed], dtype=np.int64)
        rows = substitute_rows(self._seed, positions, self._num_rows[sources], attempt=attempt)
        return self._placed(sources, rows, passes, uniform(self._seed, positions, "crop", attempt))

    def _placed(self, sources: _Ints, rows: _Ints, passes: _Ints, chances: NDArray[np.float64]) -> list[Draw]:
        """Return draws of rows of the sources, each with its crop."""
        placed: list[Draw] = [None] * len(rows)  # type: ignore[list-item]
        for source in np.unique(sources).tolist():
            mine = np.flatnonzero(sources == source)
            view = self._sources[source].view
            found = view.sections(rows[mine], passes=passes[mine], key=self._keys[source])
            columns = (array.tolist() for array in (mine, found.rows, found.starts, found.stops, chances[mine]))
            for index, row, start, stop, chance in zip(*columns, strict=True):
                placed[index] = Draw(source, row, *self._crop_of(view.catalog, row, start, stop, chance))
        return placed

    def _crop_of(self, catalog: Catalog, row: int, start: int, stop: int, chance: float) -> tuple[int, int]:
        if self._crop is None:
            return start, stop
        audio = catalog.fields[PRIMARY]
        with located(catalog, PRIMARY, row):
            return self._crop.place(
                frames=int(audio.frames[row]),
                sample_rate=int(audio.sample_rate[row]),
                energies=audio.energies(row) if self._crop.needs_loudness else None,
                uniform=chance,
                section=(start, stop),
            )


def check_sources(sources: Sequence[Source]) -> None:
    """Raise unless every source is one choice of split and has audio to draw."""
    for source in sources:
        catalog = source.catalog
        if len(catalog.splits) > 1 and catalog.split is None:
            raise InputError(
                f"source {source.name!r}: {catalog.location} has the splits {', '.join(catalog.splits)}; "
                "open one with split=..., or all of them with split='all'"
            )
        if not len(source.view):
            raise InputError(f"source {source.name!r}: the view has no rows")
        if PRIMARY not in catalog.fields or not catalog.fields[PRIMARY].present[source.view.rows].all():
            raise InputError(f"source {source.name!r}: some samples have no field {PRIMARY!r}")


def common_rate(sources: Sequence[Source], sample_rate: int | None) -> int:
    """Return the stream's rate: as asked, else the one rate that all recordings have."""
    if sample_rate is not None:
        return checked_whole(sample_rate, "sample_rate", most=2**24)
    return _common(sources, "sample_rate", "Hz")


def common_channels(sources: Sequence[Source], channels: int | None) -> int:
    """Return the stream's channels: as asked, else the one number that all recordings have."""
    if channels is not None:
        channels = checked_whole(channels, "channels", most=2**10)
        for source in sources:
            for stored in np.unique(source.catalog.fields[PRIMARY].channels[source.view.rows]).tolist():
                try:
                    check_mix(stored, channels)
                except AudioError as err:
                    raise InputError(f"source {source.name!r}: {err}") from err
        return channels
    return _common(sources, "channels", "channels")


def check_crop(sources: Sequence[Source], crop: Crop | None, *, sample_rate: int) -> None:
    """Raise if the crop is shorter than a sample, or longer than every recording so that every batch is padding."""
    if crop is None:
        return
    if isinstance(crop, type) or not hasattr(crop, "place"):
        raise InputError(f"crop is {crop!r}; give RandomCrop(2.0), CenterCrop(2.0), SalientCrop(2.0) or None")
    slowest = min(int(source.catalog.fields[PRIMARY].sample_rate[source.view.rows].min()) for source in sources)
    slowest = min(slowest, sample_rate)
    if crop.duration_s * slowest < 1:
        raise InputError(f"the crop of {crop.duration_s:g} s is shorter than a sample at {slowest} Hz")
    longest_s, name = max((source.view.longest_s(), source.name) for source in sources)
    if crop.duration_s > longest_s:
        raise InputError(
            f"the crop of {crop.duration_s:g} s is longer than every sample; the longest, of {name!r}, "
            f"has {longest_s:.3f} s: choose a shorter crop, or crop=None for whole samples"
        )


def _common(sources: Sequence[Source], column: str, unit: str) -> int:
    found: Mapping[str, list[int]] = {
        source.name: np.unique(getattr(source.catalog.fields[PRIMARY], column)[source.view.rows]).tolist()
        for source in sources
    }
    values = {value for several in found.values() for value in several}
    if len(values) > 1:
        listed = "; ".join(f"{name}: {', '.join(map(str, several))} {unit}" for name, several in found.items())
        raise InputError(f"the sources differ in {column} ({listed}); say which to deliver with {column}=...")
    return values.pop()
