"""Reading by key: equal to the recordings that were packed, cropped without reading the rest."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

import shardkit as sk
from shardkit.storage.traffic import Traffic


def original(datasets: dict[str, Path], name: str, path: str) -> np.ndarray:
    samples, _ = soundfile.read(datasets[name].with_name(f"{name}-in") / path, dtype="float32", always_2d=True)
    return samples.T


def test_every_sample_equals_its_recording(datasets: dict[str, Path]) -> None:
    for name, folder in datasets.items():
        for sample in sk.open(folder):
            np.testing.assert_array_equal(sample.audio, original(datasets, name, sample.metadata["path"]))


def test_a_sample_has_all_that_the_manifest_said(datasets: dict[str, Path]) -> None:
    sample = sk.open(datasets["clips"])["1/clip007"]
    assert (sample.labels, sample.metadata["speaker"], sample.metadata["n"]) == (("b",), "s0", 7)
    assert sample.intervals == (sk.Interval("speech", 800, 1600), sk.Interval("noise", 1200, 2400))
    assert sample.fields["json"]["intervals"] == [["speech", 0.1, 0.2], ["noise", 0.15, 0.3]]
    assert (sample.sample_rate, sample.start, sample.audio.dtype) == (8000, 0, np.float32)


@pytest.mark.parametrize(("start_s", "duration_s"), [(0.0, 0.25), (3.0, 1.0), (5.9375, None), (1.23456, 0.0001)])
def test_a_crop_is_a_slice_of_everything_in_the_sample(datasets, start_s: float, duration_s: float | None) -> None:
    tracks = sk.open(datasets["tracks"])
    whole, crop = tracks["track 3"], tracks.read("track 3", start_s=start_s, duration_s=duration_s)
    start = round(start_s * 16000)
    stop = 96000 if duration_s is None else start + round(duration_s * 16000)
    np.testing.assert_array_equal(crop.audio, whole.audio[:, start:stop])
    np.testing.assert_array_equal(crop.fields["vocals"].samples, whole.fields["vocals"].samples[:, start:stop])
    assert crop.start == start


def test_intervals_are_clipped_to_the_crop_and_counted_from_its_start(datasets: dict[str, Path]) -> None:
    sample = sk.open(datasets["clips"]).read("1/clip007", start_s=0.125, duration_s=0.05)
    assert sample.intervals == (sk.Interval("speech", 0, 400), sk.Interval("noise", 200, 400))


@pytest.mark.parametrize(("start_s", "duration_s"), [(6.0, 1.0), (-0.1, 1.0), (1.0, 0.0), (99.0, None)])
def test_a_crop_without_samples_is_an_error(datasets, start_s: float, duration_s: float | None) -> None:
    with pytest.raises(sk.InputError, match=r"key 'track 1': a crop .* holds no sample of the recording's 6 s"):
        sk.open(datasets["tracks"]).read("track 1", start_s=start_s, duration_s=duration_s)


def test_a_crop_reads_little_more_than_its_own_bytes(datasets: dict[str, Path]) -> None:
    tracks = sk.open(datasets["tracks"])
    traffic = Traffic()
    stream = sk.Stream(tracks, crop=sk.RandomCrop(0.5), batch_size=1, threads=1, memory=1)
    next(iter(stream))
    stats = stream.stats()
    size = int(tracks.catalog.fields["audio"].size.max())
    assert traffic.requests == 0
    assert stats["requests"] == 1
    assert stats["bytes_read"] < size / 3  # 0.5 s of 6 s, and up to 0.5 s of lead-in to the nearest seek point


def test_info_says_what_there_is(datasets: dict[str, Path]) -> None:
    clips = sk.open(datasets["clips"])
    info = clips.where("n < 60").info
    assert (info["name"], info["splits"], info["samples"], info["labels"]) == ("clips", ["train"], 60, ["a", "b", "c"])
    assert info["duration_s"] == pytest.approx(sum(s.audio.shape[1] for s in clips if s.metadata["n"] < 60) / 8000)
    assert info["fields"] == {"audio": "audio", "json": "json"}
    assert info["columns"] == {"path": "string", "speaker": "string", "label": "string", "n": "int64"}
    json.dumps(info)


def test_unknown_keys_and_splits_and_folders(datasets: dict[str, Path], tmp_path: Path) -> None:
    clips = sk.open(datasets["clips"])
    with pytest.raises(sk.InputError, match=r"no key '1/clip00' among 120 samples; did you mean '1/clip\d00'"):
        clips["1/clip00"]
    with pytest.raises(KeyError):
        clips["nothing like it"]
    with pytest.raises(sk.InputError, match="no split 'val'; it has train"):
        sk.open(datasets["clips"], "val")
    with pytest.raises(sk.InputError, match="nothing there"):
        sk.open(tmp_path / "nowhere")
    with pytest.raises(sk.InputError, match=r"no shardkit\.json in it"):
        sk.open(tmp_path)


def test_views_narrow_by_condition_and_keep_their_order(datasets: dict[str, Path]) -> None:
    clips = sk.open(datasets["clips"])
    view = clips.where("duration_s > 0.5 and speaker in ['s1', 's2'] and 'b' in labels")
    expected = [s.key for s in clips if s.metadata["speaker"] in ("s1", "s2") and s.labels == ("b",)]
    durations = {s.key: s.audio.shape[1] / 8000 for s in clips}
    assert view.keys() == [key for key in expected if durations[key] > 0.5]
    assert view.table().column("key").to_pylist() == view.keys()
    assert len(view.take(2)) == 2
    assert "0/clip000" not in view
    with pytest.raises(KeyError):
        view["0/clip000"]


def damaged(datasets: dict[str, Path], folder: Path) -> Path:
    shutil.copytree(datasets["tracks"], folder / "tracks")
    return folder / "tracks"


def test_a_changed_byte_is_reported_with_shard_key_and_offset(datasets: dict[str, Path], tmp_path: Path) -> None:
    place = damaged(datasets, tmp_path)
    tracks = sk.open(place)
    row = tracks.catalog.row_of("track 2")
    shard = place / tracks.catalog.shards[tracks.catalog.shard_of_row[row]].path
    offset = int(tracks.catalog.fields["audio"].offset[row])
    data = bytearray(shard.read_bytes())
    data[offset + 5000] ^= 0x10
    shard.write_bytes(data)
    message = rf"{shard}: key 'track 2', member 'flac' at byte {offset:,}: .*run 'shardkit verify"
    with pytest.raises((sk.CorruptDataError, sk.AudioError), match=message):
        tracks["track 2"]
    with pytest.raises(sk.AudioError, match=message):
        for start in np.arange(0.0, 5.0, 0.4):  # one of the crops covers the byte
            tracks.read("track 2", start_s=float(start), duration_s=0.4)
    assert tracks["track 1"].audio.shape == (2, 96000)


def test_a_changed_index_is_refused(datasets: dict[str, Path], tmp_path: Path) -> None:
    place = damaged(datasets, tmp_path)
    index = next(place.glob("train/*.parquet"))
    index.write_bytes(index.read_bytes()[:-1] + b"X")
    with pytest.raises(sk.CorruptDataError, match=rf"{index}: the index's hash is .* the manifest says"):
        sk.open(place)


def test_a_tar_cut_in_the_middle_is_located(datasets: dict[str, Path], tmp_path: Path) -> None:
    place = damaged(datasets, tmp_path)
    tracks = sk.open(place)
    shard = place / tracks.catalog.shards[-1].path
    shard.write_bytes(shard.read_bytes()[:200_000])
    last = tracks.keys()[-1]
    with pytest.raises(sk.CorruptDataError, match=rf"{shard}: the tar has 200,000 bytes, its index says [\d,]+"):
        tracks[last]
