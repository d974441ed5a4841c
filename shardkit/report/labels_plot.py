"""A picture of how often labels come: each with its name, 10 of them or 500, and how often it would be drawn.

Speech   ████████████████████ 5,735 ·            bars: recordings, and events below them
Music    ███████████████ 4,011  ·                dot: in as many draws, by a power of the frequency
Gargling █ 61      ·
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shardkit.core.errors import InputError, StorageError
from shardkit.report.labels import LabelStatistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAME_IN, _BARS_IN, _NUMBER_IN, _GAP_IN = 2.35, 1.9, 0.5, 0.2  # of one column of labels, from left to right
_ROW_IN, _TOP_IN, _BOTTOM_IN = 0.19, 0.95, 0.4
_LEAST_WIDTH_IN = 9.0
_ASPECT = 1.5  # width to height that several columns aim at
_DPI = 110
_NAME_CHARS = 36
_COLOURS = {"recordings": "#4a5a9a", "events": "#d9822b"}
_DOT, _STRIPE, _GRID = "#c2255c", "#f3f3f5", "#d5d5da"


def draw_labels(statistics: LabelStatistics, path: Path, *, title: str) -> None:
    """Draw the statistics of labels into a PNG.

    Args:
        statistics: What ``label_statistics`` returned.
        path: The picture; its folder must exist.
        title: What they are of.

    Raises:
        InputError: There are no labels, or matplotlib is not installed.
        StorageError: The picture can't be written.
    """
    figure_class = check_matplotlib()
    if not len(statistics.table):
        raise InputError(f"{title}: no labels to draw")
    figure = _draw(figure_class, statistics, title)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a name in a script that the font lacks: boxes will do
            figure.savefig(path, dpi=_DPI, format="png")
    except OSError as err:
        raise StorageError(f"{path}: can't be written: {err.strerror}; choose a folder you may write to") from err


def check_matplotlib() -> Any:
    """Return matplotlib's figure, which draws when it is saved: no display and no global state.

    Raises:
        InputError: It is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 (matplotlib is optional, and slow to import)
    except ImportError as err:
        raise InputError("a plot needs matplotlib: pip install 'shardkit[demo]'") from err
    return Figure


def _draw(figure_class: Any, statistics: LabelStatistics, title: str) -> Any:
    rows = statistics.table.to_pylist()
    counted = [name for name in _COLOURS if any(row[name] for row in rows)] or ["recordings"]
    beside = _NAME_IN + _NUMBER_IN * len(counted) + _GAP_IN
    columns = max(1, round(math.sqrt(_ASPECT * len(rows) * _ROW_IN / (beside + _BARS_IN))))
    per_column = math.ceil(len(rows) / columns)
    columns = math.ceil(len(rows) / per_column)
    bars = max(_BARS_IN, _LEAST_WIDTH_IN / columns - beside)
    width, height = columns * (beside + bars), per_column * _ROW_IN + _TOP_IN + _BOTTOM_IN
    figure = figure_class(figsize=(width, height))
    total = sum(row[statistics.counted] for row in rows)
    limits = _limits(rows, counted, total)
    for number in range(columns):
        left = number * (beside + bars) + _NAME_IN
        part = rows[number * per_column : (number + 1) * per_column]
        rows_in = len(part) * _ROW_IN
        axes = figure.add_axes((left / width, (height - _TOP_IN - rows_in) / height, bars / width, rows_in / height))
        _draw_column(axes, part, counted, total=total, limits=limits)
        for place, name in enumerate(counted, 1):
            _write_numbers(axes, [row[name] for row in part], name, (bars + place * _NUMBER_IN) / bars)
    figure.text(0.12 / width, 1 - 0.12 / height, title, va="top", fontsize=13, parse_math=False)
    _add_legend(figure, counted, statistics, width, height)
    return figure


def _limits(rows: Sequence[Mapping[str, Any]], counted: Sequence[str], total: int) -> tuple[float, float]:
    """Return where the axis of all columns begins and ends: it is logarithmic, and none of them has a zero."""
    values = [row[name] for row in rows for name in counted] + [row["probability"] * total for row in rows]
    there = [value for value in values if value > 0] or [1]
    return min(min(there) / 1.5, max(there) / 100), max(there) * 1.3


def _draw_column(
    axes: "Axes",
    rows: Sequence[Mapping[str, Any]],
    counted: Sequence[str],
    *,
    total: int,
    limits: tuple[float, float],
) -> None:
    thick = 0.72 / len(counted)
    for place in range(1, len(rows), 2):
        axes.axhspan(place - 0.5, place + 0.5, color=_STRIPE, lw=0, zorder=0)
    for level, name in enumerate(counted):
        shift = (level - (len(counted) - 1) / 2) * thick
        bars = [(place + shift, row[name] - limits[0]) for place, row in enumerate(rows) if row[name]]
        if bars:
            places, lengths = zip(*bars, strict=True)
            axes.barh(places, lengths, thick, left=limits[0], color=_COLOURS[name], lw=0, zorder=2)
    drawn = [(row["probability"] * total, place) for place, row in enumerate(rows) if row["probability"]]
    if drawn:
        axes.plot(*zip(*drawn, strict=True), "o", color=_DOT, ms=4.5, mec="white", mew=0.7, zorder=4)
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [_short(row["label"]) for row in rows], fontsize=8, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", color=_GRID, lw=0.6, zorder=1)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _write_numbers(axes: "Axes", numbers: Sequence[int], name: str, right: float) -> None:
    """Write a column of numbers beside the bars, where no bar and no dot covers them."""
    for place, number in enumerate(numbers):
        axes.text(
            right, place, f"{number:,}", transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=7.5,
            color=_COLOURS[name],
        )  # fmt: skip


def _short(name: str) -> str:
    return name if len(name) <= _NAME_CHARS else name[: _NAME_CHARS - 1] + "…"


def _add_legend(figure: Any, counted: Sequence[str], statistics: LabelStatistics, width: float, height: float) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415 (matplotlib is optional)
    from matplotlib.patches import Patch  # noqa: PLC0415

    handles: list[Any] = [Patch(facecolor=_COLOURS[name], label=name) for name in counted]
    text = f"of as many draws, with p ∝ {statistics.counted} ** {statistics.power:g}"
    handles.append(Line2D([], [], marker="o", ls="", color=_DOT, mec="white", ms=6, label=text))
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(0.05 / width, 1 - 0.42 / height), ncols=len(handles),
        fontsize=9, frameon=False, borderaxespad=0,
    )  # fmt: skip
