"""From positions to what is to be read: pure arithmetic over the index, no bytes touched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardkit.audio.resample import check_mix
from shardkit.core.crops import Crop
from shardkit.core.errors import AudioError, InputError
from shardkit.core.order import MixedOrder, OnePassOrder
from shardkit.core.random import uniform
from shardkit.format.index import PRIMARY
from shardkit.stream.catalog import Catalog, located
from shardkit.stream.dataset import View


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


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """What one rank delivers as one batch. ``draws`` holds None for positions past the end of a one-pass stream."""

    positions: NDArray[np.int64]
    passes: NDArray[np.int64]
    draws: Sequence[Draw | None]
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
        self.num_positions = order.num_rows if isinstance(order, OnePassOrder) else None

    def plan(self, position: int, *, rank: int, world_size: int, batch_size: int) -> BatchPlan:
        """Return the plan of this rank's share of the global batch that begins at ``position``."""
        positions = position + rank + world_size * np.arange(batch_size, dtype=np.int64)
        valid = positions if self.num_positions is None else positions[positions < self.num_positions]
        drawn = self._order.draws(valid)
        chances = uniform(self._seed, valid, "crop")
        draws: list[Draw | None] = [
            self._draw(int(source), int(row), float(chance))
            for source, row, chance in zip(drawn.sources, drawn.rows, chances, strict=True)
        ]
        missing = batch_size - len(valid)
        return BatchPlan(
            positions=positions,
            passes=np.concatenate([drawn.passes, np.zeros(missing, dtype=np.int64)]),
            draws=draws + [None] * missing,
            next_position=position + world_size * batch_size,
        )

    def _draw(self, source: int, view_row: int, chance: float) -> Draw:
        view = self._sources[source].view
        row = int(view.rows[view_row])
        audio = view.catalog.fields[PRIMARY]
        frames = int(audio.frames[row])
        if self._crop is None:
            return Draw(source, row, 0, frames)
        with located(view.catalog, PRIMARY, row):
            start, stop = self._crop.place(
                frames=frames,
                sample_rate=int(audio.sample_rate[row]),
                energies=audio.energies(row) if self._crop.needs_loudness else None,
                uniform=chance,
            )
        return Draw(source, row, start, stop)


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
        if sample_rate < 1:
            raise InputError(f"sample_rate is {sample_rate} Hz; it must be positive")
        return sample_rate
    return _common(sources, "sample_rate", "Hz")


def common_channels(sources: Sequence[Source], channels: int | None) -> int:
    """Return the stream's channels: as asked, else the one number that all recordings have."""
    if channels is not None:
        if channels < 1:
            raise InputError(f"channels is {channels}; it must be at least 1")
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
    slowest = min(int(source.catalog.fields[PRIMARY].sample_rate[source.view.rows].min()) for source in sources)
    slowest = min(slowest, sample_rate)
    if crop.duration_s * slowest < 1:
        raise InputError(f"the crop of {crop.duration_s:g} s is shorter than a sample at {slowest} Hz")
    longest_s, name = max((_longest_s(source.view), source.name) for source in sources)
    if crop.duration_s > longest_s:
        raise InputError(
            f"the crop of {crop.duration_s:g} s is longer than every sample; the longest, of {name!r}, "
            f"has {longest_s:.3f} s: choose a shorter crop, or crop=None for whole samples"
        )


def _longest_s(view: View) -> float:
    audio = view.catalog.fields[PRIMARY]
    return float((audio.frames[view.rows] / audio.sample_rate[view.rows]).max())


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
