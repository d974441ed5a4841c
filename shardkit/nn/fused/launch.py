"""Mel and log-mel features by one kernel on a CUDA device, where it can; elsewhere torch's own operations do."""

import importlib.util
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shardkit.nn.framing import Framing
from shardkit.nn.fused import tables

_PROGRAMS_PER_PROCESSOR = 4  # more than fit at once would only wait, and each has its own part of ``scratch``
_TOLERANCE, _TOLERANCE_HALF = 1e-5, 2.0**-6  # of the greatest value
_TAKEN = (torch.float32, torch.bfloat16, torch.float16)
_LOG_SCALES = {"ln": 1.0, "log10": 1.0 / np.log(10.0), "db": 10.0 / np.log(10.0)}


class FusedMel(nn.Module):
    """What the kernel looks up for one set of mel filters; it follows the module that has it to its device.

    Args:
        filters: (band, n_fft // 2 + 1), float32.
        shape: How the kernel transforms n_fft samples.
    """

    def __init__(self, filters: NDArray[np.float32], shape: tables.Shape) -> None:
        super().__init__()
        bands = tables.bands(filters, shape)
        found = {"twiddles": tables.twiddles(shape), "matrices": tables.matrices(shape), **vars(bands)}
        for name, value in found.items():
            self.register_buffer(name, torch.from_numpy(value), persistent=False)
        self.shape = shape
        self.num_bands = len(filters)
        self._right: dict[torch.device, bool] = {}  # what a first comparison on each device found

    def takes(self, audio: Tensor, window: Tensor, framing: Framing) -> bool:
        """Return whether the kernel can be used: on a CUDA device in float32, and not while torch compiles."""
        return (
            audio.is_cuda
            and audio.ndim == 3
            and audio.dtype in _TAKEN
            and audio.shape[0] * audio.shape[1] * framing.num_frames(audio.shape[2]) > 0
            and window.dtype == torch.float32
            and not torch.compiler.is_compiling()
            and has_triton()
        )

    def forward(
        self,
        audio: Tensor,
        *,
        framing: Framing,
        window: Tensor,
        power: float,
        log: str | None,
        floor: float,
        out_dtype: torch.dtype,
        otherwise: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Return what ``spectra`` does; gradients are those of ``otherwise``, which computes the same in torch.

        The first call on a device compiles the kernel and compares it with ``otherwise`` on a little noise, for which
        the host waits. Should they differ there, or the kernel fail, a warning says so and ``otherwise`` is used.
        """

        def launch(audio: Tensor) -> Tensor:
            return self._launch(audio, framing, window, power, log, floor, out_dtype)

        if audio.device not in self._right:
            self._right[audio.device] = _is_right(launch, otherwise, audio.device, framing.n_fft)
        if not self._right[audio.device]:
            return otherwise(audio)
        features: Tensor = _Fused.apply(audio, launch, otherwise)
        return features

    def _launch(
        self,
        audio: Tensor,
        framing: Framing,
        window: Tensor,
        power: float,
        log: str | None,
        floor: float,
        out_dtype: torch.dtype,
    ) -> Tensor:
        from shardkit.nn.fused.kernel import log_mel_kernel  # noqa: PLC0415  needs Triton, which not all torch has

        num_batch, num_channels, time = audio.shape
        num_frames = framing.num_frames(time)
        shape = self.shape
        tiles_per_row = -(-num_frames // shape.frames)
        num_tiles = num_batch * num_channels * tiles_per_row
        num_programs = min(num_tiles, _PROGRAMS_PER_PROCESSOR * _num_processors(audio.device))
        lead = framing.n_fft // 2 if framing.center else 0
        scratch = torch.empty(num_programs * shape.scratch_size, dtype=torch.float32, device=audio.device)
        size = (num_batch, num_channels, self.num_bands, num_frames)
        features = torch.empty(size, dtype=out_dtype, device=audio.device)
        with torch.cuda.device_of(audio):  # type: ignore[no-untyped-call]  # Triton launches on the current device
            log_mel_kernel[(num_programs,)](
                audio.contiguous(),
                window,
                self.twiddles,
                self.matrices,
                self.bins,
                self.widths,
                scratch,
                features,
                num_tiles,
                tiles_per_row,
                time,
                num_frames,
                framing.hop_length,
                lead,
                max(time, lead + 1) - 1,
                floor,
                1.0 if log is None else _LOG_SCALES[log] * (2.0 / power if log == "db" else 1.0),
                N1=shape.n1,
                N2=shape.n2,
                CLASSES=shape.classes,
                FRAMES=shape.frames,
                BANDS=self.num_bands,
                GROUP=tables.GROUP,
                REFLECT=lead > 0 and framing.pad_mode == "reflect",
                MAGNITUDE=power == 1.0,
                LOG=log is not None,
                num_warps=shape.num_warps,
            )
        return features


def fused_mel(filters: Tensor) -> FusedMel | None:
    """Return what the kernel needs for filters, (band, bin), or None where it can't be used with their n_fft."""
    shape = tables.shape_of(2 * (filters.shape[1] - 1))
    return None if shape is None else FusedMel(filters.numpy(), shape)


@cache
def has_triton() -> bool:
    """Return whether Triton is installed; torch brings it for CUDA on Linux."""
    return importlib.util.find_spec("triton") is not None


def _is_right(
    launch: Callable[[Tensor], Tensor], otherwise: Callable[[Tensor], Tensor], device: torch.device, n_fft: int
) -> bool:
    """Return whether the kernel runs on a device and computes there what torch does."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 1, 8 * n_fft + 17, generator=generator).mul_(0.1).to(device)
    with torch.no_grad():
        expected = otherwise(noise)
        try:
            found = launch(noise)
        except Exception as err:  # whatever Triton, its compiler or the driver raises
            warnings.warn(f"the fused log-mel failed on {device}, torch's own operations are used: {err}", stacklevel=2)
            return False
        tolerance = _TOLERANCE if found.dtype == torch.float32 else _TOLERANCE_HALF
        difference = ((found - expected).abs().max() / expected.abs().max()).item()
    if not difference <= tolerance:
        warnings.warn(
            f"the fused log-mel is off by {difference:.1e} of the greatest value on {device}, torch's own operations "
            f"are used; please report this with your GPU and torch {torch.__version__}",
            stacklevel=2,
        )
    return difference <= tolerance


class _Fused(torch.autograd.Function):
    """The kernel's result, with the gradient of the plain path, which is computed anew when it is asked for."""

    @staticmethod
    def forward(ctx: Any, audio: Tensor, launch: Callable[[Tensor], Tensor], otherwise: Any) -> Tensor:
        ctx.save_for_backward(audio)
        ctx.otherwise = otherwise
        return launch(audio)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (audio,) = ctx.saved_tensors
        with torch.enable_grad():
            leaf = audio.detach().requires_grad_()
            features = ctx.otherwise(leaf)
        return (*torch.autograd.grad(features, leaf, gradient), None, None)


def _num_processors(device: torch.device) -> int:
    if device.type != "cuda":  # in Triton's interpreter
        return 1
    return int(torch.cuda.get_device_properties(device).multi_processor_count)
