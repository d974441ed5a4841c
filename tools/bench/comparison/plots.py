"""Pictures of the tables: horizontal bars, the cheapest on top, the floor as a line."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from tools.bench.comparison.plan import Row
from tools.bench.comparison.results import Results, Round, cpu_ms, peak_mb, per_s
from tools.bench.systems.contract import WORKLOADS

_OURS, _DOCUMENTED, _TUNED, _FLOOR = "#d1495b", "#b8c4cc", "#5b7a8c", "#2b2b2b"
_LINEAR = 20  # largest over smallest, up to which bars begin at 0
_WIDTH_IN, _BAR_IN, _EDGES_IN, _DPI = 9.0, 0.27, 1.25, 130


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw cost and memory of each workload that has them, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for workload in ("A", "B", "B-wav", "C-A", "C-B", "D", "F", "G"):
        rows = [row for row in results.of(workload) if results.rounds(row) and row.variant != "tars alone"]
        if not rows:
            continue
        title = f"{workload}: {WORKLOADS[workload].title}"
        unit = "CPU ms / file" if workload == "D" else "CPU ms / sample"
        speed = "files/s" if workload == "D" else "samples/s"
        pictures: list[tuple[str, Callable[[Round], float], str, bool]] = [
            ("cpu", cpu_ms, f"{unit}, all processes: shorter is better", True),
            ("speed", per_s, f"{speed} by the clock: longer is better", False),
        ]
        if workload in ("A", "B", "D", "F"):
            pictures.append(("memory", peak_mb, "peak MB, all processes: shorter is better", True))
        for name, measure, axis, low in pictures:
            shown = [row for row in rows if row.system != "floor"] if name == "memory" else rows
            path = folder / f"{workload}-{name}.png"
            _bars(results, shown, measure, title=title, axis=axis, low=low, path=path)
            drawn.append(path)
    return drawn


def _bars(
    results: Results,
    rows: Sequence[Row],
    measure: Callable[[Round], float],
    *,
    title: str,
    axis: str,
    low: bool,
    path: Path,
) -> None:
    values = {row: results.value(row, measure) for row in rows}
    order = sorted((row for row in rows if values[row] > 0), key=values.__getitem__, reverse=not low)
    if not order:
        return
    figure = Figure(figsize=(_WIDTH_IN, _EDGES_IN + _BAR_IN * len(order)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    widths = [values[row] for row in order]
    axes.barh(range(len(order)), widths, color=[_colour(row) for row in order], height=0.72)
    axes.set_yticks(range(len(order)), [row.title for row in order], fontsize=8.5)
    for label, row in zip(axes.get_yticklabels(), order, strict=True):
        label.set_fontweight("bold" if row.system == "shardkit" else "normal")
    axes.invert_yaxis()
    wide = max(widths) > _LINEAR * min(widths)
    if wide:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(min(widths) / 1.6 if wide else 0, max(widths) * (2.2 if wide else 1.12))
    for place, width in enumerate(widths):
        axes.annotate(
            _number(width), (width, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
        )
    floors = [values[row] for row in order if row.system == "floor"]
    if floors:
        axes.axvline(min(floors) if low else max(floors), color=_FLOOR, linewidth=1.0, linestyle="--", zorder=0)
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel(f"{axis}{' (log scale)' if wide else ''}", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", labelsize=8)
    handles = {"shardkit": _OURS, "peer as documented": _DOCUMENTED, "peer tuned": _TUNED, "floor": _FLOOR}
    shown = {_colour(row) for row in order}
    patches = [axes.barh(0, 0, color=colour, label=name) for name, colour in handles.items() if colour in shown]
    axes.legend(handles=patches, fontsize=8, frameon=False, loc="upper right" if low else "lower right")
    figure.savefig(path, dpi=_DPI)


def _colour(row: Row) -> str:
    if row.system in ("shardkit", "floor"):
        return _OURS if row.system == "shardkit" else _FLOOR
    return _DOCUMENTED if row.variant.startswith("documented") else _TUNED


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.{max(0, 1 - math.floor(math.log10(value)))}f}"
