"""From audio to spectra, mel bands and their logarithms: the one path that all features of frames take.

    audio ─► rows (batch · channel) ─► parts that fit the caches ─► frames ─► |DFT|^power ─► bands ─► logarithm

On a CPU a part of the rows goes through all steps before the next part does. What lies between the steps then fits the
caches and is memory that the process has already.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from shardkit.core.errors import InputError
from shardkit.nn.framing import Framing

Log = Literal["ln", "log10", "db"]
OutDtype = Literal["float32", "bfloat16", "float16"]

# Values of windowed frames that each thread of a CPU works on at once: a batch in one piece takes four times as long,
# mostly in page faults.
_AT_ONCE = 1 << 20


def spectra(
    audio: Tensor,
    *,
    framing: Framing,
    window: Tensor,
    power: float,
    filters: Tensor | None = None,
    log: Log | None = None,
    floor: float = 0.0,
    out_dtype: OutDtype | None = None,
) -> Tensor:
    """Return spectra of audio, in bands if there are filters, as logarithms if one is named.

    Args:
        audio: (batch, channel, time), floats; half precision is taken as the window's dtype.
        framing: How audio is cut into frames, of as many samples as the window has.
        window: (n_fft,) float32 or float64; what is computed is of this dtype, under autocast too.
        power: 2: power spectra; 1: magnitudes.
        filters: (band, n_fft // 2 + 1), in the window's dtype; None: bands are the transform's bins.
        log: ``ln``, ``log10``, or ``db``: 10 · log10 of powers, 20 · log10 of magnitudes; None: as they are.
        floor: Least value before a logarithm; what is below it becomes it, so that silence has one.
        out_dtype: Of the result; None: the window's.

    Returns:
        (batch, channel, band, frame).

    Raises:
        InputError: The audio is not (batch, channel, time) of floats, or the window is of half precision.
    """

    def compute(rows: Tensor) -> Tensor:
        values = _stft(rows, framing, window, power)
        values = values if filters is None else filters @ values
        return as_dtype(values if log is None else logarithm(values, log, floor, power), out_dtype)

    num_bands = len(window) // 2 + 1 if filters is None else len(filters)
    return in_rows(audio, compute, framing=framing, num_bands=num_bands, dtype=window.dtype, out_dtype=out_dtype)


def in_rows(
    audio: Tensor,
    compute: Callable[[Tensor], Tensor],
    *,
    framing: Framing,
    num_bands: int,
    dtype: torch.dtype,
    out_dtype: OutDtype | None,
) -> Tensor:
    """Return what ``compute``, of (row, time) to (row, band, frame), makes of audio, out of autocast's reach."""
    check_audio(audio, dtype)
    num_batch, num_channels, time = audio.shape
    num_rows = rows_at_once = num_batch * num_channels
    num_frames = framing.num_frames(time)
    if num_rows * num_frames == 0:  # which torch.stft does not take
        empty = audio.new_empty((num_batch, num_channels, num_bands, num_frames), dtype=dtype)
        return as_dtype(empty, out_dtype)
    if audio.device.type == "cpu":
        rows_at_once = max(1, torch.get_num_threads() * _AT_ONCE // (num_frames * framing.n_fft))
    with torch.autocast(audio.device.type, enabled=False):
        samples = audio.to(dtype).reshape(num_rows, time)
        features = torch.cat([compute(part) for part in torch.split(samples, rows_at_once)])
    return features.reshape(num_batch, num_channels, num_bands, num_frames)


def check_audio(audio: Tensor, dtype: torch.dtype) -> None:
    """Raise InputError unless audio is (batch, channel, time) of floats, and spectra can be computed in ``dtype``."""
    if audio.ndim != 3 or not audio.is_floating_point():
        raise InputError(f"audio is {audio.dtype} of shape {tuple(audio.shape)}; give floats, (batch, channel, time)")
    if dtype not in (torch.float32, torch.float64):
        raise InputError(f"spectra in {dtype} would lose the quiet bands; keep this module in float32")


def logarithm(values: Tensor, log: Log, floor: float, power: float) -> Tensor:
    """Return the logarithm of energies, of which none counts as less than ``floor``; NaN stays NaN."""
    values = values.clamp(min=floor)
    if log == "ln":
        return values.log()
    return values.log10() if log == "log10" else values.log10() * (20.0 / power)


def as_dtype(features: Tensor, out_dtype: OutDtype | None) -> Tensor:
    """Return features in the dtype of that name; None: as they are."""
    return features if out_dtype is None else features.to(getattr(torch, out_dtype))


def check_out_dtype(out_dtype: object) -> None:
    """Raise InputError unless that dtype can be given out."""
    if out_dtype is not None and out_dtype not in get_args(OutDtype):
        raise InputError(f"out_dtype is {out_dtype!r}; choose None or one of {', '.join(get_args(OutDtype))}")


def powers(spectrum: Tensor) -> Tensor:
    """Return the squared magnitudes of complex values; a sum over the last axis of two takes twice as long."""
    real, imaginary = torch.view_as_real(spectrum).unbind(-1)
    return real.square().addcmul(imaginary, imaginary)


def _stft(rows: Tensor, framing: Framing, window: Tensor, power: float) -> Tensor:
    """Return the spectra of rows, (row, time), as (row, bin, frame)."""
    spectrum = torch.stft(
        framing.padded(rows), framing.n_fft, framing.hop_length, window=window, center=False, return_complex=True
    )
    if power == 1.0:
        return spectrum.abs()  # whose gradient at zero is zero, where that of a square root is infinite
    return powers(spectrum.transpose(-1, -2)).transpose(-1, -2)  # a view whose bins lie side by side in memory
