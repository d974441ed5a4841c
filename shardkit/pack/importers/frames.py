"""A table of features at points in time becomes rows of a steady hop.

timestamps     0.00      0.31   0.40         0.90
values         a         b      c            d
rows           |  a  |  a  |  c  |  c  |  c  |       hold, hop 0.2: row i is what holds at i · hop
"""

import csv
import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shardkit.core.errors import FormatError
from shardkit.format.arrays import num_rows
from shardkit.pack.bounds import INTERVAL_SLACK_S

Method = Literal["hold", "nearest", "linear"]
METHODS: tuple[Method, ...] = ("hold", "nearest", "linear")
_ROUNDING = 1e-6  # of a hop: a timestamp that is a whole number of hops lies on it
_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FrameTable:
    """What a CSV of timestamps and features holds.

    Attributes:
        columns: Names of the features; 0, 1, 2 … where the file has no header.
        times: Timestamps as written, ascending, (row,).
        values: (row, feature).
    """

    columns: tuple[str, ...]
    times: _Floats
    values: _Floats

    def at(self, times: _Floats, method: Method, *, rounding: float) -> _Floats:
        """Return the values at some times, (time, feature); outside of the table, those of its first or last row.

        Args:
            times: In the unit of the table.
            method: ``hold``: the last row at or before the time. ``nearest``: the nearest row, the earlier of two.
                ``linear``: on the straight line between the rows around it.
            rounding: How much later than a time a row may be and still be at it.
        """
        if method == "linear":
            return np.stack([np.interp(times, self.times, column) for column in self.values.T], axis=1)
        if method == "hold":
            rows = np.searchsorted(self.times, times + rounding, side="right") - 1
        else:
            rows = np.searchsorted((self.times[1:] + self.times[:-1]) / 2, times - rounding)
        return self.values[np.clip(rows, 0, len(self.times) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampled:
    """Makes a ``.npy`` of a CSV of timestamps and features: row i is what the table says of the time i · hop.

    Attributes:
        hop_s: Seconds from row to row.
        method: How a value between two timestamps is found.
        unit_s: Seconds that one unit of a timestamp is.
        columns: The features that the file must have.
    """

    hop_s: float
    method: Method
    unit_s: float
    columns: tuple[str, ...]
    extension: str = "npy"

    def make(self, data: bytes, *, duration_s: float) -> bytes:
        """Return the array, (row, feature) float32, with as many rows as cover the recording.

        Raises:
            FormatError: Not such a file, other features, or timestamps behind the end of the recording.
        """
        table = read_frames(data)
        if table.columns != self.columns:
            raise FormatError(
                f"its features are {', '.join(table.columns)}, elsewhere {', '.join(self.columns)}; make them the same"
            )
        last_s = float(table.times[-1]) * self.unit_s
        if last_s > duration_s + INTERVAL_SLACK_S:
            raise FormatError(
                f"its last timestamp is {last_s:g} s, the recording has {duration_s:g} s; mend it, or give the seconds "
                "that one unit is with --from-option unit_s=SECONDS"
            )
        hop = self.hop_s / self.unit_s
        times = np.arange(num_rows(duration_s, self.hop_s), dtype=np.float64) * hop
        rows = table.at(times, self.method, rounding=_ROUNDING * hop)
        file = io.BytesIO()
        np.save(file, np.ascontiguousarray(rows, dtype="<f4"))
        return file.getvalue()


def read_frames(data: bytes) -> FrameTable:
    """Return the table of a CSV whose first column is the time; a first line of numbers alone is no header.

    Raises:
        FormatError: Not numbers, not ascending, ...; the message gives the line.
    """
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        lines = [(reader.line_num, cells) for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as err:
        raise FormatError(f"not a CSV in UTF-8: {err}; save it as one") from err
    header: list[str] = []
    if lines and any(_number(cell) is None for cell in lines[0][1]):
        header = [cell.strip() for cell in lines.pop(0)[1]]
    if not lines:
        raise FormatError("no rows of numbers; a timestamp and features are needed")
    width = len(header or lines[0][1])
    if width < 2:
        raise FormatError("one column; a timestamp and at least one feature are needed")
    table = np.array([_row(cells, width, number) for number, cells in lines])
    back = np.flatnonzero(np.diff(table[:, 0]) <= 0)
    if len(back):
        number = lines[back[0] + 1][0]
        raise FormatError(f"line {number}: timestamp {table[back[0] + 1, 0]:g} is not behind the one before; sort them")
    columns = tuple(header[1:]) or tuple(str(index) for index in range(width - 1))
    return FrameTable(columns, table[:, 0], table[:, 1:])


def _row(cells: list[str], width: int, number: int) -> list[float]:
    if len(cells) != width:
        raise FormatError(f"line {number}: {len(cells)} cells, {width} expected")
    row = []
    for cell in cells:
        value = _number(cell)
        if value is None or not np.isfinite(value):
            raise FormatError(f"line {number}: {cell!r} is not a number; mend it")
        row.append(value)
    if row[0] < 0:
        raise FormatError(f"line {number}: timestamp {cells[0]!r} is negative; times count from the recording's start")
    return row


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
