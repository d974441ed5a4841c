"""What ``featurize`` writes: the features that a module gives, atomically, of the same bytes each time, never stale."""

import io
import json
import multiprocessing
import os
import shutil
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch
from torch import Tensor

import shardkit as sk
from shardkit.features import FeaturizeOptions, featurize
from shardkit.features.compute import Computer
from shardkit.features.pieces import PIECE_SAMPLES
from shardkit.features.recipe import recipe
from shardkit.format.hashing import file_hash
from shardkit.format.manifest import ShardInfo
from shardkit.nn import Features, LogMel, Spectrogram, preset
from shardkit.pack.adopt import AdoptOptions, adopt
from shardkit.pack.engine import Progress
from shardkit.report.verify import verify
from shardkit.storage.location import locate
from tests.conftest import S3
from tests.features.conftest import LONG_S, RATE, packed, sounds, tree

MEL = {"sample_rate": RATE, "n_fft": 512, "n_mels": 40}


def run(source: sk.Dataset, output: Path, module: Features | None = None, **options: Any) -> sk.Dataset:
    settings = FeaturizeOptions(**{"workers": 2, **options})
    featurize(source, locate(output), module or LogMel(**MEL), options=settings)
    return sk.open(output)


def expected(module: Features, audio: np.ndarray) -> np.ndarray:
    """Return (frame, channel, band) of (channel, time)."""
    return module(torch.from_numpy(audio)[None])[0].permute(2, 0, 1).numpy()


