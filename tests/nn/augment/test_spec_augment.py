"""SpecAugment: masks drawn independently, within the frames that stand for samples."""

import dataclasses

import pytest
import torch
from scipy import stats

from shardkit.core.errors import InputError
from shardkit.nn import Clips, SpecAugment
from tests.nn.augment.steps import batch_of, noise


def batch_with(num: int, bands: int, frames: int, **options) -> Clips:
    audio = torch.zeros(num, 1, 10 * frames)
    return Clips(audio=audio, features=noise(num, 2, bands, frames), sample_rate=1_000, **options)


def test_masked_is_what_was_drawn_and_nothing_else():
    batch = batch_of()
    result, drawn = SpecAugment(max_bands=4, max_frames=6, num_frame_masks=3, fill=-1.0).with_parameters(batch)
    for row in range(32):
        expected = batch.features[row].clone()
        for start, stop in zip(drawn["band_start"][row], drawn["band_stop"][row], strict=True):
            expected[:, start:stop] = -1.0
        for start, stop in zip(drawn["frame_start"][row], drawn["frame_stop"][row], strict=True):
            expected[:, :, start:stop] = -1.0
        assert torch.equal(result.features[row], expected)
    assert drawn["band_start"].shape == (32, 2)
    assert drawn["frame_stop"].shape == (32, 3)
    assert result.audio is batch.audio


def test_widths_and_places_are_independent_and_equally_likely():
    drawn = SpecAugment(max_bands=20, max_frames=50).draw(batch_with(6_000, 64, 100))
    for axis, size, most in (("band", 64, 20), ("frame", 100, 50)):
        start, stop = (drawn[f"{axis}_{end}"] for end in ("start", "stop"))
        width, free = stop - start, size - (stop - start)
        assert (start >= 0).all()
        assert (stop <= size).all()
        for mask in range(2):
            assert stats.chisquare(torch.bincount(width[:, mask], minlength=most + 1).numpy()).pvalue > 0.001
            place = (start[:, mask] + 0.5) / (free[:, mask] + 1)
            assert stats.kstest(place.numpy(), "uniform").pvalue > 0.001
            # audax reuses one number for both, which makes this 1: wide masks are always late.
            assert abs(stats.pearsonr(width[:, mask].numpy(), place.numpy()).statistic) < 0.05
        assert abs(stats.pearsonr(width[:, 0].numpy(), width[:, 1].numpy()).statistic) < 0.05
        assert abs(stats.pearsonr(start[:, 0].numpy(), start[:, 1].numpy()).statistic) < 0.05


def test_masks_of_time_stay_within_the_row_and_its_share():
    lengths = torch.arange(500) * 2
    batch = batch_with(500, 8, 100, lengths=lengths)
    drawn = SpecAugment(max_bands=0, max_frames=90, max_frames_share=0.2).draw(batch)
    frames = -(-lengths // 10)
    assert (drawn["frame_stop"] <= frames[:, None]).all()
    width = drawn["frame_stop"] - drawn["frame_start"]
    assert (width <= (0.2 * frames[:, None])).all()
    assert width.max() > 15
    assert (drawn["band_stop"] == drawn["band_start"]).all()


def test_the_mean_is_the_rows_own_without_its_padding():
    lengths = torch.tensor([500, 1_000, 0])
    batch = batch_with(3, 8, 100, lengths=lengths)
    step = SpecAugment(max_bands=8, max_frames=100, fill="mean")
    result, drawn = step.with_parameters(batch)
    for row, frames in ((0, 50), (1, 100)):
        mean = batch.features[row, :, :, :frames].mean()
        start, stop = int(drawn["frame_start"][row, 0]), int(drawn["frame_stop"][row, 0])
        assert stop > start
        torch.testing.assert_close(result.features[row, :, :, start:stop], mean.expand(2, 8, stop - start))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_features_may_be_of_any_float(dtype):
    batch = batch_of(4)
    for fill in (0.0, "mean"):
        step = SpecAugment(max_bands=4, max_frames=6, fill=fill)
        assert step(dataclasses.replace(batch, features=batch.features.to(dtype))).features.dtype == dtype


def test_masks_wider_than_the_features_are_cut_to_them():
    batch = batch_with(200, 3, 4)
    drawn = SpecAugment(max_bands=99, max_frames=99).draw(batch)
    assert set((drawn["band_stop"] - drawn["band_start"]).flatten().tolist()) == set(range(4))
    assert set((drawn["frame_stop"] - drawn["frame_start"]).flatten().tolist()) == set(range(5))
    none = SpecAugment(num_band_masks=0, num_frame_masks=0)(batch)
    assert torch.equal(none.features, batch.features)


def test_what_can_not_be_is_refused():
    with pytest.raises(InputError, match="has no features"):
        SpecAugment()(dataclasses.replace(batch_of(2), features=None))
    with pytest.raises(InputError, match="batch, channel, band, frame"):
        SpecAugment()(dataclasses.replace(batch_of(2), features=torch.zeros(2, 3, 4)))
    with pytest.raises(InputError, match="max_bands is -1"):
        SpecAugment(max_bands=-1)
    with pytest.raises(InputError, match="max_frames_share is 2"):
        SpecAugment(max_frames_share=2)
    with pytest.raises(InputError, match="fill is 'median'"):
        SpecAugment(fill="median")
