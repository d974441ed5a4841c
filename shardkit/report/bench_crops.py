"""The crops that ``shardkit bench`` reads: at random, anywhere in a view, without a stream."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardkit.audio.resample import mix_channels, resample
from shardkit.core.crops import RandomCrop, Recording
from shardkit.core.random import uniform
from shardkit.format.index import PRIMARY
from shardkit.stream.catalog import Catalog
from shardkit.stream.piece import AudioPiece
from shardkit.stream.view import View


@dataclass(frozen=True, slots=True)
class Fetched:
    """A crop and its bytes."""

    piece: AudioPiece
    data: bytes

    def decode(self, *, sample_rate: int, channels: int) -> NDArray[np.float32]:
        """Return what a stream would deliver, (channel, time)."""
        samples = mix_channels(self.piece.value(self.data), channels)
        return resample(samples, self.piece.member.facts.sample_rate, sample_rate)


def random_crops(view: View, crop: RandomCrop, number: int, *, seed: int = 0) -> list[AudioPiece]:
    """Return crops of random rows, each row equally likely; the same for the same seed."""
    positions = np.arange(number, dtype=np.int64)
    rows = (uniform(seed, positions, "bench row") * len(view)).astype(np.int64)
    found = view.sections(rows, passes=np.zeros_like(rows), key=seed)
    chances = uniform(seed, positions, "bench crop").tolist()
    bounds = zip(found.rows.tolist(), found.starts.tolist(), found.stops.tolist(), chances, strict=True)
    return [_placed(view.catalog, row, (start, stop), crop, chance) for row, start, stop, chance in bounds]


def _placed(catalog: Catalog, row: int, section: tuple[int, int], crop: RandomCrop, chance: float) -> AudioPiece:
    audio = catalog.fields[PRIMARY]
    recording = Recording(int(audio.frames[row]), int(audio.sample_rate[row]), section=section)
    start, stop = crop.place(recording, chance) or section
    return AudioPiece.of(catalog, PRIMARY, row, start, stop)
