"""Torch modules that run where the batch is: log-mel features.

Needs torch, as ``shardkit[train]`` installs it; nothing here knows of shards.
"""

try:
    import torch as _torch  # noqa: F401  imported here so that its absence is told in words that help
except ImportError as err:
    raise ImportError(
        "shardkit.nn needs torch, which shardkit alone does not install: pip install 'shardkit[train]' "
        f"(torch>=2.11,<2.15 with torchaudio==2.11.*); importing it failed: {err}"
    ) from err

from shardkit.nn.log_mel import LogMel, log_mel
from shardkit.nn.mel import mel_filters

__all__ = ["LogMel", "log_mel", "mel_filters"]

# Augmentation, a block of its own.
from shardkit.nn.augment import (
    AddGaussianNoise,
    AddNoise,
    Apply,
    Augmentation,
    BandPass,
    BitCrush,
    ChannelSwap,
    Compose,
    CorruptPhase,
    CutMix,
    Gain,
    HighPass,
    LimitPeak,
    LoudnessNormalize,
    LowPass,
    MixUp,
    MuLaw,
    OneOf,
    PitchShift,
    PolarityInversion,
    RandomResample,
    Reverb,
    ShiftPhase,
    SpecAugment,
    SpeedChange,
    TimeStretch,
)
from shardkit.nn.clips import Clips

__all__ += [
    "AddGaussianNoise",
    "AddNoise",
    "Apply",
    "Augmentation",
    "BandPass",
    "BitCrush",
    "ChannelSwap",
    "Clips",
    "Compose",
    "CorruptPhase",
    "CutMix",
    "Gain",
    "HighPass",
    "LimitPeak",
    "LoudnessNormalize",
    "LowPass",
    "MixUp",
    "MuLaw",
    "OneOf",
    "PitchShift",
    "PolarityInversion",
    "RandomResample",
    "Reverb",
    "ShiftPhase",
    "SpecAugment",
    "SpeedChange",
    "TimeStretch",
]
