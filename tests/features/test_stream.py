"""Streams of features: the crops of the recordings' stream, their rows and no others (laws L1, L2, L3, L6, L7)."""

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import shardkit as sk
from shardkit.features import FeaturizeOptions, StoredFeatures, featurize
from shardkit.nn import Features, LogMel
from shardkit.storage.location import locate
from shardkit.train import Loader
from tests.features.conftest import RATE, packed, sounds

HOP = 160
MEL = {"sample_rate": RATE, "n_fft": 512, "n_mels": 40}
SILENCE = np.float32(np.log(1e-10))
CROPS = {
    "random": sk.RandomCrop(0.7),
    "salient": sk.SalientCrop(1.0),
    "center": sk.CenterCrop(1.3),
    "event": sk.EventCrop(0.5, of="bark"),
    "content": sk.RandomCrop(1.0, content=sk.content(of="speech", ratio=0.5), fallback="skip"),
    "longer than some": sk.RandomCrop(6.0),
}


def features_of(source: sk.Dataset, output: Path, module: Features | None = None, **options: Any) -> sk.Dataset:
    featurize(source, locate(output), module or LogMel(**MEL), options=FeaturizeOptions(workers=2, **options))
    return sk.open(output)


@pytest.fixture(scope="module")
def stored(scenes: sk.Dataset, tmp_path_factory: pytest.TempPathFactory) -> sk.Dataset:
    return features_of(scenes, tmp_path_factory.mktemp("features") / "out")


@pytest.fixture(scope="module")
def whole(stored: sk.Dataset) -> dict[str, np.ndarray]:
    return {sample.key: sample.fields["features"] for sample in stored}


def batches(view: sk.View, number: int = 4, **options: Any) -> list[sk.Batch]:
    return list(islice(sk.Stream(view, **{"batch_size": 6, "seed": 3, **options}), number))


