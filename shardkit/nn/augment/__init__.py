"""Augmentation of whole batches on the device, keyed by position; see ``docs/augmentation.md``."""

from shardkit.nn.augment.channels import ChannelSwap
from shardkit.nn.augment.codec import Apply, BitCrush, MuLaw
from shardkit.nn.augment.compose import Compose, OneOf
from shardkit.nn.augment.cutmix import CutMix
from shardkit.nn.augment.filters import BandPass, HighPass, LowPass, RandomResample
from shardkit.nn.augment.gain import Gain, LimitPeak, PolarityInversion
from shardkit.nn.augment.gaussian_noise import AddGaussianNoise
from shardkit.nn.augment.loudness import LoudnessNormalize
from shardkit.nn.augment.mixup import MixUp
from shardkit.nn.augment.noise import AddNoise
from shardkit.nn.augment.phase import CorruptPhase, ShiftPhase
from shardkit.nn.augment.reverb import Reverb
from shardkit.nn.augment.spec_augment import SpecAugment
from shardkit.nn.augment.step import Augmentation
from shardkit.nn.augment.tempo import PitchShift, SpeedChange, TimeStretch

__all__ = [
    "AddGaussianNoise",
    "AddNoise",
    "Apply",
    "Augmentation",
    "BandPass",
    "BitCrush",
    "ChannelSwap",
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
