"""How far the loudness of a crop, computed from the index, is from a meter's on the decoded crop.

    python -m tools.bench.loudness FOLDER [--music RECORDINGS] [--markdown FILE]

packs the recordings in FOLDER once, at two rates, mono and stereo (0.9 GB for an hour of music), and measures crops on
the 100 ms grid, where salient crops start. The meter is pyloudnorm, given the crop and nothing before it.
"""

import argparse
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyloudnorm
from numpy.typing import NDArray

from shardkit.core.loudness import ABSOLUTE_GATE_LUFS, BLOCK_HOPS, HOP_S, RELATIVE_GATE_LU, hop_bounds, to_energy
from shardkit.core.salient import window_lufs
from shardkit.format.index import PRIMARY
from shardkit.format.manifest import MANIFEST_NAME
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from shardkit.stream.dataset import open_dataset
from tools.bench.tables import Table, show, versions

ALLOWED_LU = 0.5
RATES, CHANNELS = (44_100, 48_000), (1, 2)
DURATIONS_S = (1.0, 2.0, 5.0, 10.0)
FILTERS = ("K-weighting", "DeMan")  # pyloudnorm's default, which rounds the filters' frequencies; BS.1770's own

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Levels:
    """Loudness of some crops in LUFS, (crop,); -inf where nothing passes the absolute gate of -70 LUFS.

    Attributes:
        index: From the index.
        meter: From the decoded crop.
        alike: Whether both leave out the same 400 ms blocks as too quiet, (crop,) bool.
    """

    index: _Floats
    meter: _Floats
    alike: NDArray[np.bool_]

    @property
    def heard(self) -> NDArray[np.bool_]:
        """Return which crops both hear."""
        return np.isfinite(self.index) & np.isfinite(self.meter)

    @property
    def errors(self) -> _Floats:
        """Return index less meter, in LU, of the crops that both hear."""
        return self.index[self.heard] - self.meter[self.heard]

    @property
    def errors_alike(self) -> _Floats:
        """Return those of the crops in which both hear the same blocks."""
        return self.errors[self.alike[self.heard]]

    @property
    def silent(self) -> int:
        """Crops in which the meter hears nothing."""
        return int(np.isneginf(self.meter).sum())

    @property
    def disputed(self) -> int:
        """Crops in which one of the two hears something and the other does not."""
        return int((np.isneginf(self.meter) != np.isneginf(self.index)).sum())


def packed(folder: Path, music: Path, rate: int, channels: int) -> Path:
    """Return the dataset of the recordings at a rate; it is made if it is not there."""
    target = folder / f"{rate}-{channels}"
    if not (target / MANIFEST_NAME).exists():
        options = PackOptions(codec="flac", sample_rate=rate, channels=channels, name=target.name)
        pack(locate(music), locate(target), inputs=InputOptions(), options=options)
    return target


def measure(folder: Path, *, duration_s: float, crops: int, filters: str = FILTERS[0], seed: int = 0) -> Levels:
    """Return the levels of so many crops of each recording of a dataset, at random places of the 100 ms grid."""
    found = list(_levels(folder, duration_s, crops, filters, np.random.default_rng(seed)))
    index, meter, alike = (np.array(values) for values in zip(*found, strict=True))
    return Levels(index, meter, alike)


def _levels(
    folder: Path, duration_s: float, crops: int, filters: str, random: np.random.Generator
) -> Iterator[tuple[float, float, bool]]:
    """Yield loudness by the index, loudness by the meter, and whether both gate the same blocks."""
    view = open_dataset(folder)
    columns = view.catalog.fields[PRIMARY]
    for row, key in enumerate(view.keys()):
        energies, rate = columns.energies(row), int(columns.sample_rate[row])
        if energies is None:
            raise SystemExit(f"{folder}: no loudness track; pack it again")
        samples = view[key].audio.T.astype(np.float64)  # (time, channel)
        num_hops = round(duration_s / HOP_S)
        levels = window_lufs(energies, window_hops=num_hops)
        length, bounds = round(duration_s * rate), hop_bounds(len(levels), rate)
        last = int(np.searchsorted(bounds, len(samples) - length, side="right"))  # the last hop may be a partial one
        meter = pyloudnorm.Meter(rate, filter_class=filters)
        for hop in random.integers(min(last, len(levels)), size=crops).tolist():
            start = int(bounds[hop])
            measured = _metered(meter, samples[start : start + length])
            blocks = np.convolve(energies[hop : hop + num_hops], np.full(BLOCK_HOPS, 1 / BLOCK_HOPS), mode="valid")
            alike = np.array_equal(_passing(blocks), _passing(to_energy(np.array(meter.blockwise_loudness))))
            yield float(levels[hop]), measured, alike


