"""Every augmentation once, and a batch with all that they need."""

from collections.abc import Callable

import torch

from shardkit.nn import (
    AddGaussianNoise,
    AddNoise,
    Apply,
    Augmentation,
    BandPass,
    BitCrush,
    ChannelSwap,
    Clips,
    Compose,
    CorruptPhase,
    CutMix,
    Gain,
    HighPass,
    LimitPeak,
    LogMel,
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

RATE, TIME = 8_000, 1_201


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def smoothed(audio: torch.Tensor) -> torch.Tensor:
    return 0.5 * (audio + audio.roll(1, dims=-1))


BANK = noise(5, 1, 700, seed=7)
ROOMS = noise(3, 2, 300, seed=8) * torch.exp(-torch.arange(300) / 40.0)

STEPS: dict[str, Callable[..., Augmentation]] = {
    "gain": Gain,
    "polarity": PolarityInversion,
    "limit": lambda **options: LimitPeak(peak=0.2, **options),
    "swap": ChannelSwap,
    "swap-fixed": lambda **options: ChannelSwap(order=(1, 0), **options),
    "loudness": lambda **options: LoudnessNormalize(min_lufs=-30.0, max_lufs=-10.0, peak=0.9, **options),
    "noise-beside": lambda **options: AddNoise(beside="noise", **options),
    "noise-bank": lambda **options: AddNoise(bank=BANK, lengths=torch.tensor([700, 1, 50, 699, 300]), **options),
    "gaussian": AddGaussianNoise,
    "coloured": lambda **options: AddGaussianNoise(min_exponent=0.0, max_exponent=2.0, **options),
    "reverb": lambda **options: Reverb(ROOMS, **options),
    "mixup": MixUp,
    "mixup-union": lambda **options: MixUp(alpha=1.0, labels="union", **options),
    "mixup-features": lambda **options: MixUp(on="features", **options),
    "cutmix": CutMix,
    "cutmix-features": lambda **options: CutMix(on="features", **options),
    "spec": lambda **options: SpecAugment(max_bands=3, max_frames=5, **options),
    "spec-mean": lambda **options: SpecAugment(max_bands=3, max_frames=5, fill="mean", **options),
    "stretch": lambda **options: TimeStretch(min_rate=0.5, max_rate=2.0, n_fft=256, **options),
    "pitch": lambda **options: PitchShift(n_fft=256, **options),
    "speed": SpeedChange,
    "low": lambda **options: LowPass(max_hz=3_000.0, **options),
    "high": HighPass,
    "band": lambda **options: BandPass(max_high_hz=3_500.0, **options),
    "resample": lambda **options: RandomResample(min_hz=3_000.0, max_hz=6_000.0, **options),
    "corrupt": lambda **options: CorruptPhase(n_fft=256, **options),
    "shift": lambda **options: ShiftPhase(n_fft=256, **options),
    "mu-law": lambda **options: MuLaw(min_bits=4, **options),
    "crush": BitCrush,
    "apply": lambda **options: Apply(smoothed, **options),
    "one-of": lambda **options: OneOf([Gain(), MixUp(p=0.5), AddGaussianNoise()], weights=[1, 2, 1], **options),
    "compose": lambda **options: Compose([Gain(), Gain(p=0.5), MixUp(), AddNoise(bank=BANK, p=1.0)], **options),
}


def batch_of(num: int = 32, *, time: int = TIME, views: int = 1, first: int = 64, seed: int = 0) -> Clips:
    """A whole global batch; rows differ in length, some are silent, one is empty."""
    rows = num * views
    lengths = torch.tensor([time - (37 * row) % max(1, time // 2) for row in range(rows)], dtype=torch.int64)
    if rows > 6:
        lengths[5] = 0
    inside = torch.arange(time) < lengths[:, None, None]
    audio, other = (torch.where(inside, noise(rows, 2, time, seed=seed + part), 0.0) for part in (0, 1))
    if rows > 6:
        audio[6], other[4] = 0.0, 0.0
    positions = (first + torch.arange(num)).repeat_interleave(views)
    shared = {"sample_rate": RATE, "lengths": lengths, "positions": positions, "views": views}
    features = LogMel(sample_rate=RATE, n_fft=256, hop_length=80, n_mels=12)(audio)
    loudness = torch.linspace(-80.0, -10.0, rows)
    if rows > 2:
        loudness[2] = float("nan")
    labels = (noise(rows, 4, seed=seed + 2) > 0.05).float()
    beside = {"noise": Clips(audio=other, **shared)}
    return Clips(audio=audio, features=features, labels=labels, loudness=loudness, beside=beside, **shared)


def rows_of(batch: Clips, rows: torch.Tensor, *, global_batch_size: int | None = None) -> Clips:
    """Some rows of a batch, as another rank or another run would have them."""
    size = batch.global_batch_size if global_batch_size is None else global_batch_size
    return Clips(
        audio=batch.audio[rows],
        features=None if batch.features is None else batch.features[rows],
        labels=batch.labels[rows],
        lengths=batch.lengths[rows],
        positions=batch.positions[rows],
        valid=batch.valid[rows],
        loudness=None if batch.loudness is None else batch.loudness[rows],
        views=batch.views,
        sample_rate=batch.sample_rate,
        global_batch_size=size,
        beside={name: rows_of(other, rows) for name, other in batch.beside.items()},
    )


def same(one: Clips, other: Clips) -> bool:
    """Whether all that steps may change is equal, bit for bit."""
    names = ("audio", "features", "labels", "lengths", "loudness")
    pairs = [(getattr(one, name), getattr(other, name)) for name in names]
    return all(_same(left, right) for left, right in pairs)


def _same(left: torch.Tensor | None, right: torch.Tensor | None) -> bool:
    if left is None or right is None:
        return left is right
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    return bool(((left == right) | (left.isnan() & right.isnan())).all())
