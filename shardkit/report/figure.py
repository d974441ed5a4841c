"""A picture of a batch: what the model is given, to be looked at before it trains for a week.

Each sample has its waveform and, right under it on the same time axis, its spectrogram. A frame is drawn as the
samples [i·hop, (i+1)·hop) that it stands for, so a mask that lies beside its event shows at once.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shardkit.core.errors import InputError, StorageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH_IN = 12.0
_WAVEFORM_IN, _SPECTROGRAM_IN, _GAP_IN, _MARGIN_IN = 0.75, 1.5, 0.5, 0.75
_DPI = 110
_COLUMNS = 1500  # envelope columns over the width: finer than the picture's pixels shows nothing more
_MASK_COLOURS = ("#19c3d8", "#7fd63a", "#4f86ff", "#ff7ac8", "#b0b0b0")  # seen both on white and on magma
_WAVE_COLOUR, _PADDING_COLOUR = "#3a3f5c", "#8c8c8c"
_TITLE_CHARS = 110
_PERCENTILES = (2.0, 99.8)  # of the spectrogram's values: a few extreme cells must not take the colours


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One sample to draw; times in seconds."""

    audio: NDArray[np.float32]
    features: NDArray[Any] | None
    masks: Mapping[str, NDArray[np.bool_]]
    title: str
    valid_s: float
    total_s: float
    hop_s: float