def _metered(meter: pyloudnorm.Meter, samples: _Floats) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        found = float(meter.integrated_loudness(samples))
    return -math.inf if math.isnan(found) else found


def _passing(blocks: _Floats) -> NDArray[np.bool_]:
    """Return which blocks pass both gates of BS.1770, (block,), from their energies."""
    loud = blocks > to_energy(ABSOLUTE_GATE_LUFS)
    if not loud.any():
        return loud
    return loud & (blocks > blocks[loud].mean() * 10.0 ** (RELATIVE_GATE_LU / 10.0))


def error_table(
    folder: Path,
    music: Path,
    *,
    rates: Sequence[int],
    channels: Sequence[int],
    crops: int,
    seconds: Sequence[float],
    filters: str = FILTERS[0],
) -> Table:
    """Return the errors by how the recordings are stored and how long the crops are."""
    title = f"Loudness of a crop: index less pyloudnorm ({filters}), in LU; {crops} crops a recording"
    columns = ["stored", "crop, s", "crops", "mean", "median size", "95 %", "worst", "worst, gated alike"]
    columns += [f"beyond {ALLOWED_LU:g} LU", "gated otherwise", "silent", "silent for one"]
    table = Table(title, columns)
    for rate in rates:
        for number in channels:
            dataset = packed(folder, music, rate, number)
            for duration_s in seconds:
                levels = measure(dataset, duration_s=duration_s, crops=crops, filters=filters)
                table.add(f"{rate} Hz, {'mono' if number == 1 else 'stereo'}", f"{duration_s:g}", *_cells(levels))
    return table


def _cells(levels: Levels) -> list[str]:
    sizes, alike = np.abs(levels.errors), np.abs(levels.errors_alike)
    counts = [str(levels.silent), str(levels.disputed)]
    if not alike.size:
        return [f"{sizes.size:,}", *[""] * 7, *counts]
    spread = [np.median(sizes), np.percentile(sizes, 95), sizes.max(), alike.max()]
    beyond, otherwise = int((sizes > ALLOWED_LU).sum()), sizes.size - alike.size
    figures = [f"{levels.errors.mean():+.3f}", *(f"{size:.3f}" for size in spread), str(beyond), str(otherwise)]
    return [f"{sizes.size:,}", *figures, *counts]


def main() -> None:
    """Pack, measure and print."""
    data = Path(os.environ.get("SHARDKIT_TEST_DATA") or "../shared/data")
    parser = argparse.ArgumentParser(description="Loudness of crops from the index against a meter on the audio.")
    parser.add_argument("folder", type=Path, help="for the packed recordings; made where it is not there")
    parser.add_argument("--music", type=Path, default=data / "music", help="folder of recordings")
    parser.add_argument("--crops", type=int, default=200, help="of each recording and length")
    parser.add_argument("--rates", type=int, nargs="+", default=RATES, metavar="HZ")
    parser.add_argument("--channels", type=int, nargs="+", default=CHANNELS)
    parser.add_argument("--seconds", type=float, nargs="+", default=DURATIONS_S, help="lengths of crops")
    parser.add_argument("--filters", choices=FILTERS, default=FILTERS[0], help="of pyloudnorm")
    parser.add_argument("--markdown", type=Path, help="write the table there, too")
    arguments = parser.parse_args()
    table = error_table(
        arguments.folder,
        arguments.music,
        rates=arguments.rates,
        channels=arguments.channels,
        crops=arguments.crops,
        seconds=arguments.seconds,
        filters=arguments.filters,
    )
    show([table], arguments.markdown, used=versions("pyloudnorm", "scipy"))


if __name__ == "__main__":
    main()
