"""From a recording to its features, piece by piece, in memory that does not grow with its length.

Recordings are never batched: the values of one follow from its own samples alone, to the last bit, whoever its
neighbours are and however many are worked on at once. A GPU is kept busy by several threads that each have one.
"""

import io
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shardkit.core.checks import checked_whole
from shardkit.core.errors import FormatError, InputError
from shardkit.features.pieces import audio_of, pieces_of
from shardkit.features.recording import Recording
from shardkit.format.arrays import ArrayLayout
from shardkit.format.hashing import MemberHash

IN_MEMORY = 16 << 20  # bytes of one recording's features; beyond, they wait in a file
_CHUNK = 1 << 22
_FRAMES_AT_ONCE = 4096  # of features that are complete: to reorder and write them takes copies
_DTYPES = {torch.float32: "<f4", torch.float16: "<f2"}


@dataclass(frozen=True, slots=True)
class Computed:
    """The ``.npy`` member of one recording's features: its bytes, or the file that has them."""

    data: bytes | Path
    size: int
    xxh3: int
    layout: ArrayLayout

    def parts(self) -> Iterator[bytes]:
        """Yield the member's bytes."""
        if isinstance(self.data, bytes):
            yield self.data
            return
        with self.data.open("rb") as file:
            while part := file.read(_CHUNK):
                yield part
        self.data.unlink()


