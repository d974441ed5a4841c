"""The program as a user runs it: every command once, then what can go wrong, each in one line."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

COMMANDS = ("pack", "index", "info", "verify", "repair", "cat", "export", "bench", "synth", "featurize", "labels")


def run(*arguments: object, code: int = 0, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "shardkit", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | environment,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stdout + done.stderr


def fails(*arguments: object, code: int, **environment: str) -> str:
    """Return the one line that a failing command prints."""
    text = run(*arguments, code=code, **environment)
    assert "Traceback" not in text
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("shardkit: error: ")
    return lines[0]


def tone(path: Path, frames: int = 4000, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.sin(np.arange(frames) * 0.2 + len(path.name)) * 0.3
    soundfile.write(path, samples, 8000, **options)
    return path


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    for i in range(6):
        tone(folder / ("dog" if i % 2 else "cat") / f"take {i}.wav", 4000 + 100 * i)
    return folder


@pytest.fixture(scope="module")
def dataset(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("packed") / "pets"
    text = run("pack", recordings, output, "--label", "folder", "--workers", 2, "--shard-size", "20KB")
    assert "6 samples" in text
    return output


def test_info(dataset: Path) -> None:
    facts = json.loads(run("info", dataset, "--json"))
    assert "cat" in json.dumps(facts)
    assert "pets" in run("info", dataset)


def test_pack_without_loudness(recordings: Path, tmp_path: Path) -> None:
    run("pack", recordings, tmp_path / "out", "--no-loudness")
    assert json.loads(run("info", tmp_path / "out", "--json"))["loudness_lufs"]["unmeasured"] == 6
    assert "6 not measured" in run("info", tmp_path / "out")


def test_bench(dataset: Path) -> None:
    quick = ("--crop", 0.2, "--seconds", 0.05, "--batch-size", 4)
    facts = json.loads(run("bench", dataset, *quick, "--json"))
    assert facts["verdict"]["limit"] in ("storage", "decoding", "stream", "other")
    assert "requests/s" in run("bench", dataset, *quick, "--threads", 2, "--sample-rate", 4000, "--split", "train")


def test_bench_of_what_can_not_be(dataset: Path, tmp_path: Path) -> None:
    assert "longer than every sample" in fails("bench", dataset, "--crop", 60, code=2)
    assert "crop -1.0 is not a positive number" in fails("bench", dataset, "--crop", -1, code=2)
    assert "no split 'nope'" in fails("bench", dataset, "--split", "nope", code=2)
    assert "nothing there" in fails("bench", tmp_path / "none", code=2)


def test_verify(dataset: Path) -> None:
    run("verify", dataset, "--deep")
    assert json.loads(run("verify", dataset, "--json"))["problems"] == []


def test_cat(dataset: Path, recordings: Path, tmp_path: Path) -> None:
    facts = json.loads(run("cat", dataset, "dog/take 3", "--start", 0.1, "--duration", 0.2, "--json"))
    assert (facts["duration_s"], facts["labels"]) == (0.2, ["dog"])
    run("cat", dataset, "dog/take 3", "--start", 0.1, "--duration", 0.2, "-o", tmp_path / "clip.wav")
    clip, _ = soundfile.read(tmp_path / "clip.wav", dtype="int16")
    whole, _ = soundfile.read(recordings / "dog" / "take 3.wav", dtype="int16")
    np.testing.assert_array_equal(clip, whole[800:2400])


def test_export_and_pack_again(dataset: Path, tmp_path: Path) -> None:
    run("export", dataset, tmp_path / "files")
    again = run(
        "pack",
        tmp_path / "files" / "manifest.jsonl",
        tmp_path / "again",
        "--codec",
        "keep",
        "--label",
        "labels",
        "--json",
    )
    assert json.loads(again)["samples"] == 6
    facts = [json.loads(run("cat", place, "cat/take 2", "--json")) for place in (dataset, tmp_path / "again")]
    assert facts[0]["labels"] == facts[1]["labels"] == ["cat"]


def test_index_adopts_tars_in_place(dataset: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in dataset.rglob("*.tar")}
    run("index", *sorted(before), tmp_path / "adopted")
    assert {path: path.read_bytes() for path in dataset.rglob("*.tar")} == before
    run("verify", tmp_path / "adopted", "--deep")
    assert json.loads(run("cat", tmp_path / "adopted", "cat/take 2", "--json"))["labels"] == ["cat"]


def test_synth(tmp_path: Path) -> None:
    written = json.loads(run("synth", tmp_path / "s", "--scale", 0.05, "--source", "bursts", "--json"))
    assert written[0]["source"] == "bursts"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    assert "Usage:" in run(command, "--help")


def test_help_is_quick_and_imports_are_light() -> None:
    def seconds(*command: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        return time.perf_counter() - began

    bare = min(seconds("-c", "") for _ in range(5))
    assert min(seconds("-c", "import shardkit") for _ in range(5)) - bare < 0.3
    assert min(seconds("-m", "shardkit", "--help") for _ in range(5)) < 0.5
    loaded = "import sys, shardkit as sk; sk.Stream, sk.open; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", loaded], text=True) == "False\n"


# What can go wrong. Exit code 2: the request is at fault; 1: data or storage is.


def test_an_empty_folder(tmp_path: Path) -> None:
    assert "no audio files" in fails("pack", tmp_path, tmp_path / "out", code=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file\na.wav\n", "no column 'path'"),
        ("path\nmissing.wav\n", "m.csv:2: no file at"),
        ("path\na.wav\na.wav\n", "share the key 'a'"),
    ],
)
def test_a_bad_manifest(tmp_path: Path, content: str, message: str) -> None:
    tone(tmp_path / "a.wav")
    (tmp_path / "m.csv").write_text(content)
    assert message in fails("pack", tmp_path / "m.csv", tmp_path / "out", code=2)
    assert not (tmp_path / "out").exists()


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no audio at all" * 40)


def truncated(path: Path) -> None:
    path.write_bytes(tone(path).read_bytes()[:3000])


def no_frames(path: Path) -> None:
    tone(path, 0)


def not_a_number(path: Path) -> None:
    soundfile.write(path, np.array([0.0, np.nan, 0.1]), 8000, subtype="FLOAT")


def floats(path: Path) -> None:
    tone(path, subtype="FLOAT")


BAD_FILES = [
    (garbage, "not audio"),
    (truncated, "truncated"),
    (no_frames, "no samples|zero|empty|no frames|holds no"),
    (not_a_number, "FLAC can't hold"),
    (floats, "FLAC can't hold.*--codec wav"),
]


@pytest.mark.parametrize(("spoil", "message"), BAD_FILES)
def test_a_bad_file_stops_the_run_or_is_reported(tmp_path: Path, spoil, message: str) -> None:
    source = tmp_path / "in"
    tone(source / "good.wav")
    spoil(source / "bad.wav")
    line = fails("pack", source, tmp_path / "out", code=1)
    assert str(source / "bad.wav") in line
    assert re.search(message, line), line
    assert not (tmp_path / "out" / "shardkit.json").exists()
    assert "bad.wav" in run("pack", source, tmp_path / "out", "--on-error", "skip")
    (reported,) = [json.loads(text) for text in (tmp_path / "out" / "report.jsonl").read_text().splitlines()]
    assert reported["path"] == "bad.wav"
    assert re.search(message, reported["reason"])
    assert json.loads(run("info", tmp_path / "out", "--json"))


def test_nan_in_floats_kept_as_wav(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    not_a_number(tmp_path / "in" / "bad.wav")
    assert "sample 1 of channel 0 is nan" in fails("pack", tmp_path / "in", tmp_path / "out", "--codec", "wav", code=1)


def test_an_output_that_holds_a_dataset_or_something_else(dataset: Path, recordings: Path, tmp_path: Path) -> None:
    assert "already holds a dataset" in fails("pack", recordings, dataset, code=2)
    (tmp_path / "thesis.txt").write_text("mine")
    assert "not empty, it holds 'thesis.txt'" in fails("pack", recordings, tmp_path, code=2)


def test_no_permission(recordings: Path) -> None:
    assert "/proc/" in fails("pack", recordings, "/proc/shardkit", code=1)


def test_a_wrong_endpoint_or_key(recordings: Path, s3) -> None:
    began = time.monotonic()
    fails("pack", recordings, "s3://bucket/x", "--storage-option", "endpoint_url=http://127.0.0.1:9", code=1)
    fails("info", f"{s3.url}/x", code=1, AWS_ACCESS_KEY_ID="wrong", AWS_SECRET_ACCESS_KEY="wrong-secret")
    assert time.monotonic() - began < 20


def test_a_tar_cut_in_the_middle(dataset: Path, tmp_path: Path) -> None:
    shard = next(dataset.rglob("*.tar"))
    (tmp_path / "cut.tar").write_bytes(shard.read_bytes()[:2000])
    assert "cut off" in fails("index", tmp_path / "cut.tar", tmp_path / "out", code=1)


def test_a_tar_of_other_things(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        (tmp_path / "a.txt").write_text("hello")
        tar.add(tmp_path / "a.txt", "a.txt")
    assert "has no recording among txt" in fails("index", tmp_path / "x.tar", tmp_path / "out", code=1)


def test_damage_is_found_and_located(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "d")
    shard = next((tmp_path / "d").rglob("*.tar"))
    data = bytearray(shard.read_bytes())
    data[1500] ^= 1
    shard.write_bytes(data)
    text = run("verify", tmp_path / "d", code=1)
    assert f"{shard.relative_to(tmp_path / 'd')}: key 'dog/take 3', member 'flac'" in text
    index = next((tmp_path / "d").rglob("*.parquet"))
    index.write_bytes(index.read_bytes() + b"x")
    assert "index's hash" in fails("info", tmp_path / "d", code=1)


def test_typos(dataset: Path) -> None:
    assert "no key 'dog/take 33'" in fails("cat", dataset, "dog/take 33", code=2)
    assert "no split 'tran'; it has train" in fails("info", dataset, "--split", "tran", code=2)
    assert "nothing there" in fails("info", f"{dataset}s", code=2)
    assert "No such option" in run("info", dataset, "--jsno", code=2)
    assert "Traceback" in run("--debug", "info", f"{dataset}s", code=1)
    assert "Traceback" in run("info", f"{dataset}s", "--debug", code=1)


@pytest.mark.parametrize("url", ["s3://bucket/out", "http://host/out", "memory://out"])
def test_a_url_where_only_local_files_are_written(dataset: Path, tmp_path: Path, monkeypatch, url: str) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (
        ("export", dataset, url),
        ("cat", dataset, "dog/take 3", "-o", f"{url}/clip.wav"),
        ("synth", url, "--scale", 0.05),
    ):
        assert "only a local file or folder can be written here" in fails(*arguments, code=2)
    assert not list(tmp_path.iterdir())
    run("cat", dataset, "dog/take 3", "-o", f"file://{tmp_path}/clip.wav")
    assert (tmp_path / "clip.wav").stat().st_size > 1000


@pytest.mark.parametrize("seconds", ["nan", "inf", "1e308", "-1"])
def test_times_that_are_none(dataset: Path, seconds: str) -> None:
    for option in ("--start", "--duration"):
        assert f"{option} {float(seconds):g}" in fails("cat", dataset, "dog/take 3", option, seconds, code=2)


def test_an_option_given_twice(recordings: Path, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,a,b\nx.wav,1,2\n")
    twice = ("--label", "a", "--label=b")
    assert "--label is given more than once" in fails("pack", tmp_path / "m.csv", tmp_path / "out", *twice, code=2)
    for option in ("--field", "--hop"):
        pairs = (option, "x=1", option, "x=2")
        line = fails("pack", tmp_path / "m.csv", tmp_path / "out", *pairs, code=2)
        assert f"{option} x is given twice, as '1' and as '2'" in line
    assert "not a number of seconds" in fails("pack", tmp_path, tmp_path / "out", "--hop", "x=y", code=2)
    assert "not NAME=VALUE" in fails("pack", tmp_path, tmp_path / "out", "--field", "x", code=2)
    run("info", dataset, "--json", "--json", "--storage-option", "a=1", "--storage-option", "b=2")


def test_an_output_that_is_a_file(recordings: Path, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    tar = next(dataset.rglob("*.tar"))
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        assert f"{tmp_path}/file is a file, not a folder" in fails("pack", recordings, output, code=2)
        assert f"{tmp_path}/file is a file, not a folder" in fails("index", tar, output, code=2)
    assert "there is no folder" in fails("cat", dataset, "dog/take 3", "-o", tmp_path / "no" / "clip.wav", code=1)


def test_requests_that_can_not_be_met_are_told_before_anything_is_read(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "sample rate 999999999 Hz: 1 to 768000" in fails("pack", recordings, out, "--sample-rate", 999999999, code=2)
    assert "no such tar" in fails("index", tmp_path / "missing.tar", out, code=2)
    line = fails("pack", recordings, out, "--storage-option", "anon=maybe", code=2)
    assert "storage option 'anon' is neither true nor false" in line
    assert "--split train names a column" in fails("pack", recordings, out, "--split", "train", code=2)


def test_a_bad_recording_says_how_to_go_on(tmp_path: Path) -> None:
    tone(tmp_path / "in" / "good.wav")
    truncated(tmp_path / "in" / "bad.wav")
    line = fails("pack", tmp_path / "in", tmp_path / "out", code=1)
    assert "copy it again from where it came (--on-error skip packs the rest)" in line


def test_one_of_a_thing_is_not_called_several(tmp_path: Path) -> None:
    tone(tmp_path / "in" / "good.wav")
    run("pack", tmp_path / "in", tmp_path / "out")
    assert "1 shard, 1 sample, 2 members" in run("verify", tmp_path / "out")
    assert re.search(r"1 sample, .* 1 shard,", run("info", tmp_path / "out"))
    assert "1 sample, 2 files" in run("export", tmp_path / "out", tmp_path / "files")


def test_featurize(dataset: Path, tmp_path: Path) -> None:
    asked = ("--preset", "whisper", "--set", "sample_rate=8000", "--set", "n_mels=20", "--dtype", "float16")
    text = run("featurize", dataset, tmp_path / "out", *asked)
    assert "6 samples" in text
    assert "nothing was computed" in run("featurize", dataset, tmp_path / "out", *asked)
    facts = json.loads(run("info", tmp_path / "out", "--json"))["features"]
    assert (facts["config"]["n_mels"], facts["dtype"]) == (20, "<f2")
    assert "n_mels=20" in run("info", tmp_path / "out").replace("\n", "")
    run("verify", tmp_path / "out", "--deep")
    features = json.loads(run("cat", tmp_path / "out", "cat/take 2", "--start", 0.1, "--duration", 0.2, "--json"))
    assert features["duration_s"] == 0.2
    assert features["fields"]["features"] == "array float16 (10, 1, 20)"
    described = tmp_path / "features.yaml"
    described.write_text("kind: LogMel\nsample_rate: 8000\nn_fft: 256\nn_mels: 16\n")
    line = fails("featurize", dataset, tmp_path / "out", "--config", described, code=2)
    assert "holds features with kind" in line or "n_mels 20, not 16" in line
    line = run("featurize", dataset, tmp_path / "out", "--config", described, "--set", "floor=1e-6", "--overwrite")
    assert json.loads(run("info", tmp_path / "out", "--json"))["features"]["config"]["floor"] == 1e-6


def test_featurize_what_can_not_be(dataset: Path, tmp_path: Path) -> None:
    assert "--preset NAME, such as whisper, or --config" in fails("featurize", dataset, tmp_path / "o", code=2)
    assert "give --resample" in fails("featurize", dataset, tmp_path / "o", "--preset", "whisper", code=2)
    assert "no preset 'x'" in fails("featurize", dataset, tmp_path / "o", "--preset", "x", code=2)
    assert "float32 or float16" in fails("featurize", dataset, "o", "--preset", "whisper", "--dtype", "int8", code=2)
    (tmp_path / "list.yaml").write_text("- 1\n")
    assert "no features: write kind" in fails("featurize", dataset, "o", "--config", tmp_path / "list.yaml", code=2)
    (tmp_path / "bad.yaml").write_text("a: [\n")
    assert "not YAML" in fails("featurize", dataset, "o", "--config", tmp_path / "bad.yaml", code=2)
    run("featurize", dataset, tmp_path / "out", "--preset", "whisper", "--resample", "--set", "n_mels=20")
    assert "holds features, and nothing to decode" in fails("bench", tmp_path / "out", code=2)
    assert "holds features" in fails("export", tmp_path / "out", tmp_path / "files", code=2)
    assert "no audio" in fails("cat", tmp_path / "out", "cat/take 2", "-o", tmp_path / "a.wav", code=2)


def test_featurize_without_torch(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')\n")
    line = fails(
        "featurize",
        dataset,
        tmp_path / "o",
        "--preset",
        "whisper",
        code=2,
        PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '.')}",
    )
    assert "pip install 'shardkit[train]'" in line
