"""Torch modules that run where the batch is: spectral features.

Needs torch, as ``shardkit[train]`` installs it; nothing here knows of shards.
"""

try:
    import torch as _torch  # noqa: F401  imported here so that its absence is told in words that help
except ImportError as err:
    raise ImportError(
        "shardkit.nn needs torch, which shardkit alone does not install: pip install 'shardkit[train]' "
        f"(torch>=2.11,<2.15 with torchaudio==2.11.*); importing it failed: {err}"
    ) from err

from shardkit.nn.config import from_config
from shardkit.nn.ema import ema
from shardkit.nn.fbank import Fbank
from shardkit.nn.features import Features
from shardkit.nn.log_mel import LogMel, log_mel
from shardkit.nn.mel import mel_filters
from shardkit.nn.mel_spectrogram import MelSpectrogram
from shardkit.nn.mfcc import MFCC
from shardkit.nn.pcen import PCEN, pcen
from shardkit.nn.presets import preset
from shardkit.nn.spectrogram import Spectrogram

__all__ = [
    "MFCC",
    "PCEN",
    "Fbank",
    "Features",
    "LogMel",
    "MelSpectrogram",
    "Spectrogram",
    "ema",
    "from_config",
    "log_mel",
    "mel_filters",
    "pcen",
    "preset",
]