class Computer:
    """Computes features with a module.

    Args:
        module: Feature module: ``sample_rate``, ``hop_length``, ``num_frames`` and ``config``, and where it can be said
            what a frame sees, ``reach``, ``per_frame`` and ``per_clip`` as ``shardkit.nn.Features`` has them.
        device: Where to compute.

    Attributes:
        device: As given.
        sample_rate: Of the audio that it takes, in Hz.
        hop_length: Samples of that from frame to frame.
        dtype: Of the features, as NumPy names it.

    Raises:
        InputError: The module is no feature module, or gives what can't be stored.
    """

    def __init__(self, module: nn.Module, *, device: torch.device) -> None:
        lacking = [name for name in ("sample_rate", "hop_length", "num_frames", "config") if not hasattr(module, name)]
        if lacking:
            raise InputError(
                f"{type(module).__name__} has no {', '.join(lacking)}; give a feature module of shardkit.nn"
            )
        self._module: Any = module.to(device).eval()
        self.device = device
        self._reach: int | None = getattr(module, "reach", None)
        self._in_one_step: bool = getattr(module, "is_per_frame", True)
        self.sample_rate, self.hop_length = self._whole("sample_rate"), self._whole("hop_length")
        self.dtype = self._dtype()

    def config(self) -> dict[str, Any]:
        """Return the module's description."""
        return dict(self._module.config())

    @cached_property
    def silence(self) -> tuple[float, ...]:
        """A frame in the middle of silence, (band,)."""
        frame = self._probed[0, 0, :, self._probed.shape[-1] // 2].double().tolist()
        if not all(map(math.isfinite, frame)):
            raise InputError(
                f"{type(self._module).__name__} makes {frame[0]} of silence; give it a floor, or no logarithm"
            )
        return tuple(frame)

    def compute(self, recording: Recording, folder: Path) -> Computed:
        """Return the features of a recording as (frame, channel, band); large ones in a file of the folder.

        Raises:
            AudioError, FormatError: The recording can't be decoded, is too short for a frame, or holds what is not
                finite in the features.
            InputError: The module does not do what it says.
            StorageError: It can't be read.
        """
        shape = (self._num_frames(recording), recording.num_channels, len(self.silence))
        header = _header(self.dtype, shape)
        size = len(header) + math.prod(shape) * np.dtype(self.dtype).itemsize
        running, kept, file = MemberHash(), list[bytes](), None
        try:
            if size > IN_MEMORY:
                file = tempfile.NamedTemporaryFile(dir=folder, suffix=".npy", delete=False)  # noqa: SIM115  closed below
            rows = 0
            for part in self._encoded(header, recording):
                running.update(part)
                rows += len(part)
                kept.append(part) if file is None else file.write(part)
        finally:
            if file is not None:
                file.close()
        if rows != size:
            raise InputError(f"{type(self._module).__name__} made {rows} bytes where it says {size}; mend num_frames")
        data = b"".join(kept) if file is None else Path(file.name)
        return Computed(data, size, running.value(), ArrayLayout(self.dtype, shape, len(header)))

    def _encoded(self, header: bytes, recording: Recording) -> Iterator[bytes]:
        yield header
        for features in self._features(recording):
            found = features[0].permute(2, 0, 1).contiguous().cpu().numpy()
            if not np.isfinite(found).all():
                raise FormatError(_not_finite(found))
            yield found.astype(self.dtype, copy=False).tobytes()

    @torch.inference_mode()
    def _on_device(self, audio: NDArray[np.float32]) -> Tensor:
        samples = torch.from_numpy(np.ascontiguousarray(audio)).unsqueeze(0).to(self.device)
        found: Tensor = self._module(samples) if self._in_one_step else self._module.per_frame(samples)
        return found

    def _features(self, recording: Recording) -> Iterator[Tensor]:
        """Yield the features of a recording in order, (1, channel, band, frame) each.

        Where a frame needs to know of all others, those are held until then, which bounds memory by the size of the
        features: an hour of 80 bands, a hundred a second, is 115 MB for each channel.
        """
        num_frames = self._num_frames(recording)
        pieces = pieces_of(recording.num_samples, num_frames, hop_length=self.hop_length, reach=self._reach)
        held: Tensor | None = None
        for piece, audio in audio_of(pieces, recording.blocks()):
            found = self._on_device(audio)[..., piece.skip : piece.skip + piece.last - piece.first]
            if self._in_one_step:
                yield found
                continue
            if held is None:
                held = found.new_empty((*found.shape[:3], num_frames))
            held[..., piece.first : piece.last] = found
        if held is not None:
            with torch.inference_mode():
                held = self._module.per_clip(held)
            yield from torch.split(held, _FRAMES_AT_ONCE, dim=-1)

    def _num_frames(self, recording: Recording) -> int:
        num_frames: int = self._module.num_frames(recording.num_samples)
        if num_frames < 1:
            seconds = recording.num_samples / self.sample_rate
            raise FormatError(f"its {seconds:g} s are too short for a frame of features")
        return num_frames

    @cached_property
    @torch.inference_mode()
    def _probed(self) -> Tensor:
        """What the module makes of a second of silence and more."""
        samples = self.sample_rate + 64 * self.hop_length
        found: Tensor = self._module(torch.zeros(1, 1, samples, device=self.device)).cpu()
        expected = self._module.num_frames(samples)
        if found.ndim != 4 or found.shape[:2] != (1, 1) or found.shape[3] != expected:
            raise InputError(
                f"{type(self._module).__name__} makes {tuple(found.shape)} of one channel of {samples} samples, "
                f"not (1, 1, band, {expected}), which it says are its frames"
            )
        return found

    def _whole(self, name: str) -> int:
        return checked_whole(getattr(self._module, name), f"{type(self._module).__name__}.{name}")

    def _dtype(self) -> str:
        found = self._probed.dtype
        if found not in _DTYPES:
            raise InputError(f"features are {found}, which can't be stored; give the module out_dtype float16 or None")
        return _DTYPES[found]


def _header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return what a ``.npy`` file of such an array begins with."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


def _not_finite(features: NDArray[Any]) -> str:
    frame, channel, band = np.argwhere(~np.isfinite(features))[0].tolist()
    value = features[frame, channel, band]
    advice = "; --dtype float32 holds more" if np.isinf(value) and features.dtype == np.float16 else ""
    return f"its features hold {value} at frame {frame}, channel {channel}, band {band}{advice}"