def write(folder: Path, **recordings: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, samples in recordings.items():
        soundfile.write(folder / f"{name}.wav", samples, RATE, "FLOAT")
    return folder


@pytest.mark.parametrize("name", ["LogMel", "spgdataset", "kaldi-like"])
def test_features_are_those_of_the_module_and_the_whole_recording(
    name: str, every_codec: sk.Dataset, tmp_path: Path
) -> None:
    module = LogMel(**MEL) if name == "LogMel" else preset(name, n_mels=64)
    found = run(every_codec, tmp_path / "out", module)
    assert found.keys() == every_codec.keys()
    for sample in every_codec:
        features = found[sample.key].fields["features"]
        wanted = expected(module, sample.audio)
        if sample.key.startswith("short"):  # one piece: the same computation, to the last bit
            np.testing.assert_array_equal(features, wanted)
        else:
            assert sample.audio.shape[1] > 2 * PIECE_SAMPLES
            np.testing.assert_allclose(features, wanted, rtol=1e-4, atol=1e-5)


def test_all_else_of_a_sample_stays(scenes: sk.Dataset, tmp_path: Path) -> None:
    found = run(scenes, tmp_path / "out")
    lies, facts = ("fields",), ("data_offset", "seek_table", "extension", "offset", "size", "xxh3")
    assert found.table().drop_columns(lies).equals(scenes.table().drop_columns(lies))
    for mine, theirs in zip(*(view.table().column("fields").to_pylist() for view in (found, scenes)), strict=True):
        assert {name: value for name, value in mine["audio"].items() if name not in facts} == {
            name: value for name, value in theirs["audio"].items() if name not in facts
        }
        assert [mine["audio"][name] for name in facts] == [None] * len(facts)
    for key in scenes.keys():
        before, after = scenes[key], found[key]
        assert (before.labels, before.intervals, before.metadata) == (after.labels, after.intervals, after.metadata)
        assert set(after.fields) == {"features", "frames", "mask", "json"}
        np.testing.assert_array_equal(before.fields["frames"], after.fields["frames"])
        assert before.fields["json"] == after.fields["json"]
    assert found.manifest.splits.keys() == scenes.manifest.splits.keys()
    assert (found.labels, found.manifest.name) == (scenes.labels, scenes.manifest.name)
    assert not verify(locate(tmp_path / "out"), deep=True).problems


def test_shards_stay_plain_tars(scenes: sk.Dataset, tmp_path: Path) -> None:
    found = run(scenes, tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "train" / "000000.tar") as tar:
        names = tar.getnames()
        assert len({name.partition(".")[0] for name in names}) == found.manifest.shards[0].samples
        member = tar.extractfile(names[0])
        assert member is not None
        array = np.load(io.BytesIO(member.read()))
    key, _, extension = names[0].partition(".")
    assert extension == "features.npy"
    np.testing.assert_array_equal(array, found[key].fields["features"])


def test_bytes_depend_on_nothing_but_the_recording(scenes: sk.Dataset, tmp_path: Path) -> None:
    run(scenes, tmp_path / "one", workers=1)
    run(scenes, tmp_path / "many", workers=5)
    assert tree(tmp_path / "one") == tree(tmp_path / "many")
    # Alone in a shard, or with others beside it.
    raw = write(tmp_path / "in", a=sounds(1, 2.0), b=sounds(2, 0.3), c=sounds(3, 45.0))
    alone = run(packed(raw, "alone", shard_bytes=1), tmp_path / "f-alone")
    together = run(packed(raw, "together"), tmp_path / "f-together", workers=3)
    assert (len(alone.manifest.shards), len(together.manifest.shards)) == (3, 1)
    for key in "abc":
        np.testing.assert_array_equal(alone[key].fields["features"], together[key].fields["features"])


class Noting(LogMel):
    """Log-mel energies that note how much audio they were given at once."""

    def per_frame(self, audio: Tensor) -> Tensor:
        self.longest = max(getattr(self, "longest", 0), audio.shape[-1])
        return super().per_frame(audio)


@pytest.mark.parametrize("options", [{}, {"log": "whisper"}])
def test_memory_does_not_grow_with_the_recording(
    options: dict[str, Any], every_codec: sk.Dataset, tmp_path: Path
) -> None:
    module = Noting(**MEL, **options)
    featurize(every_codec, locate(tmp_path / "out"), module)
    assert module.is_per_frame is not bool(options)
    longest = module.longest if options else 0  # else ``forward`` is called
    assert longest <= PIECE_SAMPLES + 16 * module.hop_length < LONG_S * RATE


def test_large_features_wait_in_a_file(every_codec: sk.Dataset, tmp_path: Path) -> None:
    module = Spectrogram(sample_rate=RATE, n_fft=2048, hop_length=256)
    found = run(every_codec, tmp_path / "out", module)
    features = found["long-flac"].fields["features"]
    assert features.nbytes > 16 << 20
    np.testing.assert_allclose(features, expected(module, every_codec["long-flac"].audio), rtol=1e-3, atol=1e-4)
    assert not verify(locate(tmp_path / "out"), deep=True).problems
    assert not [name for name in tree(tmp_path / "out") if name.endswith(".npy")]


def test_resampled_and_mixed(scenes: sk.Dataset, tmp_path: Path) -> None:
    module = LogMel(sample_rate=8000, n_fft=256, n_mels=20)
    with pytest.raises(
        sk.InputError, match=r"at 16,000 Hz, the features are for 8,000 Hz: give --resample, or .*16000"
    ):
        run(scenes, tmp_path / "no", module)
    found = run(scenes, tmp_path / "out", module, resample=True, channels=1)
    for key in scenes.keys()[:3]:
        mono = scenes[key].audio.mean(axis=0, dtype=np.float32)
        low = soxr.resample(mono.astype(np.float64), RATE, 8000, quality="VHQ").astype(np.float32)
        np.testing.assert_allclose(found[key].fields["features"], expected(module, low[None]), rtol=1e-3, atol=1e-3)


def test_half_precision(scenes: sk.Dataset, tmp_path: Path) -> None:
    full, half = run(scenes, tmp_path / "f"), run(scenes, tmp_path / "h", LogMel(**MEL, out_dtype="float16"))
    for key in scenes.keys()[:3]:
        np.testing.assert_array_equal(half[key].fields["features"], full[key].fields["features"].astype(np.float16))
    loud = write(tmp_path / "in", a=np.full((RATE, 1), 0.9))
    with pytest.raises(sk.FormatError, match=r"'a'.*features hold inf at frame .*--dtype float32 holds more"):
        run(packed(loud, "loud"), tmp_path / "l", Spectrogram(sample_rate=RATE, n_fft=2048, out_dtype="float16"))


# Never stale.


def test_nothing_is_computed_twice(scenes: sk.Dataset, tmp_path: Path) -> None:
    run(scenes, tmp_path / "out")
    before = tree(tmp_path / "out")
    moved = tmp_path / "copy"
    shutil.copytree(Path(str(scenes.catalog.location)), moved)
    for tar in moved.rglob("*.tar"):
        tar.unlink()  # so that nothing could be computed
    summary = featurize(sk.open(moved), locate(tmp_path / "out"), LogMel(**MEL))
    assert summary.notes == ("it is there already: nothing was computed",)
    assert tree(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"module": LogMel(**MEL | {"n_mels": 32})}, "n_mels 40, not 32"),
        ({"module": LogMel(**MEL, floor=1e-6)}, "floor 1e-10, not 1e-06"),
        ({"channels": 1}, "channels None, not 1"),
        ({"module": LogMel(**MEL, out_dtype="float16")}, "dtype '<f4', not '<f2'"),
    ],
)
def test_another_parameter_is_refused_and_named(
    change: dict[str, Any], message: str, scenes: sk.Dataset, tmp_path: Path
) -> None:
    run(scenes, tmp_path / "out")
    with pytest.raises(sk.InputError, match="holds features with") as caught:
        run(scenes, tmp_path / "out", **change)
    assert message in str(caught.value)
    assert "--overwrite" in str(caught.value)
    changed = run(scenes, tmp_path / "out", overwrite=True, **change)
    fresh = run(scenes, tmp_path / "fresh", **change)
    assert changed.info["features"] == fresh.info["features"]
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_other_recordings_are_refused(tmp_path: Path) -> None:
    raw = write(tmp_path / "in", a=sounds(1, 1.0), b=sounds(2, 1.0))
    first = run(packed(raw, "packed"), tmp_path / "out")
    shutil.rmtree(tmp_path / "packed")
    write(raw, b=sounds(3, 1.0))
    again = packed(raw, "packed")
    with pytest.raises(sk.InputError, match="other content of the recordings' dataset; choose another"):
        run(again, tmp_path / "out")
    second = run(again, tmp_path / "out", overwrite=True)
    np.testing.assert_array_equal(first["a"].fields["features"], second["a"].fields["features"])
    assert not np.array_equal(second["b"].fields["features"], run(again, tmp_path / "x")["a"].fields["features"])


