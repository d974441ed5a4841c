"""Augmentation in a loader: law L1 through all of it, and the example of docs/augmentation.md."""

import re
from itertools import islice
from pathlib import Path

import pytest
import torch

from shardkit.core.crops import RandomCrop
from shardkit.nn import AddNoise, Compose, Gain, LogMel, LoudnessNormalize, MixUp, PolarityInversion, SpecAugment
from shardkit.train import Loader

pytestmark = pytest.mark.usefixtures("no_thread_left")

RATE, GLOBAL = 8_000, 16
DOCS = Path(__file__).parents[2] / "docs" / "augmentation.md"
ROWWISE = ("audio", "features", "labels")


def augment():
    return Compose(
        [
            LoudnessNormalize(min_lufs=-30, max_lufs=-18, peak=1.0),
            Gain(min_db=-6, max_db=6, p=0.5),
            PolarityInversion(),
            AddNoise(beside="noise", min_snr_db=0, max_snr_db=20, p=0.8),
            MixUp(alpha=0.4, classes=4),  # so that four ranks find all partners
            LogMel(sample_rate=RATE, n_fft=256, hop_length=80, n_mels=32),
            SpecAugment(max_bands=8, max_frames=10),
        ],
        seed=3,
    )


def loader(make_stream, *, rank=0, world_size=1, workers=0):
    share = {"rank": rank, "world_size": world_size, "batch_size": GLOBAL // world_size}
    stream = make_stream(crop=RandomCrop(0.5), loudness=True, **share)
    noise = make_stream(crop=RandomCrop(0.5), seed=99, **share)
    return Loader(stream, device="cpu", transform=augment(), beside={"noise": noise}, workers=workers)


def rows(batch):
    """Return what is to be the same of each row, by position."""
    return {
        position: [getattr(batch, name)[row] for name in ROWWISE]
        for row, position in enumerate(batch.positions.tolist())
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for position, values in expected.items():
        assert all(torch.equal(one, other) for one, other in zip(found[position], values, strict=True)), position


def test_ranks_workers_and_resumed_runs_augment_alike(make_stream):
    whole = [rows(batch) for batch in islice(loader(make_stream), 4)]
    for world_size in (2, 4):
        loaders = [islice(loader(make_stream, rank=rank, world_size=world_size), 4) for rank in range(world_size)]
        for expected, shares in zip(whole, zip(*loaders, strict=True), strict=True):
            assert_same({position: row for batch in shares for position, row in rows(batch).items()}, expected)
    first = loader(make_stream, workers=2)
    for expected, batch in zip(whole[:2], first, strict=False):
        assert_same(rows(batch), expected)
    resumed = loader(make_stream)
    resumed.load_state_dict(first.state_dict())
    for expected, batch in zip(whole[2:], resumed, strict=False):
        assert_same(rows(batch), expected)


def test_augmentation_changes_the_rows_and_leaves_what_they_are_called(make_stream):
    plain = next(iter(Loader(make_stream(crop=RandomCrop(0.5), batch_size=GLOBAL), device="cpu")))
    batch = next(iter(loader(make_stream)))
    assert batch.keys == plain.keys
    assert torch.equal(batch.positions, plain.positions)
    assert not any(torch.equal(one, other) for one, other in zip(batch.audio, plain.audio, strict=True))
    assert batch.features.shape == (GLOBAL, 1, 32, 50)
    assert ((batch.labels > 0) & (batch.labels < 1)).any()
    assert torch.allclose(batch.labels.sum(dim=1), plain.labels.sum(dim=1))


def test_the_example_of_the_docs_runs(make_stream):
    example = re.search(r"```python\n(from shardkit\.nn import.*?)```", DOCS.read_text(), re.DOTALL)[1]
    streams = {
        "stream": make_stream(crop=RandomCrop(0.5), batch_size=8, loudness=True, sample_rate=16_000, mask_hop=None),
        "noise_stream": make_stream(crop=RandomCrop(0.5), batch_size=8, seed=5, sample_rate=16_000, mask_hop=None),
    }
    found = dict(streams)
    exec(example.replace('device="cuda"', 'device="cpu"'), found)  # noqa: S102  our own docs
    batch = next(iter(found["loader"]))
    assert batch.features.shape == (8, 1, 80, 50)
    assert torch.isfinite(batch.features).all()
