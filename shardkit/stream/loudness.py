"""The loudness of crops, from the tracks in the index: nothing is read, nothing decoded.

    stored energies  |--e0--|--e1--|--e2--|--e3--|--e4--|--e5--| ...      100 ms each
    crop                 |---------------------------|                     begins a fraction f into a hop
    its energies         |--c0--|--c1--|--c2--|--c3--|                     c[i] = (1 - f) · e[i] + f · e[i+1]

On the grid of the stored energies (f = 0), where salient crops begin, that is what ``SalientCrop`` goes by. Elsewhere
it is an estimate, as good as a hop's energy is spread over it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shardkit.core.distinct import distinct
from shardkit.core.loudness import dequantise, spans_lufs
from shardkit.format.index import PRIMARY
from shardkit.stream.catalog import FieldColumns
from shardkit.stream.plan import Draw
from shardkit.stream.sources import Source

_Ints = NDArray[np.int64]
_DECIMALS = 6  # of a LU: far above the last bits in which machines differ, as in salient crops


def loudness_of(sources: Sequence[Source], draws: Sequence[Draw | None]) -> NDArray[np.float32]:
    """Return the integrated loudness of what is drawn, in LUFS, (draw,).

    NaN where nothing is drawn or the index has no loudness; -inf where nothing passes BS.1770's absolute gate.
    """
    found = np.full(len(draws), np.nan)
    drawn = np.array([(-1, 0, 0, 0) if draw is None else draw[:4] for draw in draws], dtype=np.int64).reshape(-1, 4)
    for source in distinct(drawn[:, 0]):
        if source >= 0:
            mine = np.flatnonzero(drawn[:, 0] == source)
            _, rows, starts, stops = drawn[mine].T
            found[mine] = crops_lufs(sources[source].catalog.fields[PRIMARY], rows, starts, stops)
    return np.round(found, _DECIMALS).astype(np.float32)


def crops_lufs(audio: FieldColumns, rows: _Ints, starts: _Ints, stops: _Ints) -> NDArray[np.float64]:
    """Return the loudness of samples [start, stop) of some rows, at their stored rate and channels, (row,).

    Of a whole recording it is the stored integrated loudness.
    """
    rates = np.maximum(audio.sample_rate[rows], 1)
    whole = (starts == 0) & (stops == audio.frames[rows])
    measured = audio.has_loudness[rows]
    found = np.where(measured, -np.inf, np.nan)  # where it is measured, none is stored if nothing passes the gate
    stored = audio.loudness_lufs[rows]
    np.copyto(found, stored, where=whole & ~np.isnan(stored))
    crops = np.flatnonzero(measured & ~whole)
    if len(crops):
        lengths = stops[crops] - starts[crops]
        counts = np.maximum(np.rint(lengths * 10 / rates[crops]), 1).astype(np.int64)  # as SalientCrop counts them
        energies = _energies(audio, rows[crops], starts[crops], rates[crops], int(counts.max()))
        found[crops] = spans_lufs(energies, counts)
    return found


def _energies(audio: FieldColumns, rows: _Ints, starts: _Ints, rates: _Ints, num_hops: int) -> NDArray[np.float64]:
    """Return the 100 ms energies from some samples of some rows on, (row, hop); zero behind a recording's end."""
    ends, codes = audio.loudness_tracks
    first = -(-starts * 10 // rates)
    off_grid = first * rates // 10 != starts  # hop i begins at floor(i · rate / 10)
    first -= off_grid
    part = np.where(off_grid, starts * 10 / rates - first, 0.0)[:, np.newaxis]
    places = (ends[rows] + first)[:, np.newaxis] + np.arange(num_hops + 1)
    inside = places < ends[rows + 1][:, np.newaxis]
    energies = dequantise(codes[np.where(inside, places, 0)]) * inside
    return (1.0 - part) * energies[:, :-1] + part * energies[:, 1:]
