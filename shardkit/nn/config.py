"""Feature modules from plain descriptions: what ``config()`` gives, ``from_config`` builds again.

LogMel(sample_rate=16_000).config()  ─►  {"kind": "LogMel", "sample_rate": 16000, ...}  ─►  from_config  ─►  LogMel
"""

from collections.abc import Mapping
from typing import Any

from shardkit.core.errors import InputError
from shardkit.nn.fbank import Fbank
from shardkit.nn.features import Features
from shardkit.nn.log_mel import LogMel
from shardkit.nn.mel_spectrogram import MelSpectrogram
from shardkit.nn.mfcc import MFCC
from shardkit.nn.pcen import PCEN
from shardkit.nn.spectrogram import Spectrogram

KINDS: dict[str, type[Features]] = {
    kind.__name__: kind for kind in (Spectrogram, MelSpectrogram, LogMel, MFCC, PCEN, Fbank)
}


def from_config(config: Mapping[str, Any]) -> Features:
    """Return the feature module that a description describes.

    Args:
        config: ``kind``, the name of a class, and its options; those left out have their defaults.

    Raises:
        InputError: The kind or an option is unknown, ``sample_rate`` is missing, or an option can't be.

    >>> from_config({"kind": "LogMel", "sample_rate": 16_000, "n_mels": 64}).config()["n_mels"]
    64
    """
    options = dict(config)
    kind = options.pop("kind", None)
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"features of kind {kind!r} are unknown; choose one of {', '.join(KINDS)}")
    known = KINDS[kind].option_names()
    unknown = ", ".join(repr(name) for name in sorted(options.keys() - known))
    if unknown:
        raise InputError(f"{kind} has no option {unknown}; it has {', '.join(sorted(known))}")
    if "sample_rate" not in options:
        raise InputError(f"{kind} needs sample_rate, in Hz")
    return KINDS[kind](**options)
