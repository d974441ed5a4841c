"""The crops that ``shardkit bench`` reads: at random, anywhere in a view, without a stream."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardkit.audio.decode import AudioMember, byte_range, decode
from shardkit.audio.resample import mix_channels, resample
from shardkit.core.crops import RandomCrop
from shardkit.core.random import uniform
from shardkit.format.index import PRIMARY
from shardkit.storage.location import Location
from shardkit.stream.catalog import Catalog, located
from shardkit.stream.view import View


@dataclass(frozen=True, slots=True)
class Wanted:
    """Samples [start, stop) of a recording; its bytes are [lo, hi) of the tar."""

    catalog: Catalog
    row: int
    start: int
    stop: int
    lo: int
    hi: int

    @property
    def tar(self) -> Location:
        """The tar that holds it."""
        return self.catalog.tar(self.row)


@dataclass(frozen=True, slots=True)
class Fetched:
    """The bytes of a crop, and what it takes to decode them."""

    wanted: Wanted
    member: AudioMember
    data: bytes

    def decode(self, *, sample_rate: int, channels: int) -> NDArray[np.float32]:
        """Return what a stream would deliver, (channel, time)."""
        crop = self.wanted
        first = crop.lo - int(crop.catalog.fields[PRIMARY].offset[crop.row])
        with located(crop.catalog, PRIMARY, crop.row):
            samples = decode(self.member, self.data, first, crop.start, crop.stop)
        return resample(mix_channels(samples, channels), self.member.facts.sample_rate, sample_rate)


def fetched(crop: Wanted, data: bytes) -> Fetched:
    """Return a crop with its bytes, ready to be decoded."""
    with located(crop.catalog, PRIMARY, crop.row):
        return Fetched(crop, crop.catalog.fields[PRIMARY].member(crop.row), data)


def random_crops(view: View, crop: RandomCrop, number: int, *, seed: int = 0) -> list[Wanted]:
    """Return crops of random rows, each row equally likely; the same for the same seed."""
    positions = np.arange(number, dtype=np.int64)
    rows = (uniform(seed, positions, "bench row") * len(view)).astype(np.int64)
    found = view.sections(rows, passes=np.zeros_like(rows), key=seed)
    chances = uniform(seed, positions, "bench crop").tolist()
    bounds = zip(found.rows.tolist(), found.starts.tolist(), found.stops.tolist(), chances, strict=True)
    return [_placed(view.catalog, row, (start, stop), crop, chance) for row, start, stop, chance in bounds]


def _placed(catalog: Catalog, row: int, section: tuple[int, int], crop: RandomCrop, chance: float) -> Wanted:
    columns = catalog.fields[PRIMARY]
    rate, frames = int(columns.sample_rate[row]), int(columns.frames[row])
    with located(catalog, PRIMARY, row):
        start, stop = crop.place(frames=frames, sample_rate=rate, uniform=chance, section=section)
        lo, hi = byte_range(columns.member(row), start, stop)
    offset = int(columns.offset[row])
    return Wanted(catalog, row, start, stop, offset + lo, offset + hi)
