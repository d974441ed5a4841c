"""A recording of a dataset in blocks, at the rate and with the channels that features are computed from.

What can be read by range is, so that only a block is in memory; the rest, Opus for one, is fetched whole and decoded
block by block. Either way the samples are those of the full decode (law L6), and pass all checks that a crop passes.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from shardkit.audio import pcm, whole
from shardkit.audio.resample import BlockResampler, check_mix, mix_channels, num_resampled
from shardkit.core.errors import FormatError
from shardkit.format.index import PRIMARY
from shardkit.stream.catalog import Catalog, located
from shardkit.stream.fetch import Fetcher, Join, read_member
from shardkit.stream.piece import AudioPiece

_BLOCK = 1 << 19  # samples


class Recording:
    """The primary audio of one row.

    Args:
        catalog: Where it lies.
        row: Which one.
        sample_rate: To resample it to.
        channels: To mix it to; None: its own.

    Attributes:
        num_samples: At that rate.
        num_channels: After mixing.

    Raises:
        AudioError: Its channels can't be mixed to that many.
    """

    def __init__(self, catalog: Catalog, row: int, *, sample_rate: int, channels: int | None) -> None:
        columns = catalog.fields[PRIMARY]
        self._catalog, self._row = catalog, row
        with located(catalog, PRIMARY, row):
            self._facts = columns.facts(row)
            self.num_channels = self._facts.channels if channels is None else channels
            check_mix(self._facts.channels, self.num_channels)
        self._sample_rate = sample_rate
        self.num_samples = num_resampled(self._facts.frames, self._facts.sample_rate, sample_rate)

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield all samples in order, (channel, time).

        Raises:
            AudioError, FormatError: It can't be decoded; the message says where it lies.
            StorageError: It can't be read.
        """
        mixed = (mix_channels(block, self.num_channels) for block in self._stored())
        if self._facts.sample_rate == self._sample_rate:
            yield from mixed
            return
        resampler = BlockResampler(self._facts.sample_rate, self._sample_rate, self.num_channels)
        for block in mixed:
            yield _from_time_first(resampler.feed(block.T.astype(np.float64)))
        yield _from_time_first(resampler.finish())

    def _stored(self) -> Iterator[NDArray[np.float32]]:
        """Yield the samples as they are stored, (channel, time)."""
        frames, ranges = self._facts.frames, self._reads_ranges()
        if frames > _BLOCK and not ranges and self._facts.codec != "flac":
            data = read_member(self._catalog, PRIMARY, self._row)
            with located(self._catalog, PRIMARY, self._row):
                for block in whole.read_blocks(data, self._facts, _BLOCK):
                    yield pcm.to_float32(block)
            return
        size = _BLOCK if ranges else frames
        fetcher = Fetcher()
        for start in range(0, frames, max(1, size)):
            piece = AudioPiece.of(self._catalog, PRIMARY, self._row, start, min(start + size, frames))
            yield fetcher.deliver(piece, fetcher.fetch(Join.of(0, piece)), lambda piece, data: piece.value(data))

    def _reads_ranges(self) -> bool:
        """Return whether a block can be read without the rest."""
        try:
            return self._catalog.fields[PRIMARY].member_of(self._row, self._facts).reads_ranges
        except FormatError:  # its seek table is none; all of a member needs none
            return False


def _from_time_first(block: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.ascontiguousarray(block.T, dtype=np.float32)