def test_no_other_dataset_is_ever_overwritten(scenes: sk.Dataset, tmp_path: Path) -> None:
    recordings = packed(write(tmp_path / "in", a=sounds(1, 1.0)), "packed")
    before = tree(tmp_path / "packed")
    with pytest.raises(sk.InputError, match="already holds a dataset of recordings"):
        run(scenes, tmp_path / "packed", overwrite=True)
    with pytest.raises(sk.InputError, match="where their recordings are"):
        run(recordings, tmp_path / "packed", overwrite=True)
    with pytest.raises(sk.InputError, match="holds features, not recordings"):
        run(run(recordings, tmp_path / "out"), tmp_path / "twice")
    with pytest.raises(sk.InputError, match="not empty"):
        run(recordings, tmp_path / "in", overwrite=True)
    assert tree(tmp_path / "packed") == before


# Whole or not there.


def _die_after(source: str, output: str, num_samples: int, overwrite: bool) -> None:
    done = 0

    def report(progress: Progress) -> None:
        nonlocal done
        done += progress.num_inputs
        if done >= num_samples:
            os.kill(os.getpid(), signal.SIGKILL)

    options = FeaturizeOptions(workers=2, overwrite=overwrite)
    featurize(sk.open(source), locate(output), LogMel(**MEL), options=options, report=report)


