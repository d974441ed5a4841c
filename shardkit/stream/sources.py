"""The sources of a stream, and whether they go together: rates, channels, features, what a crop needs of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from shardkit.audio.resample import check_mix
from shardkit.core.checks import checked_whole
from shardkit.core.crops import Crop
from shardkit.core.distinct import distinct
from shardkit.core.errors import AudioError, InputError
from shardkit.format.index import PRIMARY
from shardkit.stream.catalog import Catalog
from shardkit.stream.view import View


@dataclass(frozen=True, slots=True)
class Source:
    """A view with the name it has in a stream."""

    name: str
    view: View

    @property
    def catalog(self) -> Catalog:
        """The dataset behind the view."""
        return self.view.catalog


def check_sources(sources: Sequence[Source]) -> None:
    """Raise unless every source is one choice of split and has audio to draw, or all have the same features of it."""
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
    _check_features(sources)


def _check_features(sources: Sequence[Source]) -> None:
    """Raise unless all sources hold audio, or all hold features that one model can take."""
    first, told = sources[0], sources[0].view.manifest.features
    for source in sources[1:]:
        found = source.view.manifest.features
        if told is None or found is None:
            if found is not told:
                kinds = {True: "recordings", False: "features"}
                raise InputError(
                    f"source {first.name!r} holds {kinds[told is None]}, {source.name!r} {kinds[found is None]}; a "
                    "stream has one or the other"
                )
            continue
        differing = told.differences(found)
        if differing:
            raise InputError(
                f"sources {first.name!r} and {source.name!r} hold features that were computed otherwise: "
                f"{', '.join(differing)}; compute them alike, with 'shardkit featurize'"
            )


def common_rate(sources: Sequence[Source], sample_rate: int | None) -> int:
    """Return the stream's rate: as asked, else the one rate that all recordings have, or features were computed at."""
    if sample_rate is not None:
        return checked_whole(sample_rate, "sample_rate", most=2**24)
    features = sources[0].view.manifest.features
    if features is not None:
        return features.sample_rate
    return _common(sources, "sample_rate", "Hz")


def common_channels(sources: Sequence[Source], channels: int | None) -> int:
    """Return the stream's channels: as asked, else the one number that all recordings have."""
    if channels is not None:
        channels = checked_whole(channels, "channels", most=2**10)
        for source in sources:
            for stored in distinct(source.catalog.fields[PRIMARY].channels[source.view.rows]):
                try:
                    check_mix(stored, channels)
                except AudioError as err:
                    raise InputError(f"source {source.name!r}: {err}") from err
        return channels
    if not sources[0].view.manifest.has_audio:
        return 1  # of audio that has no samples
    return _common(sources, "channels", "channels")


def check_crop(sources: Sequence[Source], crop: Crop | None, *, sample_rate: int) -> None:
    """Raise if the crop is shorter than a sample, or longer than every recording so that every batch is padding."""
    if crop is None:
        return
    if isinstance(crop, type) or not hasattr(crop, "place"):
        raise InputError(
            f"crop is {crop!r}; give RandomCrop(2.0), CenterCrop(2.0), SalientCrop(2.0), EventCrop(2.0) or None"
        )
    slowest = min(int(source.catalog.fields[PRIMARY].sample_rate[source.view.rows].min()) for source in sources)
    slowest = min(slowest, sample_rate)
    _check_intervals(sources, crop)
    if crop.needs_loudness:
        _check_loudness(sources, crop)
    if crop.duration_s is None:
        return
    if crop.duration_s * slowest < 1:
        raise InputError(f"the crop of {crop.duration_s:g} s is shorter than a sample at {slowest} Hz")
    longest_s, name = max((source.view.longest_s(), source.name) for source in sources)
    if crop.duration_s > longest_s:
        raise InputError(
            f"the crop of {crop.duration_s:g} s is longer than every sample; the longest, of {name!r}, "
            f"has {longest_s:.3f} s: choose a shorter crop, or crop=None for whole samples"
        )


def _check_loudness(sources: Sequence[Source], crop: Crop) -> None:
    """Raise if a source has samples of which the index holds no loudness, before one after the other fails."""
    for source in sources:
        missing = np.count_nonzero(~source.catalog.fields[PRIMARY].has_loudness[source.view.rows])
        if missing:
            raise InputError(
                f"source {source.name!r}: {type(crop).__name__} needs loudness, and {source.catalog.location} has "
                f"none of {missing:,} of {len(source.view):,} samples, as after 'shardkit pack --no-loudness'; pack it "
                "again with loudness, or choose RandomCrop"
            )


def interval_names(sources: Sequence[Source], names: Sequence[str], what: str) -> tuple[str, ...]:
    """Return some names of the sources' intervals, each once, or all names if there are none given.

    Raises:
        InputError: No source has intervals of such a name; ``what`` says who asked.
    """
    known = tuple(dict.fromkeys(name for source in sources for name in source.view.manifest.interval_names))
    for name in names:
        if name not in known:
            raise InputError(f"{what}: no interval is called {name!r}; there is {', '.join(known) or 'none'}")
    return tuple(dict.fromkeys(names)) or known


def _check_intervals(sources: Sequence[Source], crop: Crop) -> None:
    if crop.interval_names is not None and not interval_names(sources, crop.interval_names, "crop"):
        raise InputError(
            f"crop: no source has intervals, which {type(crop).__name__} needs here; pack them with the data"
        )


def _common(sources: Sequence[Source], column: str, unit: str) -> int:
    found: Mapping[str, list[int]] = {
        source.name: distinct(getattr(source.catalog.fields[PRIMARY], column)[source.view.rows]) for source in sources
    }
    values = {value for several in found.values() for value in several}
    if len(values) > 1:
        listed = "; ".join(f"{name}: {', '.join(map(str, several))} {unit}" for name, several in found.items())
        raise InputError(f"the sources differ in {column} ({listed}); say which to deliver with {column}=...")
    return values.pop()
