"""What spgdataset got wrong, one by one, and that it is not so here.

Two of its list can't occur: there is no mode that a method could set wrongly (a split is opened by its name), and the
code runs on Python 3.11, with which these tests run too.
"""

import json
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import shardkit as sk
from shardkit.features import FeaturizeOptions, featurize
from shardkit.nn import preset
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from shardkit.train import Loader

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python 3.12: there are threads

RATE, WINDOW, OFFSET, HOP = 16_000, 30_720, 1_600, 160
WHOLE = {"crop": sk.CenterCrop(1.92), "batch_size": 16, "passes": 1, "rank": 0, "world_size": 1}
SPLITS = {"train": 0.6, "validate": 0.2, "test": 0.2}


def noise(seed: int, frames: int, level: float = 0.1) -> np.ndarray:
    return (np.random.default_rng(seed).uniform(-level, level, frames) * 2**15).astype(np.int16)


def packed(
    folder: Path,
    entries: dict[str, dict[str, object]],
    audio: dict[str, np.ndarray],
    *,
    output: str = "shards",
    label: str | None = None,
    split: str | None = None,
    **options: object,
) -> sk.Dataset:
    """Pack what spgdataset would be given: recordings at 16 kHz, and their metadata.json."""
    for path, samples in audio.items():
        (folder / "audio" / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / "audio" / path, samples, RATE)
    (folder / "metadata.json").write_text(json.dumps(entries))
    inputs = InputOptions(importer="spg", root=locate(folder / "audio"), label=label)
    settings = PackOptions(**({"workers": 1} | options))  # type: ignore[arg-type]
    pack(locate(folder / "metadata.json"), locate(folder / output), inputs=inputs, options=settings)
    return sk.open(folder / output, split=split)


def windows(dataset: sk.View, ratio: float | None = 0.5) -> sk.View:
    """Return spgdataset's windows: 1.92 s each 0.1 s, with enough of the intervals."""
    return dataset.windows(1.92, hop_s=0.1, content=None if ratio is None else sk.content(ratio=ratio))


def delivered(view: sk.View, **options: object) -> list[tuple[str, int, np.ndarray, dict[str, np.ndarray]]]:
    """(key, start, audio, masks) of each row of a pass."""
    return [
        (batch.keys[i], int(batch.starts[i]), batch.audio[i, 0], {name: m[i] for name, m in batch.masks.items()})
        for batch in sk.Stream(view, **(WHOLE | options))
        for i in np.flatnonzero(batch.valid)
    ]