def _killed(scenes: sk.Dataset, output: Path, num_samples: int, *, overwrite: bool = False) -> None:
    arguments = (str(scenes.catalog.location), str(output), num_samples, overwrite)
    process = multiprocessing.get_context("spawn").Process(target=_die_after, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_a_run_that_is_killed_leaves_nothing_that_looks_whole(scenes: sk.Dataset, tmp_path: Path) -> None:
    run(scenes, tmp_path / "whole")
    _killed(scenes, tmp_path / "out", 6)
    with pytest.raises(sk.InputError, match="no shardkit.json"):
        sk.open(tmp_path / "out")
    first = tmp_path / "out" / "train" / "000000.tar"
    written = first.stat().st_mtime_ns
    _killed(scenes, tmp_path / "out", 9)  # again, further on
    run(scenes, tmp_path / "out")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert first.stat().st_mtime_ns == written  # its shard was not computed again


def test_a_run_that_is_killed_while_it_overwrites(scenes: sk.Dataset, tmp_path: Path) -> None:
    run(scenes, tmp_path / "whole")
    run(scenes, tmp_path / "out", LogMel(**MEL | {"n_mels": 32}))
    _killed(scenes, tmp_path / "out", 6, overwrite=True)
    with pytest.raises(sk.InputError, match="no shardkit.json"):
        sk.open(tmp_path / "out")
    run(scenes, tmp_path / "out")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_what_an_interrupted_run_left_of_other_features_is_not_taken(scenes: sk.Dataset, tmp_path: Path) -> None:
    _killed(scenes, tmp_path / "out", 6)
    module = LogMel(**MEL, floor=1e-5)  # of the same size
    run(scenes, tmp_path / "out", module)
    run(scenes, tmp_path / "fresh", module)
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


# What can't be computed.


def _damaged(tmp_path: Path) -> sk.Dataset:
    raw = write(tmp_path / "in", a=sounds(1, 1.0), b=sounds(2, 1.0), c=sounds(3, 1.0))
    dataset = packed(raw, "packed")
    place = dataset.catalog.fields["audio"].place(1)[0]
    tar = tmp_path / "packed" / "train" / "000000.tar"
    data = bytearray(tar.read_bytes())
    data[place + 2000] ^= 0xFF
    tar.write_bytes(data)
    return dataset


def _too_short(tmp_path: Path) -> sk.Dataset:
    return packed(write(tmp_path / "in", a=sounds(2, 1.0), b=sounds(1, 0.005), c=sounds(3, 1.0)), "packed")


@pytest.mark.parametrize(
    ("make", "message"),
    [(_damaged, "damaged"), (_too_short, "0.005 s are too short for a frame")],
)
def test_what_can_not_be_computed_fails_or_is_left_out_and_listed(
    make: Callable[[Path], sk.Dataset], message: str, tmp_path: Path
) -> None:
    source, module = make(tmp_path), LogMel(**MEL, frames="whole")
    with pytest.raises((sk.FormatError, sk.AudioError), match=r"key 'b'.*--on-error skip") as caught:
        run(source, tmp_path / "out", module)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "shardkit.json").exists()
    found = run(source, tmp_path / "out", module, on_error="skip")
    assert found.keys() == ["a", "c"]
    (line,) = map(json.loads, (tmp_path / "out" / "report.jsonl").read_text().splitlines())
    assert line["path"] == "b"
    assert message in line["reason"]
    assert not verify(locate(tmp_path / "out"), deep=True).problems


def test_nothing_could_be_computed(tmp_path: Path) -> None:
    source = packed(write(tmp_path / "in", a=sounds(2, 0.005)), "packed")
    with pytest.raises(sk.InputError, match="not one of 1 recordings; the first: .*too short"):
        run(source, tmp_path / "out", LogMel(**MEL, frames="whole"), on_error="skip")


def test_a_tar_that_is_not_there_is_no_fault_of_a_recording(scenes: sk.Dataset, tmp_path: Path) -> None:
    shutil.copytree(Path(str(scenes.catalog.location)), tmp_path / "copy")
    (tmp_path / "copy" / "train" / "000001.tar").unlink()
    with pytest.raises(sk.NotFoundError, match=r"000001\.tar"):
        run(sk.open(tmp_path / "copy"), tmp_path / "out", on_error="skip")


class Liar(LogMel):
    """Counts a frame too many."""

    def num_frames(self, num_samples: int) -> int:
        return super().num_frames(num_samples) + 1


class NoFloor(LogMel):
    """The logarithm of nothing."""

    def forward(self, audio: Tensor) -> Tensor:
        return super().forward(audio) - np.inf


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (torch.nn.Linear(1, 1), "Linear has no sample_rate, hop_length, num_frames, config"),
        (Liar(**MEL), r"Liar makes \(1, 1, 40, 164\) .* not \(1, 1, band, 165\)"),
        (NoFloor(**MEL), "NoFloor makes -inf of silence"),
        (LogMel(**MEL, out_dtype="bfloat16"), "torch.bfloat16, which can't be stored"),
        (LogMel(**MEL).double(), "torch.float64, which can't be stored"),
    ],
)
def test_modules_that_will_not_do(module: Any, message: str, scenes: sk.Dataset, tmp_path: Path) -> None:
    with pytest.raises(sk.InputError, match=message):
        run(scenes, tmp_path / "out", module)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"field": "frames"}, "has a field 'frames' already"),
        ({"field": "audio"}, "'audio' can't name a field"),
        ({"channels": 0}, "channels is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"on_error": "ignore"}, "choose fail or skip"),
        ({"device": "tpu:x"}, "choose cpu, cuda"),
    ],
)
def test_options_that_can_not_be(options: dict[str, Any], message: str, scenes: sk.Dataset, tmp_path: Path) -> None:
    with pytest.raises(sk.InputError, match=message):
        run(scenes, tmp_path / "out", **options)


# Elsewhere.


