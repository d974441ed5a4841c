"""Law L7: whatever a sample has is cropped at one instant, by reading the bytes of that instant."""

from itertools import islice

import numpy as np
import pytest

import shardkit as sk
from shardkit.pack.adopt import AdoptOptions, adopt
from shardkit.storage.location import locate
from tests.stream import scenes

FIELDS = ["stem", "target", "frames", "mask"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return scenes.pack_scenes(tmp_path_factory.mktemp("together"))


def time_of(samples):
    """Return the time that samples tell, in seconds."""
    return np.asarray(samples, np.float64) * scenes.FULL_SCALE_S


@pytest.mark.parametrize("start_s", [0.0, 0.0123, 1.7, 2.999])
def test_a_crop_by_key_is_one_instant_of_everything(dataset, start_s):
    sample = sk.open(dataset).read("5", start_s=start_s, duration_s=0.5)
    start, stop = sample.start / scenes.RATE, (sample.start + sample.audio.shape[1]) / scenes.RATE
    resolution = scenes.FULL_SCALE_S / 32768
    assert time_of(sample.audio[0, 0]) == pytest.approx(start, abs=resolution)
    for name, rate in (("stem", scenes.STEM_RATE), ("target", scenes.TARGET_RATE)):
        audio = sample.fields[name]
        assert audio.sample_rate == rate
        first = round(float(time_of(audio.samples[0, 0])) * rate)
        assert abs(first / rate - start) <= 1 / rate + resolution
        assert abs(audio.samples.shape[1] / rate - (stop - start)) <= 2 / rate
    rows = sample.fields["frames"][:, 0]
    assert rows[0] * scenes.FRAME_HOP_S <= start + 1e-9 < (rows[0] + 1) * scenes.FRAME_HOP_S
    assert rows[-1] * scenes.FRAME_HOP_S < stop <= (rows[-1] + 1) * scenes.FRAME_HOP_S + 1e-9
    assert (np.diff(rows) == 1).all()
    first = int(start / scenes.MASK_HOP_S + 1e-6)
    assert sample.fields["mask"].tolist() == [(first + i) % 2 == 0 for i in range(len(sample.fields["mask"]))]


@pytest.mark.parametrize("crop", [sk.RandomCrop(0.5), sk.SalientCrop(0.5, floor_lufs=-90), sk.EventCrop(0.5)])
def test_a_batch_is_one_instant_of_everything(dataset, crop):
    """Stems and targets come at the stream's rate, arrays as one array a batch, and what is missing is silent."""
    stream = sk.Stream(sk.open(dataset), crop=crop, fields=FIELDS, batch_size=16, channels=1, sample_rate=scenes.RATE)
    for batch in islice(stream, 4):
        assert batch.fields["frames"].shape == (16, 50, 16)
        assert batch.fields["mask"].shape == (16, 40)
        for i in range(16):
            start = batch.starts[i] / scenes.RATE
            middle = slice(2_000, 6_000)  # away from the edges that resampling blurs
            told = start + np.arange(8_000)[middle] / scenes.RATE
            for name in ("stem", "target"):
                if batch.present[name][i]:
                    np.testing.assert_allclose(time_of(batch.fields[name][i, 0, middle]), told, atol=2e-3)
                else:
                    assert not batch.fields[name][i].any()
            np.testing.assert_allclose(time_of(batch.audio[i, 0, middle]), told, atol=1e-3)
            first = int(start / scenes.FRAME_HOP_S + 1e-6)
            assert (batch.fields["frames"][i] == (first + np.arange(50))[:, None]).all()
            first = int(start / scenes.MASK_HOP_S + 1e-6)
            assert (batch.fields["mask"][i] == ((first + np.arange(40)) % 2 == 0)).all()
        assert batch.present["stem"].tolist() == [int(key) % 3 != 0 for key in batch.keys]


def test_what_ends_before_the_crop_does_is_padded(dataset):
    """The rows past the end of an array are zeros, as audio is."""
    crop = sk.CenterCrop(6.5)
    (batch,) = islice(sk.Stream(sk.open(dataset), crop=crop, fields=["frames"], batch_size=12, passes=1), 1)
    for i, key in enumerate(batch.keys):
        num_rows = min(650, round(scenes.duration_s(int(key)) / scenes.FRAME_HOP_S))
        assert batch.fields["frames"][i, num_rows - 1].any()
        assert not batch.fields["frames"][i, num_rows:].any()
        assert not batch.audio[i, :, batch.lengths[i] :].any()


def test_arrays_of_several_kinds_come_as_a_list(dataset):
    """Whole rows have arrays of their own length."""
    stream = sk.Stream(sk.open(dataset), fields=["frames"], batch_size=4)
    (batch,) = islice(stream, 1)
    for key, rows in zip(batch.keys, batch.fields["frames"], strict=True):
        assert len(rows) == round(scenes.duration_s(int(key)) / scenes.FRAME_HOP_S)


def test_only_the_rows_of_the_crop_are_read(dataset):
    view = sk.open(dataset)
    columns = view.catalog.fields["frames"]
    stream = sk.Stream(view, crop=sk.RandomCrop(0.1), fields=["frames"], batch_size=12, passes=1)
    (batch,) = stream
    alone = sk.Stream(view, crop=sk.RandomCrop(0.1), batch_size=12, passes=1)
    (_,) = alone
    more = stream.stats()["bytes_used"] - alone.stats()["bytes_used"]
    assert more <= 12 * 11 * 64  # 11 rows of 64 bytes, where the arrays have
    assert columns.size.sum() > 12 * 400 * 64
    assert batch.fields["frames"].any()


def test_masks_lie_on_the_frames_of_the_crop(dataset):
    stream = sk.Stream(sk.open(dataset), crop=sk.EventCrop(0.4, of="bark"), batch_size=16, mask_hop=160)
    for batch in islice(stream, 3):
        for i, key in enumerate(batch.keys):
            start = int(batch.starts[i])
            expected = np.zeros(40)
            for first, last in ((48_000, 51_200), (56_000, 62_400)) if int(key) % 4 else ():
                inside = (max(first, start) - start, min(last, start + 6_400) - start)
                if inside[0] < inside[1]:
                    expected[inside[0] // 160 : -(-inside[1] // 160)] = 1
            assert batch.masks["bark"][i].tolist() == expected.tolist()


def test_an_adopted_tar_gets_all_of_this_too(dataset, tmp_path):
    """``shardkit index`` finds the hops in KEY.json, measures, scans, and notes where the rows lie."""
    adopt([locate(dataset / "train")], locate(tmp_path / "adopted"), options=AdoptOptions(workers=1))
    options = {"crop": sk.SalientCrop(0.5, floor_lufs=-90), "fields": FIELDS, "batch_size": 12, "passes": 1}
    options |= {"channels": 1, "sample_rate": scenes.RATE, "mask_hop": 160}
    (packed,) = sk.Stream(sk.open(dataset), **options)
    (adopted,) = sk.Stream(sk.open(tmp_path / "adopted"), **options)
    by_key = {key: i for i, key in enumerate(adopted.keys)}
    assert adopted.fields["frames"].shape == packed.fields["frames"].shape
    whole, other = sk.open(dataset), sk.open(tmp_path / "adopted")
    for key in packed.keys:
        one = whole.read(key, start_s=1.2, duration_s=0.7)
        two = other.read(key, start_s=1.2, duration_s=0.7)
        np.testing.assert_array_equal(one.audio, two.audio)
        np.testing.assert_array_equal(one.fields["frames"], two.fields["frames"])
        assert one.intervals == two.intervals
        assert key in by_key