@pytest.fixture(scope="module")
def calls(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[sk.Dataset, dict[str, np.ndarray], dict[str, list[list[int]]]]:
    """30 recordings of 0.5 to 6 s, each with three intervals; those that overlap count once."""
    rng = np.random.default_rng(0)
    audio = {f"{number}.wav": noise(number, 8_000 + 3_000 * number) for number in range(30)}
    spoken = {}
    for path, samples in audio.items():
        bounds = np.sort(rng.integers(0, len(samples), (3, 2)), axis=1) + np.array([0, 1])
        spoken[path] = np.minimum(bounds, len(samples)).tolist()
    entries = {
        path: {"length": len(audio[path]), "intervals": {"speech": pairs}, "metadata": {"speaker": f"s{len(pairs)}"}}
        for path, pairs in spoken.items()
    }
    return packed(tmp_path_factory.mktemp("calls"), entries, audio), audio, spoken


def test_no_recording_is_in_two_splits_and_all_processes_split_alike(tmp_path):
    """Windows were split at random: those of one file, 95 % alike, were trained on and tested with; without a seed."""
    audio = {f"{number}.wav": noise(number, 40_000) for number in range(20)}
    entries = {path: {"intervals": {"speech": [[0, 40_000]]}} for path in audio}
    packed(tmp_path, entries, audio, split="all", splits=SPLITS)
    packed(tmp_path, entries, audio, split="all", splits=SPLITS, output="again", workers=3)
    keys = {name: sk.open(tmp_path / "shards", split=name).keys() for name in SPLITS}
    assert sorted(key for found in keys.values() for key in found) == sorted(path[:-4] for path in audio)
    assert all(keys.values())
    assert keys == {name: sk.open(tmp_path / "again", split=name).keys() for name in SPLITS}
    for name, found in keys.items():
        drawn = delivered(windows(sk.open(tmp_path / "shards", split=name)))
        assert {key for key, *_ in drawn} == set(found)
        assert len(drawn) == 6 * len(found)
    with pytest.raises(sk.InputError, match="train.*validate.*test|splits"):
        sk.Stream(sk.open(tmp_path / "shards"))


@pytest.mark.parametrize("ratio", [None, 0.5, 0.8])
def test_audio_and_masks_are_those_of_the_window(calls, ratio):
    """Where windows were dropped, audio was sliced by the place among those kept: that of another window."""
    dataset, audio, spoken = calls
    expected = {}
    for path, samples in audio.items():
        marks = np.zeros(len(samples) + WINDOW, bool)
        for start, stop in spoken[path]:
            marks[start:stop] = True
        for number in range(1 if len(samples) <= WINDOW else (len(samples) - WINDOW) // OFFSET + 1):
            start = number * OFFSET
            if ratio is None or marks[start : start + WINDOW].sum() >= ratio * WINDOW:
                padded = np.pad(samples, (0, WINDOW))[start : start + WINDOW]
                expected[path[:-4], start] = padded, marks[start : start + WINDOW].reshape(-1, HOP).any(axis=1)
    found = delivered(windows(dataset, ratio), mask_hop=HOP)
    assert sorted((key, start) for key, start, *_ in found) == sorted(expected)
    for key, start, samples, masks in found:
        assert np.array_equal(samples, expected[key, start][0] / np.float32(2**15))
        assert np.array_equal(masks["speech"], expected[key, start][1])


@pytest.mark.parametrize("frames", [8_000, 30_000, 30_720, 47_111])
def test_spectrograms_masks_and_audio_have_one_time(tmp_path, frames):
    """Audio was padded on both sides for the spectrogram only: up to half a window from its mask."""
    samples = noise(0, frames, 0.001)
    click = 45 * HOP
    samples[click + 5] = 2**15 - 1
    entries: dict[str, dict[str, object]] = {"a.wav": {"intervals": {"click": [[click, click + HOP]]}}, "long.wav": {}}
    dataset = packed(tmp_path, entries, {"a.wav": samples, "long.wav": noise(1, WINDOW)})
    stream, seen = sk.Stream(windows(dataset, None), **WHOLE, mask_hop=HOP), 0
    for batch in Loader(stream, device="cpu", transform=preset("whisper")):
        loudest = batch.features[:, 0].mean(dim=1).argmax(dim=1)
        inside = batch.masks["click"].any(dim=1)
        seen += int(inside.sum())
        assert torch.equal(loudest[inside], batch.masks["click"].argmax(dim=1)[inside])
        assert torch.equal(loudest[inside], (click - batch.starts[inside]) // HOP)
        assert batch.features.shape[2:] == (80, WINDOW // HOP)
    assert seen == min(max(frames - WINDOW, 0) // OFFSET + 1, click // OFFSET + 1)


def test_a_split_of_three_parts_and_its_names(tmp_path):
    """test() set mode 3, which a split of three parts asserts against."""
    audio = {f"{number}.wav": noise(number, 4_000) for number in range(12)}
    packed(tmp_path, {path: {} for path in audio}, audio, splits=SPLITS, split="all")
    assert sum(len(sk.open(tmp_path / "shards", split=name)) for name in SPLITS) == 12
    with pytest.raises(sk.InputError, match="'exam'.*train"):
        sk.open(tmp_path / "shards", split="exam")


def test_nothing_has_to_be_asked_for(calls):
    """output_configuration=None raised."""
    batch = next(iter(sk.Stream(calls[0], **WHOLE)))
    assert (batch.masks, batch.metadata, batch.fields) == ({}, {}, {})


def test_recordings_without_metadata(tmp_path):
    """metadata None crashed."""
    entries: dict[str, dict[str, object]] = {
        "a.wav": {},
        "b.wav": {"metadata": None},
        "c.wav": {"metadata": {"age": 4}},
    }
    dataset = packed(tmp_path, entries, {path: noise(1, 4_000) for path in entries})
    (batch,) = sk.Stream(dataset, **(WHOLE | {"crop": None}), metadata=["age"])
    ages = dict(zip(batch.keys, batch.metadata["age"], strict=False))
    assert {key: ages[key] for key in "abc"} == {"a": None, "b": None, "c": 4}
    pack(
        locate(tmp_path / "audio"),  # and without any metadata.json
        locate(tmp_path / "plain"),
        inputs=InputOptions(),
        options=PackOptions(workers=1),
    )
    assert len(windows(sk.open(tmp_path / "plain"), None)) == 3


def test_labels_are_optional_and_need_not_be_delivered_as_metadata(tmp_path):
    """An omitted label was a type object; a label had to be among the delivered metadata, too."""
    entries = {path: {"metadata": {"speaker": name}} for path, name in {"a.wav": "zoe", "b.wav": "abe"}.items()}
    audio = {path: noise(1, 4_000) for path in entries}
    whole = WHOLE | {"crop": None}
    (without,) = sk.Stream(packed(tmp_path, entries, audio), **whole)
    assert without.labels.shape == (16, 0)
    labelled = packed(tmp_path, entries, audio, output="labelled", label="speaker")
    (batch,) = sk.Stream(labelled, **whole)
    assert labelled.labels == ("abe", "zoe")
    classes = dict(zip(batch.keys, batch.labels.argmax(axis=1), strict=False))
    assert (classes["a"], classes["b"]) == (1, 0)
    assert batch.metadata == {}


@pytest.mark.parametrize("ratio", [0.001, 1.0])
def test_masks_have_their_frames_whatever_the_ratio(calls, ratio):
    """An assertion compared the ratio with the number of frames."""
    found = delivered(windows(calls[0], ratio), mask_hop=HOP)
    assert found
    assert {masks["speech"].shape for *_, masks in found} == {(192,)}


def test_silence_is_no_nan(tmp_path):
    """The standard deviation of silence is zero."""
    dataset = packed(tmp_path, {"a.wav": {}}, {"a.wav": np.zeros(40_000, np.int16)})
    for batch in Loader(sk.Stream(windows(dataset, None), **WHOLE), device="cpu", transform=preset("spgdataset")):
        assert float(batch.features.abs().max()) < 1e-3


@pytest.fixture
def small(tmp_path):
    return packed(tmp_path, {"a.wav": {}}, {"a.wav": noise(0, 20_000)})


@pytest.mark.parametrize("change", [{"n_fft": 512}, {"hop_length": 80}, {"normalize": False}, {"out_dtype": "float16"}])
def test_what_is_stored_is_never_taken_for_other_options(small, tmp_path, change):
    """The cache's key left out n_fft, hop, normalize and dtype."""
    featurize(small, locate(tmp_path / "features"), preset("spgdataset"), options=FeaturizeOptions(workers=1))
    (name,) = change
    with pytest.raises(sk.InputError, match="dtype" if name == "out_dtype" else name):
        featurize(small, locate(tmp_path / "features"), preset("spgdataset", **change))


def test_what_is_stored_is_never_taken_for_other_recordings(small, tmp_path):
    """A stale index was never noticed."""
    featurize(small, locate(tmp_path / "features"), preset("spgdataset"), options=FeaturizeOptions(workers=1))
    options = WHOLE | {"crop": None}
    state = sk.Stream(small, **options).state_dict()
    changed = packed(tmp_path, {"a.wav": {}}, {"a.wav": noise(1, 20_000)}, output="changed")
    with pytest.raises(sk.InputError, match="content"):
        featurize(changed, locate(tmp_path / "features"), preset("spgdataset"))
    with pytest.raises(sk.StateError, match="content"):
        sk.Stream(changed, **options).load_state_dict(state)


def test_dots_in_names(tmp_path):
    """The cache was written under the name up to the first dot and read up to the last."""
    audio = {
        name: noise(number, 4_000) for number, name in enumerate(("take 1.5.wav", "take 1.6.wav", "a/x.wav", "b/x.wav"))
    }
    dataset = packed(tmp_path, {path: {} for path in audio}, audio)
    for path, samples in audio.items():
        key = path.removesuffix(".wav").replace(".", "_")
        assert np.array_equal(dataset[key].audio[0], samples / np.float32(2**15))
    both = {"x.1.wav": noise(0, 4_000), "x_1.wav": noise(1, 4_000)}
    with pytest.raises(sk.InputError, match="share the key 'x_1'"):
        packed(tmp_path, {path: {} for path in both}, both, output="both")


@pytest.mark.parametrize("percent", range(5, 101, 5))
def test_any_ratio_is_met_by_exactly_its_share(tmp_path_factory, percent):
    """Ratios were stored as float16: 0.8 of a window was less than 0.8."""
    need = WINDOW * percent // 100
    entries = {"enough.wav": {"intervals": {"x": [[0, need]]}}, "short.wav": {"intervals": {"x": [[0, need - 1]]}}}
    audio = {path: noise(0, WINDOW) for path in entries}
    dataset = packed(tmp_path_factory.mktemp("ratio"), entries, audio)
    assert windows(dataset, percent / 100).keys() == ["enough"]


def test_recordings_without_some_of_the_intervals(tmp_path):
    """Empty and non-empty lists of intervals could not be joined."""
    entries = {
        "a.wav": {"intervals": {"speech": [], "noise": [[0, 20_000]]}},
        "b.wav": {"intervals": {"speech": [[0, 20_000]]}},
        "c.wav": {"intervals": {"speech": [], "noise": []}},
        "d.wav": {"intervals": {"speech": [[0, 9_000]], "noise": [[8_000, 20_000]]}},
        "e.wav": {},
    }
    dataset = packed(tmp_path, entries, {path: noise(0, 32_000) for path in entries})
    both = dataset.windows(1.92, hop_s=0.1, content=sk.content(["speech", "noise"], ratio=0.6))
    assert sorted(both.keys()) == ["a", "b", "d"]  # the union: of d, neither alone would do
    assert dataset.windows(1.92, hop_s=0.1, content=sk.content("speech", ratio=0.6)).keys() == ["b"]


@pytest.mark.parametrize("ending", ["flac", "ogg", "mp3", "aiff", "wav"])
def test_no_ffmpeg_is_needed(tmp_path, monkeypatch, ending):
    """Where ffmpeg was not there, the fallback to soundfile was broken."""
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    path = f"a.{ending}"
    dataset = packed(tmp_path, {path: {}}, {path: noise(0, 20_000)})
    assert dataset["a"].audio.shape == (1, 20_000)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_worker_is_raised_here(tmp_path, workers):
    """An exception in a worker process hung the dataset."""
    audio = {f"{number}.wav": noise(number, 20_000) for number in range(6)}
    dataset = packed(tmp_path, {path: {} for path in audio}, audio, codec="wav")
    (tar,) = (tmp_path / "shards").rglob("*.tar")
    content = bytearray(tar.read_bytes())
    content[10_000] ^= 0xFF  # of the first recording
    tar.write_bytes(content)
    began = time.monotonic()
    stream = sk.Stream(dataset, **(WHOLE | {"batch_size": 2, "crop": None}), max_failures=0)
    loader = Loader(stream, device="cpu", workers=workers)
    with pytest.raises(sk.AudioError, match="train/000000.tar.*damaged"):
        list(loader)
    assert time.monotonic() - began < 60


def test_of_a_long_recording_only_the_window_is_read(tmp_path):
    """Each item decoded its whole file."""
    dataset = packed(tmp_path, {"a.wav": {}}, {"a.wav": noise(0, 60 * RATE)})
    stream = sk.Stream(windows(dataset, None).take(64), **WHOLE)
    assert len(list(stream)) == 4
    size = next((tmp_path / "shards").rglob("*.tar")).stat().st_size
    stats = stream.stats()
    assert stats["bytes_read"] / stats["samples"] < size * 4 / 60  # 1.92 s and the ends of frames


def test_all_batches_have_one_shape(calls):
    """Short audio was left unpadded, so that batches were ragged."""
    dataset, audio, _ = calls
    for batch in sk.Stream(windows(dataset, None), **WHOLE):
        assert batch.audio.shape == (16, 1, WINDOW)
        for i in np.flatnonzero(batch.valid):
            length = min(len(audio[f"{batch.keys[i]}.wav"]), WINDOW)
            assert batch.lengths[i] == length
            assert not batch.audio[i, 0, length:].any()


# The router


def test_several_datasets_share_classes_of_one_name(tmp_path):
    """Classes of one name were counted once a dataset; configurations had to be equal, and one mode won."""
    one = {"a.wav": {"metadata": {"speaker": "theo"}}, "b.wav": {"metadata": {"speaker": "abe"}}}
    two = {"a.wav": {"metadata": {"speaker": "theo"}, "intervals": {"speech": [[0, 900]]}}}
    audio = {"a.wav": noise(0, 4_000), "b.wav": noise(1, 4_000)}
    views = {
        "one": packed(tmp_path, one, audio, output="one", label="speaker"),
        "two": packed(tmp_path, two, {"a.wav": noise(2, 60_000)}, output="two", label="speaker").windows(1.92, 0.1),
    }
    stream = sk.Stream(views, **WHOLE, mask_hop=HOP)
    assert stream.labels == ("abe", "theo")
    assert stream.num_samples == 2 + 19
    theo = {
        (batch.sources[i], batch.keys[i])
        for batch in stream
        for i in np.flatnonzero(batch.valid)
        if batch.labels[i].tolist() == [0, 1]
    }
    assert theo == {("one", "a"), ("two", "a")}


def test_windows_of_a_pass_are_each_drawn_once_by_any_number_of_processes(calls):
    """Every process split, and drew, for itself."""
    view = windows(calls[0])
    rows = [
        {(key, start) for key, start, *_ in delivered(view, rank=rank, world_size=3, check_ranks=False)}
        for rank in range(3)
    ]
    assert set.union(*rows) == {(key, start) for key, start, *_ in delivered(view)}
    assert all(not a & b for a, b in pairwise([*rows, rows[0]]))
    assert sum(map(len, rows)) == len(view)