def test_on_s3(scenes: sk.Dataset, s3: S3, tmp_path: Path) -> None:
    shutil.copytree(Path(str(scenes.catalog.location)), s3.folder / "featurize" / "in")
    source, output = sk.open(f"{s3.url}/featurize/in"), locate(f"{s3.url}/featurize/out")
    featurize(source, output, LogMel(**MEL), options=FeaturizeOptions(workers=2))
    run(scenes, tmp_path / "out")
    local, remote = tree(tmp_path / "out"), tree(s3.folder / "featurize" / "out")
    named = {
        name: json.loads(files.pop("shardkit.json"))["features"] for name, files in (("local", local), ("s3", remote))
    }
    assert local == remote
    assert named["s3"].pop("source") == f"{s3.url}/featurize/in"
    del named["local"]["source"]
    assert named["local"] == named["s3"]
    assert featurize(source, output, LogMel(**MEL)).notes
    batches = [next(iter(sk.Stream(sk.open(one), crop=sk.RandomCrop(1.0)))) for one in (output, tmp_path / "out")]
    np.testing.assert_array_equal(batches[0].fields["features"], batches[1].fields["features"])


def test_adopted_tars(scenes: sk.Dataset, tmp_path: Path) -> None:
    folder = locate(str(scenes.catalog.location)) / "train"
    adopt([folder], locate(tmp_path / "adopted"), options=AdoptOptions(prefix_keys=True, workers=1))
    adopted = sk.open(tmp_path / "adopted")
    found = run(adopted, tmp_path / "out")
    assert found.keys() == adopted.keys()
    assert found.keys()[0].startswith("000000/")
    assert not verify(locate(tmp_path / "out"), deep=True).problems


def test_one_split_or_all(tmp_path: Path) -> None:
    raw = write(tmp_path / "in", **{f"r{i}": sounds(i, 0.2) for i in range(8)})
    packed(raw, "packed", splits={"train": 0.5, "val": 0.5})
    every = run(sk.open(tmp_path / "packed"), tmp_path / "all")
    one = run(sk.open(tmp_path / "packed", split="val"), tmp_path / "val")
    assert list(every.manifest.splits) == ["train", "val"]
    assert one.keys() == sk.open(tmp_path / "all", split="val").keys()
    assert one.info["features"]["source_hash"] != every.info["features"]["source_hash"]


def test_verify_sees_features_that_are_not_what_the_manifest_says(scenes: sk.Dataset, tmp_path: Path) -> None:
    found = run(scenes, tmp_path / "out")
    assert found.manifest.features is not None
    for change, what in [
        ({"hop_length": 80}, "the manifest says <f4 with a hop of 0.005 s"),
        ({"dtype": "<f2"}, "the manifest says <f2"),
        ({"silence": (0.0,)}, "the manifest says (frame, 2, 1)"),
        ({"channels": 1}, "the manifest says (frame, 1, 40)"),
    ]:
        told = found.manifest.model_copy(update={"features": found.manifest.features.model_copy(update=change)})
        (tmp_path / "out" / "shardkit.json").write_text(told.model_dump_json())
        problems = verify(locate(tmp_path / "out")).problems
        assert {problem.key for problem in problems} == set(scenes.keys())
        assert what in problems[0].what
        assert "shardkit featurize --overwrite" in problems[0].advice


class Fixed(LogMel):
    """A description that does not change with the options that modules have."""

    def config(self) -> dict[str, Any]:
        return {"kind": "Fixed", "n_mels": 40}


def test_the_key_is_frozen() -> None:
    """A key that changed would have everybody's features computed again: that needs a changelog entry."""
    shard = ShardInfo(
        split="train",
        path="train/000000.tar",
        bytes=10,
        hash=file_hash(b"tar"),
        index="train/000000.parquet",
        index_hash=file_hash(b"index"),
        samples=2,
        duration_s=1.5,
    )
    computer = Computer(Fixed(**MEL), device=torch.device("cpu"))
    info = recipe(computer, FeaturizeOptions(), [shard], source="anywhere")
    assert info.key == "xxh3_128:23f25fc1b469c016a86cdd76cd04bbc1"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(every_codec: sk.Dataset, tmp_path: Path) -> None:
    for name in ("whisper", "kaldi-like"):
        module = preset(name, n_mels=64)
        there = run(every_codec, tmp_path / f"cuda-{name}", module, device="cuda", workers=4)
        here = run(every_codec, tmp_path / f"cpu-{name}", preset(name, n_mels=64))
        assert there.info["features"]["key"] == here.info["features"]["key"]
        assert there.info["features"]["device"] == "cuda"
        for key in here.keys():
            np.testing.assert_allclose(
                there[key].fields["features"], here[key].fields["features"], rtol=1e-3, atol=1e-3
            )