@pytest.mark.parametrize("name", CROPS)
@pytest.mark.parametrize("more", [{}, {"views": 2}, {"shuffle": "block"}, {"passes": 1}], ids=str)
def test_crops_are_those_of_the_recordings(
    name: str, more: dict[str, Any], scenes: sk.Dataset, stored: sk.Dataset, whole: dict[str, np.ndarray]
) -> None:
    options = {"crop": CROPS[name], "fields": ["mask"], "mask_hop": HOP, "metadata": ["n"], **more}
    num_frames = -(-round(CROPS[name].duration_s * RATE) // HOP)
    for theirs, mine in zip(batches(scenes, **options), batches(stored, **options), strict=True):
        for part in ("keys", "sources", "metadata", "sample_rate", "views", "position"):
            assert getattr(mine, part) == getattr(theirs, part)
        for part in ("positions", "passes", "starts", "lengths", "labels", "valid"):
            np.testing.assert_array_equal(getattr(mine, part), getattr(theirs, part))
        for field in ("masks", "present"):
            for kind, values in getattr(theirs, field).items():
                np.testing.assert_array_equal(getattr(mine, field)[kind], values)
        np.testing.assert_array_equal(mine.fields["mask"], theirs.fields["mask"])
        assert mine.audio.shape == (len(mine), 1, 0)
        assert mine.fields["features"].shape == (len(mine), num_frames, 2, 40)
        for index, key in enumerate(mine.keys):
            if mine.valid[index]:
                first = int(mine.starts[index]) // HOP
                stop = min(first + num_frames, -(-(int(mine.starts[index]) + int(mine.lengths[index])) // HOP))
                found = mine.fields["features"][index]
                np.testing.assert_array_equal(found[: stop - first], whole[key][first:stop])
                assert (found[stop - first :] == SILENCE).all()


@settings(max_examples=30)
@given(start=st.integers(0, 399), length=st.integers(1, 500))
def test_a_crop_by_key_on_the_grid_is_the_slice(
    start: int, length: int, stored: sk.Dataset, whole: dict[str, np.ndarray]
) -> None:
    sample = stored.read("0", start_s=start * HOP / RATE, duration_s=length * HOP / RATE)
    np.testing.assert_array_equal(sample.fields["features"], whole["0"][start : start + length])
    assert sample.audio.shape == (2, 0)
    assert sample.stop - sample.start == min(length, 400 - start) * HOP


def test_off_the_grid_rows_begin_with_the_one_that_the_crop_starts_in(
    stored: sk.Dataset, whole: dict[str, np.ndarray]
) -> None:
    sample = stored.read("0", start_s=1.5 * HOP / RATE, duration_s=2 * HOP / RATE)
    np.testing.assert_array_equal(sample.fields["features"], whole["0"][1:4])


def test_only_the_rows_of_a_crop_are_read(stored: sk.Dataset) -> None:
    stream = sk.Stream(stored, crop=sk.SalientCrop(0.5), batch_size=8, epoch_samples=64, threads=1)
    list(stream)
    wanted = 64 * 50 * 2 * 40 * 4
    assert stream.stats()["bytes_used"] == wanted
    assert stream.stats()["bytes_read"] < 1.3 * wanted


def test_features_of_the_crop_alone_differ_at_its_ends_only(scenes: sk.Dataset, stored: sk.Dataset) -> None:
    """Windows of stored features see what comes before and after a crop; inside they are the same."""
    module = LogMel(**MEL)
    for audio, rows in zip(*(batches(view, crop=sk.SalientCrop(1.0)) for view in (scenes, stored)), strict=True):
        own = module(torch.from_numpy(audio.audio)).permute(0, 3, 1, 2).numpy()
        reach = -(-module.reach // 2 // HOP)
        np.testing.assert_allclose(rows.fields["features"][:, reach:-reach], own[:, reach:-reach], rtol=1e-4, atol=1e-4)
        assert not np.allclose(rows.fields["features"][:, -1], own[:, -1], atol=0.01)


def test_ranks_resume_and_workers(stored: sk.Dataset) -> None:
    options = {"crop": sk.RandomCrop(0.7), "seed": 5}
    alone = [batch.fields["features"] for batch in batches(stored, 3, batch_size=8, **options)]
    ranks = [
        [batch.fields["features"] for batch in batches(stored, 3, batch_size=4, rank=rank, world_size=2, **options)]
        for rank in range(2)
    ]
    for number, together in enumerate(alone):
        np.testing.assert_array_equal(together[0::2], ranks[0][number])
        np.testing.assert_array_equal(together[1::2], ranks[1][number])
    stream = sk.Stream(stored, batch_size=8, **options)
    next(iter(stream))
    resumed = sk.Stream(stored, batch_size=8, **options)
    resumed.load_state_dict(stream.state_dict())
    np.testing.assert_array_equal(next(iter(resumed)).fields["features"], alone[1])
    loader = Loader(sk.Stream(stored, batch_size=8, **options), device="cpu", workers=2)
    for batch, expected in zip(islice(loader, 3), alone, strict=True):
        np.testing.assert_array_equal(batch.fields["features"].numpy(), expected)


def test_a_state_of_the_recordings_is_refused(scenes: sk.Dataset, stored: sk.Dataset) -> None:
    with pytest.raises(sk.StateError, match="content"):
        sk.Stream(stored, crop=sk.RandomCrop(0.7)).load_state_dict(
            sk.Stream(scenes, crop=sk.RandomCrop(0.7)).state_dict()
        )


def test_views_of_the_dataset(scenes: sk.Dataset, stored: sk.Dataset) -> None:
    for change in (
        lambda view: view.where("n > 4 and loudness_lufs > -30"),
        lambda view: view.windows(1.0, 0.5),
        lambda view: view.draws(1.0),
        lambda view: view.repeat(2.5),
    ):
        theirs, mine = (batches(change(view), 2, crop=sk.RandomCrop(0.7)) for view in (scenes, stored))
        for one, other in zip(theirs, mine, strict=True):
            assert one.keys == other.keys
            np.testing.assert_array_equal(one.starts, other.starts)


def test_whole_recordings_come_as_a_list(stored: sk.Dataset, whole: dict[str, np.ndarray]) -> None:
    (batch,) = batches(stored, 1, passes=1, batch_size=12, mask_hop=HOP)
    for key, features in zip(batch.keys, batch.fields["features"], strict=True):
        np.testing.assert_array_equal(features, whole[key])
    assert batch.masks["bark"].shape == (12, max(len(features) for features in whole.values()))
    assert (batch.lengths == [len(whole[key]) * HOP for key in batch.keys]).all()


def test_a_sample_that_can_not_be_read_is_replaced(stored: sk.Dataset, scenes: sk.Dataset, tmp_path: Path) -> None:
    found = features_of(scenes, tmp_path / "out")
    tar = tmp_path / "out" / found.manifest.shards[0].path
    tar.write_bytes(tar.read_bytes()[:-20_000])
    for crop in (sk.RandomCrop(0.7), None):
        stream = sk.Stream(found, crop=crop, batch_size=24)
        batch = next(iter(stream))
        assert stream.failures
        assert batch.valid.all()
        assert (batch.lengths > 0).all()


def test_other_rates_and_channels(scenes: sk.Dataset, tmp_path: Path) -> None:
    found = features_of(
        scenes,
        tmp_path / "out",
        LogMel(sample_rate=8000, n_fft=256, hop_length=80, n_mels=20),
        resample=True,
        channels=1,
    )
    (batch,) = batches(found, 1, crop=sk.SalientCrop(1.0), mask_hop=80)
    assert batch.sample_rate == 8000
    assert batch.fields["features"].shape == (6, 100, 1, 20)
    assert (batch.lengths == 8000).all()
    assert batch.masks["bark"].shape == (6, 100)
    (theirs,) = batches(scenes, 1, crop=sk.SalientCrop(1.0), mask_hop=80, sample_rate=8000)
    np.testing.assert_array_equal(batch.starts, theirs.starts)
    np.testing.assert_array_equal(batch.masks["bark"], theirs.masks["bark"])


def test_mono_and_stereo_mixed_to_one(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for channels in (1, 2):
        soundfile.write(folder / f"{channels}.wav", sounds(channels, 2.0, channels), RATE)
    dataset = packed(folder, "packed")
    (batch,) = batches(features_of(dataset, tmp_path / "mixed", channels=1), 1, crop=sk.RandomCrop(1.0))
    assert batch.fields["features"].shape == (6, 100, 1, 40)
    (batch,) = batches(features_of(dataset, tmp_path / "own"), 1, crop=sk.RandomCrop(1.0))
    assert {features.shape[1] for features in batch.fields["features"]} == {1, 2}


def test_what_can_not_be_one_stream(scenes: sk.Dataset, stored: sk.Dataset, tmp_path: Path) -> None:
    other = features_of(scenes, tmp_path / "other", LogMel(**MEL, floor=1e-6))
    with pytest.raises(sk.InputError, match="source 'a' holds recordings, 'b' features"):
        sk.Stream({"a": scenes, "b": stored})
    with pytest.raises(sk.InputError, match="'a' and 'b' hold features that were computed otherwise: floor 1e-10, not"):
        sk.Stream({"a": stored, "b": other})
    with pytest.raises(sk.InputError, match="no source has a field 'vocals'"):
        sk.Stream(stored, fields=["vocals"])
    mixed = sk.Stream({"a": stored, "b": stored.where("n < 3")}, crop=sk.RandomCrop(0.7))
    assert next(iter(mixed)).fields["features"].shape == (32, 70, 2, 40)
    assert (mixed.has_audio, sk.Stream(scenes).has_audio) == (False, True)


def test_stored_features_are_where_a_transform_would_put_them(scenes: sk.Dataset, stored: sk.Dataset) -> None:
    def first(view: sk.View, **options: Any) -> Any:
        return next(iter(Loader(sk.Stream(view, crop=sk.SalientCrop(1.0), batch_size=4), device="cpu", **options)))

    computed = first(scenes, transform=LogMel(**MEL)).features
    read = first(stored, transform=StoredFeatures()).features
    assert read.shape == computed.shape
    assert read.dtype == torch.float32
    torch.testing.assert_close(read[..., 2:-2], computed[..., 2:-2], rtol=1e-4, atol=1e-4)


def test_a_loader_refuses_what_needs_audio(stored: sk.Dataset) -> None:
    stream = sk.Stream(stored, crop=sk.RandomCrop(0.7))
    with pytest.raises(sk.InputError, match=r"a LogMel, of audio, .* give shardkit.features.StoredFeatures\(\)"):
        Loader(stream, device="cpu", transform=LogMel(**MEL))
    with pytest.raises(sk.InputError, match="sample_rate=8000: the stream reads features"):
        Loader(stream, device="cpu", sample_rate=8000)


def test_audio_and_its_features_side_by_side(scenes: sk.Dataset, stored: sk.Dataset) -> None:
    options = {"crop": sk.SalientCrop(1.0), "batch_size": 4, "seed": 7}
    beside = {"stored": sk.Stream(stored, **options)}
    for batch in islice(Loader(sk.Stream(scenes, **options), device="cpu", beside=beside), 3):
        read = batch.beside["stored"]
        assert (batch.keys, batch.starts.tolist()) == (read.keys, read.starts.tolist())
        computed = LogMel(**MEL)(batch.audio)
        torch.testing.assert_close(
            StoredFeatures()(read).features[..., 2:-2], computed[..., 2:-2], rtol=1e-4, atol=1e-4
        )


def test_stored_features_say_what_is_missing(scenes: sk.Dataset, stored: sk.Dataset) -> None:
    audio = next(iter(Loader(sk.Stream(scenes, crop=sk.RandomCrop(1.0), fields=["mask"]), device="cpu")))
    with pytest.raises(sk.InputError, match="no field 'features'; there is mask"):
        StoredFeatures()(audio)
    with pytest.raises(sk.InputError, match="give it a crop"):
        StoredFeatures()(next(iter(Loader(sk.Stream(stored), device="cpu"))))
    assert "field='x'" in repr(StoredFeatures("x"))