def draw_batch(
    audio: NDArray[np.float32],
    features: NDArray[Any] | None,
    *,
    sample_rate: int,
    hop_length: int,
    masks: Mapping[str, NDArray[Any]],
    lengths: Sequence[int] | NDArray[np.int64],
    titles: Sequence[str],
    path: Path,
    max_samples: int = 6,
) -> None:
    """Draw the first samples of a batch into a PNG.

    Args:
        audio: (batch, channel, time) in [-1, 1]; the channels are drawn over each other.
        features: Log-mel or the like, (batch, channel, mel, frame), or None; the mean of the channels is drawn.
        sample_rate: Of ``audio``, in Hz.
        hop_length: Samples of ``audio`` in one frame of ``features`` and ``masks``.
        masks: By name, (batch, frame); what is above 0.5 is marked.
        lengths: Samples of each row that are not padding, (batch,).
        titles: One line for each row.
        path: The picture; its folder must exist.
        max_samples: Rows to draw at most.

    Raises:
        InputError: The shapes don't belong together, or matplotlib is not installed.
        StorageError: The picture can't be written.
    """
    figure_class = _figure_class()
    _check_shapes(audio, features, masks, lengths, titles)
    if sample_rate < 1 or hop_length < 1 or max_samples < 1:
        raise InputError(f"sample_rate {sample_rate}, hop_length {hop_length}, max_samples {max_samples}: at least 1")
    rows = [
        _Row(
            audio=audio[index],
            features=None if features is None else features[index].mean(axis=0),
            masks={name: np.asarray(mask[index]) > 0.5 for name, mask in masks.items()},
            title=titles[index],
            valid_s=int(lengths[index]) / sample_rate,
            total_s=audio.shape[-1] / sample_rate,
            hop_s=hop_length / sample_rate,
        )
        for index in range(min(len(audio), max_samples))
    ]
    figure = _draw(figure_class, rows, dict(zip(masks, _colours(len(masks)), strict=True)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a key in a script that the font lacks: boxes will do
            figure.savefig(path, dpi=_DPI, format="png")
    except OSError as err:
        raise StorageError(f"{path}: can't be written: {err.strerror}; choose a folder you may write to") from err


def _figure_class() -> Any:
    """Return matplotlib's figure, which draws through Agg when saved: no display and no global state."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 (matplotlib is optional, and slow to import)
    except ImportError as err:
        raise InputError("a figure needs matplotlib: pip install 'shardkit[demo]'") from err
    return Figure


def _check_shapes(
    audio: NDArray[np.float32],
    features: NDArray[Any] | None,
    masks: Mapping[str, NDArray[Any]],
    lengths: Sequence[int] | NDArray[np.int64],
    titles: Sequence[str],
) -> None:
    if audio.ndim != 3 or 0 in audio.shape:
        raise InputError(f"audio has the shape {audio.shape}; it must be (batch, channel, time) with something in it")
    if features is not None and features.ndim != 4:
        raise InputError(f"features have the shape {features.shape}; it must be (batch, channel, mel, frame)")
    flat = [name for name, mask in masks.items() if mask.ndim != 2]
    if flat:
        raise InputError(f"mask {flat[0]!r} has the shape {masks[flat[0]].shape}; it must be (batch, frame)")
    counts = {"lengths": len(lengths), "titles": len(titles), **{name: len(mask) for name, mask in masks.items()}}
    if features is not None:
        counts["features"] = len(features)
    for name, count in counts.items():
        if count != len(audio):
            raise InputError(f"{name}: {count} rows for {len(audio)} rows of audio; give one for each")


def _draw(figure_class: Any, rows: Sequence[_Row], colours: Mapping[str, str]) -> Any:
    """Return the figure: for each row a waveform axis and, if there are features, a spectrogram axis below it."""
    with_features = rows[0].features is not None
    row_in = _WAVEFORM_IN + (_SPECTROGRAM_IN if with_features else 0.35)
    height = 2 * _MARGIN_IN + len(rows) * (row_in + _GAP_IN) - _GAP_IN
    figure = figure_class(figsize=(_WIDTH_IN, height))
    outer = figure.add_gridspec(
        len(rows), 1, left=0.065, right=0.92 if with_features else 0.985, hspace=_GAP_IN / row_in,
        bottom=_MARGIN_IN / height, top=1 - _MARGIN_IN / height,
    )  # fmt: skip
    limits = _colour_limits(rows)
    image: Any = None
    for index, row in enumerate(rows):
        ratios = [_WAVEFORM_IN, _SPECTROGRAM_IN] if with_features else [1]
        inner = outer[index].subgridspec(len(ratios), 1, height_ratios=ratios, hspace=0.06)
        wave = figure.add_subplot(inner[0])
        _draw_waveform(wave, row, colours)
        lowest = wave
        if with_features:
            lowest = figure.add_subplot(inner[1], sharex=wave)
            image = _draw_spectrogram(lowest, row, colours, limits)
            wave.tick_params(labelbottom=False)
        if index == len(rows) - 1:
            lowest.set_xlabel("time (s)", fontsize=10)
    if image is not None:
        bar_in = min(3.0, height - 2 * _MARGIN_IN)
        bar = figure.add_axes((0.935, 0.5 - bar_in / height / 2, 0.012, bar_in / height))
        figure.colorbar(image, cax=bar).set_label("log-mel energy", fontsize=10)
    _add_legend(figure, rows, colours)
    return figure


def _draw_waveform(axes: "Axes", row: _Row, colours: Mapping[str, str]) -> None:
    peak = max(0.01, 1.1 * float(np.abs(row.audio).max(initial=0.0)))
    shown = [name for name, mask in row.masks.items() if mask.any()]
    for level, name in enumerate(reversed(shown)):
        # A band for each mask: colours laid over each other would show masks that aren't there.
        for start, stop in _runs(row.masks[name], row):
            bottom, top = level / len(shown), (level + 1) / len(shown)
            axes.axvspan(start, stop, bottom, top, color=colours[name], alpha=0.45, linewidth=0)
    for channel in row.audio:
        times, low, high = _envelope(channel, row.total_s)
        axes.fill_between(times, low, high, step="post", color=_WAVE_COLOUR, alpha=max(0.4, 1 / len(row.audio)), lw=0.6)
    _grey_padding(axes, row, alpha=0.25)
    axes.set_xlim(0.0, row.total_s)
    axes.set_ylim(-peak, peak)
    tick = float(f"{peak / 1.1 * 0.8:.1g}")
    axes.set_yticks([-tick, 0.0, tick])
    axes.tick_params(labelsize=9)
    title = row.title if len(row.title) <= _TITLE_CHARS else row.title[: _TITLE_CHARS - 1] + "…"
    # parse_math: a key may hold dollar signs.
    axes.set_title(title, loc="left", fontsize=11, pad=5, parse_math=False)


def _draw_spectrogram(axes: "Axes", row: _Row, colours: Mapping[str, str], limits: tuple[float, float]) -> Any:
    from matplotlib.patches import Rectangle  # noqa: PLC0415 (matplotlib is optional)
    from matplotlib.patheffects import withStroke  # noqa: PLC0415

    if row.features is None:
        raise InputError("a row without features has no spectrogram")
    num_mels, num_frames = row.features.shape
    extent = (0.0, num_frames * row.hop_s, 0.0, float(num_mels))
    low, high = limits
    image = axes.imshow(
        row.features, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=low, vmax=high,
        interpolation="nearest",
    )  # fmt: skip
    for level, (name, mask) in enumerate(row.masks.items()):
        inset = num_mels * (0.02 + 0.035 * level)  # each mask a little inside the one before, so that all are seen
        for start, stop in _runs(mask, row):
            box = Rectangle((start, inset), stop - start, num_mels - 2 * inset, fill=False, ec=colours[name], lw=1.6)
            box.set_path_effects([withStroke(linewidth=2.8, foreground="black", alpha=0.6)])
            axes.add_patch(box)
    _grey_padding(axes, row, alpha=0.6)
    axes.set_xlim(0.0, row.total_s)
    axes.set_ylim(0, num_mels)
    axes.set_yticks([0, num_mels // 2, num_mels])
    axes.set_ylabel("mel band", fontsize=10)
    axes.tick_params(labelsize=9)
    return image


def _grey_padding(axes: "Axes", row: _Row, *, alpha: float) -> None:
    if row.valid_s < row.total_s:
        axes.axvspan(row.valid_s, row.total_s, color=_PADDING_COLOUR, alpha=alpha, linewidth=0, zorder=3)
        axes.axvline(row.valid_s, color=_PADDING_COLOUR, linewidth=1.0, linestyle="--", zorder=4)


def _add_legend(figure: Any, rows: Sequence[_Row], colours: Mapping[str, str]) -> None:
    from matplotlib.patches import Patch  # noqa: PLC0415 (matplotlib is optional)

    handles = [Patch(facecolor=colour, edgecolor="black", lw=0.5, label=name) for name, colour in colours.items()]
    if any(row.valid_s < row.total_s for row in rows):
        handles.append(Patch(facecolor=_PADDING_COLOUR, alpha=0.5, label="padding"))
    if handles:
        figure.legend(handles=handles, loc="upper right", ncols=min(len(handles), 6), fontsize=10, frameon=False)


def _runs(mask: NDArray[np.bool_], row: _Row) -> list[tuple[float, float]]:
    """Return the runs of marked frames as (start, stop) in seconds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    bounds = np.minimum(edges * row.hop_s, row.total_s).reshape(-1, 2)
    return [(float(start), float(stop)) for start, stop in bounds]


def _envelope(channel: NDArray[np.float32], total_s: float) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return times, minima and maxima of equal pieces of a channel."""
    step = max(1, math.ceil(len(channel) / _COLUMNS))
    padded = np.pad(channel, (0, -len(channel) % step), mode="edge").reshape(-1, step)
    times = np.arange(len(padded)) * (step * total_s / len(channel))
    return times, padded.min(axis=1), padded.max(axis=1)


def _colour_limits(rows: Sequence[_Row]) -> tuple[float, float]:
    """Return one scale for all rows, from the frames that are not padding, so that rows can be compared."""
    values = [row.features[:, : max(1, math.ceil(row.valid_s / row.hop_s))] for row in rows if row.features is not None]
    finite = np.concatenate([part[np.isfinite(part)] for part in values]) if values else np.zeros(0)
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, _PERCENTILES)
    return float(low), float(max(high, low + 1e-3))


def _colours(count: int) -> list[str]:
    return [_MASK_COLOURS[index % len(_MASK_COLOURS)] for index in range(count)]
