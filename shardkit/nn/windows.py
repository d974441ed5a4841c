"""Windows by name, in the middle of a Fourier transform's samples.

|<----- n_fft ----->|
|0 0 ╱‾‾‾‾‾‾‾╲ 0 0 0|        as torch.stft puts a window that is shorter than the transform
    |win_length|
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from shardkit.core.checks import checked_whole
from shardkit.core.errors import InputError

WindowName = Literal["hann", "hamming", "povey", "blackman", "rectangular"]

_POVEY_POWER = 0.85  # Kaldi, feat/feature-window.cc: Hann's window to this power "goes to zero at the edges"


def named_window(name: WindowName, length: int, *, periodic: bool = True) -> Tensor:
    """Return a window in float32, in torch's own arithmetic, so that it is torchaudio's to the last bit.

    Args:
        name: ``hann``, ``hamming`` (0.54 and 0.46), ``blackman`` (0.42, 0.5 and 0.08), ``povey`` (Hann to the power of
            0.85) or ``rectangular`` (ones).
        length: In samples.
        periodic: Of period ``length``, as transforms want it and torch has it by default; False: symmetric, as Kaldi
            has it, of period ``length`` - 1.

    Raises:
        InputError: No window has that name, or it can't have that length.
    """
    if name not in get_args(WindowName):
        raise InputError(f"window is {name!r}; choose one of {', '.join(get_args(WindowName))}")
    length = checked_whole(length, "win_length")
    if name == "rectangular":
        return torch.ones(length)
    if name == "povey":
        return torch.hann_window(length, periodic=periodic).pow(_POVEY_POWER)
    make: dict[str, Callable[..., Tensor]] = {
        "hann": torch.hann_window,
        "hamming": torch.hamming_window,
        "blackman": torch.blackman_window,
    }
    return make[name](length, periodic=periodic)


def centred(window: Tensor, n_fft: int) -> Tensor:
    """Return a window of at most ``n_fft`` samples with zeros on both sides, the odd one on the right."""
    left = (n_fft - len(window)) // 2
    return nn.functional.pad(window, (left, n_fft - len(window) - left))
