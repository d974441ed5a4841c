"""What the TF2 Audio Dataset got wrong, one by one, and that it is not so here: docs/from-tf2-audio-dataset.md."""

import os
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions, parse_split
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from shardkit.synth import MODES, PairsOptions, write_kind

RATE = 8000
ALONE = {"rank": 0, "world_size": 1}


def noise(seed: int, frames: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-(2**15), 2**15, frames, dtype=np.int16)


def write(folder: Path, **recordings: np.ndarray) -> None:
    (folder / "in").mkdir(parents=True, exist_ok=True)
    for name, samples in recordings.items():
        soundfile.write(folder / "in" / f"{name}.wav", samples, RATE)


def packed(folder: Path, kind: str, text: str, *, name: str = "list", **options: object) -> sk.Dataset:
    """Pack a list without an ending, as they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    hops_s = {"frames": 0.1} if kind == "framed" else {}
    settings = PackOptions(**({"workers": 1} | options))
    output = locate(folder / f"{name}-shards")
    pack(locate(folder / name), output, inputs=InputOptions(importer=kind), options=settings, hops_s=hops_s)
    return sk.open(output, split="all")


def test_splits_never_share_a_recording_in_any_pass(tmp_path):
    names = [f"r{number}" for number in range(30)]
    write(tmp_path, **{name: noise(number, 200) for number, name in enumerate(names)})
    packed(tmp_path, "labels", "".join(f"{name}.wav,1\n" for name in names), splits=parse_split("a=0.7,b=0.2,c=0.1")[0])
    seen = []
    for split in "abc":
        view = sk.open(tmp_path / "list-shards", split=split)
        stream = sk.Stream(view, batch_size=10, **ALONE)
        seen.append({key for batch in islice(stream, 3 + 9 * len(view) // 10) for key in batch.keys})  # nine passes
        assert seen[-1] == set(view.keys())
    assert sorted(key for keys in seen for key in keys) == sorted(names)


def test_audio_comes_back_bit_for_bit(tmp_path):
    samples = np.arange(-(2**15), 2**15, dtype=np.int16)  # float16 has 2,049 of the first 4,097 integers, and then less
    write(tmp_path, all=samples)
    stream = sk.Stream(packed(tmp_path, "labels", "all.wav,1\n"), batch_size=1, dtype="int16", **ALONE)
    assert np.array_equal(next(iter(stream)).audio[0, 0], samples)
    assert np.count_nonzero(samples.astype(np.float16) != samples) > 2**15


def test_options_are_given_by_name(tmp_path):
    write(tmp_path, a=noise(0, 900))
    dataset = packed(tmp_path, "labels", "a.wav,1\n")
    with pytest.raises(TypeError, match="positional"):
        sk.Stream(dataset, 16_000, 32)
    with pytest.raises(sk.InputError, match="batch_size is 1.5; it must be a whole number"):
        sk.Stream(dataset, batch_size=1.5, **ALONE)


def tones(folder: Path, **options: object) -> list[Path]:
    """Write pairs, and return the X of each."""
    written = write_kind(folder, PairsOptions(**({"lo_hz": 200.0, "hi_hz": 400.0, "duration_s": 0.05} | options)))
    assert written.num_files == len(list(folder.rglob("*.wav"))) == 2 * written.num_rows
    return sorted((folder / "in").glob("*.wav"))


def test_the_generator_writes_as_many_files_as_it_says(tmp_path):
    assert len(tones(tmp_path / "tones", num_steps=2)) == 2 * 4 * 15  # steps, waves, modes


def test_each_mode_is_another_sound(tmp_path):
    files = tones(tmp_path / "tones", num_steps=1, waves=("sin",), zero_phase=True)
    assert len(files) == len(MODES) == 15
    assert len({path.read_bytes() for path in files}) == 15


def test_a_list_of_ones_own_is_all_it_takes(tmp_path):
    write(tmp_path, x=noise(0, 900), y=noise(1, 900))
    (tmp_path / "out").mkdir()
    (tmp_path / "in/y.wav").rename(tmp_path / "out/y.wav")
    batch = next(iter(sk.Stream(packed(tmp_path, "pairs", "x.wav,y.wav\n"), fields=["target"], batch_size=2, **ALONE)))
    assert np.array_equal(np.rint(batch.fields["target"][0, 0] * 2**15), noise(1, 900))


def test_lists_of_classes_are_packed(tmp_path):
    write(tmp_path, a=noise(0, 900), b=noise(1, 900))
    dataset = packed(tmp_path, "labels", "a.wav,1.0,0,1\nb.wav,0,0,0\n")
    batch = next(iter(sk.Stream(dataset, batch_size=2, passes=1, **ALONE)))
    assert dict(zip(batch.keys, batch.labels.tolist(), strict=True)) == {"a": [1, 0, 1], "b": [0, 0, 0]}


def test_fractions_that_add_up_but_for_rounding(tmp_path):
    assert 0.7 + 0.2 + 0.1 != 1
    write(tmp_path, **{f"r{i}": noise(i, 90) for i in range(9)})
    text = "".join(f"r{i}.wav,1\n" for i in range(9))
    dataset = packed(tmp_path, "labels", text, splits=parse_split("train=0.7,val=0.2,test=0.1")[0])
    assert set(dataset.manifest.splits) == {"train", "val", "test"}
    with pytest.raises(sk.InputError, match="add up to 0.9, not 1"):
        parse_split("train=0.7,val=0.2")


@pytest.mark.parametrize(("frames", "rows"), [(8000, 10), (8001, 11), (7999, 10), (800, 1)])
def test_no_frame_behind_the_end(tmp_path, frames, rows):
    write(tmp_path, a=noise(0, frames))
    (tmp_path / "a.csv").write_text("time,x\n0.0,1\n")
    found = packed(tmp_path, "framed", "a.wav,a.csv\n")["a"].fields["frames"]
    assert found.tolist() == [[1.0]] * rows
    windows = packed(tmp_path, "labels", "a.wav,1\n", name="other").windows(0.1)
    assert len(windows) == max(1, frames // 800)


def test_a_dataset_beside_another(tmp_path):
    write(tmp_path, a=noise(0, 90), b=noise(1, 90))
    one = packed(tmp_path, "labels", "a.wav,1\n", name="tones")
    packed(tmp_path, "labels", "b.wav,1\n", name="tones2")
    assert sk.open(tmp_path / "tones-shards").keys() == one.keys() == ["a"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_in_a_worker_leaves_no_dataset(tmp_path, workers):
    write(tmp_path, **{f"r{i}": noise(i, 900) for i in range(6)})
    (tmp_path / "in/r3.wav").write_bytes(b"RIFF no such thing")
    text = "".join(f"r{i}.wav,1\n" for i in range(6))
    with pytest.raises(sk.AudioError, match="r3.wav"):
        packed(tmp_path, "labels", text, workers=workers)
    assert not (tmp_path / "list-shards/shardkit.json").exists()
    write(tmp_path, r3=noise(3, 900))
    dataset = packed(tmp_path, "labels", text, workers=workers)
    assert len(dataset) == 6
    assert dataset["r5"].audio.shape == (1, 900)  # the last one is whole


def test_one_step_is_one_frequency(tmp_path):
    (path,) = tones(tmp_path / "t", num_steps=1, waves=("sin",), modes=("pure",), duration_s=0.5)
    samples, rate = soundfile.read(path)
    crossings = np.count_nonzero(np.diff(np.signbit(samples)))
    assert crossings == pytest.approx(2 * 400.0 * len(samples) / rate, abs=2)


def test_recordings_of_any_length_are_batched(tmp_path):
    lengths = {"a": 100, "b": 5000, "c": 801}
    write(tmp_path, **{name: noise(1, frames) for name, frames in lengths.items()})
    dataset = packed(tmp_path, "labels", "a.wav,1\nb.wav,1\nc.wav,1\n")
    for crop, longest in ((None, 5000), (sk.CenterCrop(0.1), 800)):
        (batch,) = sk.Stream(dataset, crop=crop, batch_size=3, passes=1, **ALONE)
        assert batch.audio.shape == (3, 1, longest)
        assert batch.lengths.tolist() == [min(lengths[key], longest) for key in batch.keys]
        for row, length in zip(batch.audio[:, 0], batch.lengths, strict=True):
            assert row[:length].any()
            assert not row[length:].any()


def test_timestamps_say_when_a_row_holds(tmp_path):
    write(tmp_path, a=noise(0, 8000))
    (tmp_path / "a.csv").write_text("time,x\n0.0,1\n0.55,2\n0.6,3\n")
    found = packed(tmp_path, "framed", "a.wav,a.csv\n")["a"].fields["frames"]
    assert found[:, 0].tolist() == [1, 1, 1, 1, 1, 1, 3, 3, 3, 3]


def test_the_environment_is_left_alone(tmp_path):
    before = dict(os.environ)
    tones(tmp_path / "tones", num_steps=1, waves=("sin",), modes=("pure",))
    write(tmp_path, a=noise(0, 900))
    list(sk.Stream(packed(tmp_path, "labels", "a.wav,1\n"), passes=1, batch_size=1, **ALONE))
    assert dict(os.environ) == before
