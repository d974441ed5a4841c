"""Audio of a sample, or a crop of it, as a file of its own."""

import os
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from shardkit.core.errors import InputError, StorageError

_PCM_BITS = (16, 24)


def write_audio(samples: NDArray[np.float32], sample_rate: int, path: str | os.PathLike[str]) -> Path:
    """Write samples to a file that gives back exactly these samples.

    PCM is written with 16 or 24 bits, whichever holds it; what neither holds (a decoded MP3, float PCM) is written as
    32-bit float, for which the file must be a WAV.

    Args:
        samples: (channel, time), full scale 1.
        sample_rate: In Hz.
        path: A local file, ``.wav`` or ``.flac``; overwritten if it is there.

    Returns:
        The path.

    Raises:
        InputError: Another ending, or a FLAC can't hold the samples.
        StorageError: The file can't be written.
    """
    target = Path(path)
    ending = target.suffix.lower()
    if ending not in (".wav", ".flac"):
        raise InputError(f"{target}: ends in {ending or 'nothing'!r}; name a file that ends in .wav or .flac")
    if not target.parent.is_dir():
        raise StorageError(f"{target}: can't be written: there is no folder {target.parent}; make it, or name another")
    bits = next((bits for bits in _PCM_BITS if _fits(samples, bits)), None)
    if bits is None and ending == ".flac":
        raise InputError(f"{target}: its samples are no 16- or 24-bit integers, which FLAC needs; write a .wav")
    try:
        if bits is None:
            soundfile.write(target, samples.T, sample_rate, subtype="FLOAT")
        else:
            # In the top bits of int32, as soundfile takes integers of any depth without rounding them.
            scaled = (samples.T.astype(np.float64) * 2.0**31).astype(np.int32)
            soundfile.write(target, scaled, sample_rate, subtype=f"PCM_{bits}")
    except (soundfile.LibsndfileError, OSError) as err:
        raise StorageError(f"{target}: can't be written: {err}; check the folder, or write a .wav") from err
    return target


def _fits(samples: NDArray[np.float32], bits: int) -> bool:
    """Return whether integers of ``bits`` bits hold the samples exactly."""
    full_scale = 2.0 ** (bits - 1)
    scaled = samples.astype(np.float64) * full_scale
    return bool(((scaled == np.rint(scaled)) & (scaled >= -full_scale) & (scaled < full_scale)).all())
