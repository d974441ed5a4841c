"""What a stream yields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One rank's share of a global batch, as NumPy arrays. Axes: (batch, channel, time).

    Attributes:
        audio: (batch, channel, time) float32 in [-1, 1), or int16 if the stream says so; right-padded with zeros. Of no
            samples where the sources hold features in its place.
        lengths: Samples of ``audio`` that are not padding, (batch,) int64; beside features, those that they stand for.
        sample_rate: Of ``audio``, in Hz.
        keys: Key of each sample.
        sources: Name of the source that each sample was drawn from.
        positions: Position of each draw in the stream, (batch,) int64.
        passes: Pass of its source that each draw belongs to, (batch,) int64.
        starts: First sample of each crop in the stored recording, at the stored rate, (batch,) int64.
        labels: Multi-hot, (batch, class) float32; the classes are ``Stream.labels``.
        masks: For each interval name, (batch, frame) float32: 1 where the frame overlaps such an interval. Frame i
            is samples [i·hop, (i+1)·hop) of ``audio``; there are ceil(time / hop).
        fields: Audio fields as (batch, channel, time) float32 like ``audio``. Arrays with a hop, where all have rows
            of one shape and one hop and audio is cropped, as (batch, row, ...), the first row being the one in which
            the crop starts, padded with zeros. Others as a list, None where absent.
        present: For each field, which samples have it, (batch,) bool; absent audio is silence.
        metadata: The columns that were asked for, as lists.
        valid: (batch,) bool; False only for the padding at the end of a one-pass stream.
        loudness: Integrated loudness (BS.1770) of each crop in LUFS, (batch,) float32, if the stream was asked for it:
            what the index says of the samples as they are stored, all channels together, before resampling and mixing,
            and without padding. The mean of two channels measures 3 LU less if they are alike, 6 if they have nothing
            in common. -inf where nothing passes the gate at -70 LUFS; NaN where the index has no loudness, and where
            there is no sample.
        views: Crops of each sample; those of one stand side by side, so that ``audio[1 :: views]`` are the second ones.
        global_batch_size: Samples that all ranks together deliver in one step; a sample's views count as one.
        position: Position of the stream after this batch: what its state says once the batch is delivered.
    """

    audio: NDArray[np.float32] | NDArray[np.int16]
    lengths: NDArray[np.int64]
    sample_rate: int
    keys: Sequence[str]
    sources: Sequence[str]
    positions: NDArray[np.int64]
    passes: NDArray[np.int64]
    starts: NDArray[np.int64]
    labels: NDArray[np.float32]
    masks: Mapping[str, NDArray[np.float32]]
    fields: Mapping[str, Any]
    present: Mapping[str, NDArray[np.bool_]]
    metadata: Mapping[str, Sequence[Any]]
    valid: NDArray[np.bool_]
    loudness: NDArray[np.float32] | None = None
    views: int = 1
    global_batch_size: int
    position: int

    def __len__(self) -> int:
        return len(self.keys)
