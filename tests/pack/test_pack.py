"""Packing: nothing altered, nothing lost, the same bytes every time."""

import io
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile

import shardkit as sk
from shardkit.audio.options import TranscodeOptions
from shardkit.audio.probe import probe
from shardkit.audio.transcode import transcode
from shardkit.audio.whole import read_blocks
from shardkit.core.errors import AudioError, FormatError, InputError, NotFoundError
from shardkit.format.index import index_schema
from shardkit.pack import engine
from shardkit.pack.commit import PackSummary
from shardkit.pack.inputs import InputOptions, read_inputs
from shardkit.pack.options import PackOptions
from shardkit.pack.plan import ShardPlan
from shardkit.pack.run import pack
from shardkit.pack.shard import ShardJob, write_shard
from shardkit.report.info import describe
from shardkit.report.verify import verify
from shardkit.storage.location import locate
from shardkit.storage.store import write_bytes
from shardkit.stream.fetch import read_member
from tests.conftest import S3
from tests.report.test_info import text_of


def run(source: Path, output: Path, inputs: InputOptions | None = None, **options: object) -> PackSummary:
    hops_s = options.pop("hops_s", None)
    settings = PackOptions(**({"workers": 1} | options))
    return pack(locate(source), locate(output), inputs=inputs or InputOptions(), options=settings, hops_s=hops_s)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def stored(dataset: sk.Dataset, path: str) -> tuple[str, bytes]:
    (row,) = np.flatnonzero(np.array(dataset.table().column("path").to_pylist()) == path)
    return dataset.catalog.fields["audio"].entry(int(row))["codec"], read_member(dataset.catalog, "audio", int(row))


def decoded(path: Path) -> np.ndarray:
    """Decode from the first byte to the last; ``soundfile.read`` seeks, which changes the last bit of MP3."""
    data = path.read_bytes()
    facts = probe(data)
    if facts.is_lossy:
        return np.concatenate(list(read_blocks(data, facts, 4096))).T
    return soundfile.read(path, dtype="float32", always_2d=True)[0].T


def test_auto_makes_flac_of_pcm_and_keeps_the_rest_byte_for_byte(kinds: Path, tmp_path: Path) -> None:
    run(kinds, tmp_path / "out")
    dataset = sk.open(tmp_path / "out")
    for path in sorted(kinds.iterdir()):
        codec, data = stored(dataset, path.name)
        if path.suffix in (".wav", ".aiff"):
            assert codec == "flac"
            np.testing.assert_array_equal(dataset[path.stem].audio, decoded(path))
        else:
            assert data == path.read_bytes()
    assert {stored(dataset, path.name)[0] for path in kinds.iterdir()} == {"flac", "vorbis", "opus", "mp3"}


@pytest.mark.parametrize("codec", ["flac", "wav"])
def test_lossy_files_become_their_decoders_output_rounded_to_16_bit(kinds: Path, tmp_path: Path, codec: str) -> None:
    run(kinds, tmp_path / "out", codec=codec)
    dataset = sk.open(tmp_path / "out")
    for path in sorted(kinds.iterdir()):
        assert stored(dataset, path.name)[0] == codec
        expected = decoded(path)
        if path.suffix in (".ogg", ".opus", ".mp3"):
            expected = (np.clip(np.rint(expected * 32768.0), -32768, 32767) / 32768).astype(np.float32)
        np.testing.assert_array_equal(dataset[path.stem].audio, expected)


def test_keep_keeps_every_byte(kinds: Path, tmp_path: Path) -> None:
    run(kinds, tmp_path / "out", codec="keep")
    dataset = sk.open(tmp_path / "out")
    for path in kinds.iterdir():
        assert stored(dataset, path.name)[1] == path.read_bytes()
        np.testing.assert_array_equal(dataset[path.stem].audio, decoded(path))


def test_resampling_and_mixing_give_flac_of_the_rate_and_channels_asked(kinds: Path, tmp_path: Path) -> None:
    run(kinds, tmp_path / "out", sample_rate=16000, channels=1)
    table = sk.open(tmp_path / "out").table()
    assert set(table.column("sample_rate").to_pylist()) == {16000}
    assert set(table.column("channels").to_pylist()) == {1}
    by_path = dict(zip(table.column("path").to_pylist(), table.column("duration_s").to_pylist(), strict=True))
    for path in kinds.iterdir():
        assert by_path[path.name] == pytest.approx(decoded(path).shape[1] / soundfile.info(path).samplerate, abs=1e-4)


@pytest.fixture(params=[1, engine.PROCESS_BYTES], ids=["processes", "threads"])
def process_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let a few bytes be worth a process, or leave them to threads."""
    monkeypatch.setattr(engine, "PROCESS_BYTES", request.param)
    return int(request.param)


@pytest.mark.parametrize("shard_bytes", [60_000, 10**9])
def test_the_same_bytes_every_time_with_any_number_of_workers(
    kinds: Path, tmp_path: Path, process_bytes: int, shard_bytes: int
) -> None:
    for i, workers in enumerate([1, 1, 2, 3]):
        run(kinds, tmp_path / str(i), shard_bytes=shard_bytes, workers=workers, name="same")
    trees = [tree(tmp_path / str(i)) for i in range(4)]
    assert trees[0] == trees[1] == trees[2] == trees[3]
    assert (len([name for name in trees[0] if name.endswith(".tar")]) > 2) is (shard_bytes < 10**9)


def test_short_recordings_are_the_same_alone_and_together(tmp_path: Path) -> None:
    source, rng = tmp_path / "in", np.random.default_rng(0)
    source.mkdir()
    for i in range(70):  # several runs
        frames = int(rng.integers(1, 20_000))
        soundfile.write(source / f"{i:02d}.wav", rng.integers(-(2**15), 2**15, frames).astype(np.int16), 8000)
    (source / "33.wav").write_bytes(b"RIFF nonsense")
    for workers in (1, 4):
        run(source, tmp_path / str(workers), workers=workers, name="same", on_error="skip", shuffle=False)
    assert tree(tmp_path / "1") == tree(tmp_path / "4")
    dataset = sk.open(tmp_path / "4")
    assert len(dataset) == 69
    for row, path in enumerate(dataset.table().column("path").to_pylist()):
        alone = transcode(source / path, TranscodeOptions(), name=path)
        assert read_member(dataset.catalog, "audio", row) == alone.data
        entry = dataset.catalog.fields["audio"].entry(row)
        assert (entry["loudness_track"], entry["seek_table"]) == (alone.loudness, alone.seek_table)


def test_without_loudness_all_else_is_the_same(kinds: Path, tmp_path: Path) -> None:
    for name, loudness in (("with", True), ("without", False)):
        run(kinds, tmp_path / name, name="same", loudness=loudness, codec="auto")
    trees = [tree(tmp_path / name) for name in ("with", "without")]
    assert trees[0].keys() == trees[1].keys()
    assert {name for name in trees[0] if trees[0][name] != trees[1][name]} == {"train/000000.parquet", "shardkit.json"}
    known, bare = (sk.open(tmp_path / name) for name in ("with", "without"))
    assert (known.manifest.options["loudness"], bare.manifest.options["loudness"]) == (True, False)
    for row in range(len(known)):
        entries = [dataset.catalog.fields["audio"].entry(row) for dataset in (known, bare)]
        assert None not in (entries[0].pop("loudness_lufs"), entries[0].pop("loudness_track"))
        assert (entries[1].pop("loudness_lufs"), entries[1].pop("loudness_track")) == (None, None)
        assert entries[0] == entries[1]  # the peak with it
    assert not verify(locate(tmp_path / "without"), deep=True).problems


def test_what_needs_loudness_says_where_there_is_none(kinds: Path, tmp_path: Path) -> None:
    run(kinds, tmp_path / "out", loudness=False, sample_rate=8000, channels=1, codec="flac")
    dataset = sk.open(tmp_path / "out")
    with pytest.raises(InputError, match=r"SalientCrop needs loudness, and .*out has none of 8 of 8 samples"):
        sk.Stream(dataset, crop=sk.SalientCrop(0.1), batch_size=2)
    assert next(iter(sk.Stream(dataset, crop=sk.RandomCrop(0.1), batch_size=2))).audio.shape == (2, 1, 800)
    found = describe(dataset)["loudness_lufs"]
    assert (found["unmeasured"], found["unknown"], found["silent"], found["p50"]) == (8, 0, 0, None)
    assert "8 not measured" in text_of(describe(dataset))


def test_recordings_too_slow_for_loudness_are_packed_without_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "seismic.wav", np.arange(1000, dtype=np.int16), 100)
    with pytest.raises(AudioError, match="at least 1 and 400 needed; 'shardkit pack --no-loudness' does without"):
        run(tmp_path / "in", tmp_path / "out")
    run(tmp_path / "in", tmp_path / "out", loudness=False)
    assert stored(sk.open(tmp_path / "out"), "seismic.wav")[0] == "flac"
    assert not verify(locate(tmp_path / "out"), deep=True).problems


def test_a_failing_worker_stops_the_others_and_leaves_no_dataset(
    kinds: Path, tmp_path: Path, process_bytes: int
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for path in kinds.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    (source / "bad.wav").write_bytes(b"RIFF nonsense")
    with pytest.raises(AudioError, match=r"bad\.wav"):
        run(source, tmp_path / "out", shard_bytes=60_000, workers=3)
    assert not (tmp_path / "out" / "shardkit.json").exists()
    assert not list((tmp_path / "out").glob(".shardkit*"))
    summary = run(source, tmp_path / "out", shard_bytes=60_000, workers=3, on_error="skip")
    assert (summary.totals.samples, [line.path for line in summary.unpacked]) == (8, ["bad.wav"])
    (line,) = (tmp_path / "out" / "report.jsonl").read_text().splitlines()
    assert json.loads(line)["path"] == "bad.wav"


def test_what_an_earlier_run_left_is_replaced_or_removed(kinds: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "train").mkdir(parents=True)
    (tmp_path / "out" / "train" / "000099.tar").write_bytes(b"stray")
    with pytest.raises(InputError, match="not empty, it holds 'train/000099.tar'"):
        run(kinds, tmp_path / "out")  # it may be somebody's own
    assert (tmp_path / "out" / "train" / "000099.tar").read_bytes() == b"stray"
    (tmp_path / "out" / "shardkit.packing").write_bytes(b"")  # now it is the rest of an interrupted run
    run(kinds, tmp_path / "out", name="same")
    run(kinds, tmp_path / "clean", name="same")
    assert tree(tmp_path / "out") == tree(tmp_path / "clean")


def test_a_full_disk_is_one_error_and_no_dataset(kinds: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "shardkit", "pack", str(kinds), str(tmp_path / "out"), "--workers", "1"]
    limit = (40_000, 40_000)  # bytes a file may grow to: what a disk with that much space left allows
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )
    assert done.returncode == 1
    assert "can't write a shard: File too large; free some space" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["shardkit.packing"]


def test_a_killed_run_leaves_no_process_and_the_same_command_finishes_it(kinds: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for i in range(12):  # long enough to be killed half-way
        soundfile.write(source / f"{i}.wav", np.random.default_rng(i).uniform(-0.5, 0.5, 3_000_000), 48_000)
    program = "from shardkit.cli.main import main; from shardkit.pack import engine; engine.PROCESS_BYTES = 1; main()"
    command = [sys.executable, "-c", program, "pack", source, tmp_path / "out", "--workers", "2", "--name", "same"]
    command += ["--shard-size", "3MB"]
    killed = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob("out/train/*.tar")):
        assert killed.poll() is None
        time.sleep(0.05)
    workers = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text().split()
    assert len(workers) >= 2
    killed.kill()
    killed.wait()
    with pytest.raises(sk.InputError, match="finish a pack that was interrupted"):
        sk.open(tmp_path / "out")
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{worker}/exe").exists() for worker in workers):
        assert time.monotonic() < deadline, "a worker outlives its parent"
        time.sleep(0.05)
    subprocess.run(command, check=True, capture_output=True)
    run(source, tmp_path / "clean", shard_bytes=3_000_000, name="same")
    assert tree(tmp_path / "out") == tree(tmp_path / "clean")


def test_storage_that_fails_is_not_taken_for_a_bad_recording(kinds: Path, tmp_path: Path, s3: S3) -> None:
    (tmp_path / "m.csv").write_text(f"path\n{next(kinds.iterdir())}\ns3://{s3.bucket}/x.wav\n")
    write_bytes(locate(f"{s3.url}/x.wav"), next(kinds.glob("*.wav")).read_bytes())
    found, *_ = read_inputs(locate(tmp_path / "m.csv"), InputOptions())
    down = locate(found[1].location.url, {"endpoint_url": "http://127.0.0.1:9"})
    job = ShardJob(
        plan=ShardPlan("train", "train/000000", (found[0], replace(found[1], location=down))),
        output=locate(tmp_path),
        transcode=TranscodeOptions(),
        schema=index_schema({"audio": "audio", "json": "json"}, {"path": pa.string()}),
        hops_s={},
        on_error="skip",
    )
    with pytest.raises(sk.StorageError, match="127.0.0.1:9"):
        write_shard(job, lambda _: None)


def test_members_of_a_sample_stems_arrays_and_text(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16000, np.int16), 16000)
    soundfile.write(tmp_path / "b.wav", np.ones(16000, np.int16), 16000)
    np.save(tmp_path / "f.npy", np.arange(100, dtype=np.float32).reshape(50, 2))
    (tmp_path / "t.txt").write_text("hällo")
    (tmp_path / "m.csv").write_text("path,y,frames,text\na.wav,b.wav,f.npy,t.txt\n")
    members = {"target": "y", "frames": "frames", "words": "text"}
    run(tmp_path / "m.csv", tmp_path / "out", InputOptions(members=members), hops_s={"frames": 0.02})
    dataset = sk.open(tmp_path / "out")
    crop = dataset.read("a", start_s=0.5, duration_s=0.1)
    assert crop.fields["target"].samples.shape == (1, 1600)
    np.testing.assert_array_equal(crop.fields["frames"], np.arange(50, 60).reshape(5, 2))
    assert crop.fields["words"] == "hällo"


def test_links_to_nothing_are_skipped_and_what_is_no_file_is_listed(tmp_path: Path) -> None:
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    soundfile.write(source / "a.wav", np.zeros(800, np.int16), 8000)
    (source / "gone.wav").symlink_to("nowhere.wav")
    (source / "loop.wav").symlink_to("loop.wav")
    os.mkfifo(source / "sub" / "pipe.wav")
    with pytest.raises(NotFoundError, match=r"gone\.wav: a link that leads to no file"):
        run(source, tmp_path / "out")
    summary = run(source, tmp_path / "out", on_error="skip")
    assert [(line.path, line.reason.partition(": ")[2] or line.reason) for line in summary.unpacked] == [
        ("gone.wav", "a link that leads to no file; mend it or take it away"),
        ("loop.wav", "a link that leads to no file; mend it or take it away"),
        ("sub/pipe.wav", "a pipe, a socket or a device, not a file"),
    ]
    assert summary.totals.samples == 1


def npy(array: object, **options: bool) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array, **options)
    return sink.getvalue()


HUGE = npy(np.zeros(3)).replace(b"(3,)", b"(9999999999999,)")  # what numpy would allocate before it reads

UNREADABLE = [
    ("f.npy", npy(np.array([{"a": 1}, None]), allow_pickle=True), "not a plain .npy array: Object arrays"),
    ("f.npy", b"PK\x03\x04 an archive", "not a plain .npy array"),
    ("f.npy", npy(np.arange(9))[:-1], "not a plain .npy array"),
    ("f.npy", HUGE, "not a plain .npy array"),
    ("f.npy", npy(np.float32(3)), r"an array without axes has no rows each 0\.02 s"),
    ("f.txt", "Ärger".encode("latin-1"), "not UTF-8 at byte 0; save it as UTF-8"),
    ("f.json", b'{"a": ', "not JSON: Expecting value"),
    ("f.json", b"[" * 100_000, "not JSON: maximum recursion depth"),
]


@pytest.mark.parametrize(("name", "content", "message"), UNREADABLE)
def test_a_member_that_could_not_be_read_back_is_refused_or_reported(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    for stem in "ab":
        soundfile.write(tmp_path / f"{stem}.wav", np.zeros(800, np.int16), 8000)
    good = {"npy": npy(np.zeros(9)), "txt": "Ärger".encode(), "json": b"[1]"}[name[2:]]
    (tmp_path / f"good.{name[2:]}").write_bytes(good)
    (tmp_path / name).write_bytes(content)
    (tmp_path / "m.csv").write_text(f"path,x\na.wav,good.{name[2:]}\nb.wav,{name}\n")
    inputs, hops_s = InputOptions(members={"x": "x"}), {"x": 0.02} if name == "f.npy" else {}
    with pytest.raises(FormatError, match=rf"m\.csv:3: field 'x', .*{name}: {message}"):
        run(tmp_path / "m.csv", tmp_path / "out", inputs, hops_s=hops_s)
    summary = run(tmp_path / "m.csv", tmp_path / "out", inputs, hops_s=hops_s, on_error="skip")
    assert [(line.path, line.where) for line in summary.unpacked] == [("b.wav", f"{tmp_path}/m.csv:3")]
    assert [sorted(sample.fields) for sample in sk.open(tmp_path / "out")] == [["json", "x"]]


def test_a_recording_that_can_not_be_packed_names_its_row(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF nonsense")
    (tmp_path / "m.csv").write_text("path\na.wav\n")
    with pytest.raises(AudioError, match=r"m\.csv:2: .*a\.wav: not audio"):
        run(tmp_path / "m.csv", tmp_path / "out")


def test_an_interval_outside_the_recording_is_an_error(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(1000, np.int16), 1000)
    for stop_s, fails in ((1.04, False), (1.2, True)):
        (tmp_path / "m.jsonl").write_text(json.dumps({"path": "a.wav", "intervals": [["x", 0.5, stop_s]]}))
        output = tmp_path / f"out{stop_s}"
        if fails:
            with pytest.raises(AudioError, match=r"m\.jsonl:1: interval 'x' from 0.5 s to 1.2 s lies outside"):
                run(tmp_path / "m.jsonl", output)
        else:
            run(tmp_path / "m.jsonl", output)
            assert sk.open(output)["a"].intervals == (sk.Interval("x", 500, 1000),)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codec": "mp3"}, "mp3"),
        ({"codec": "keep", "sample_rate": 8000}, "keep"),
        ({"shard_bytes": 0}, "must be positive"),
        ({"splits": {"a": 0.5}}, "add up to 0.5"),
        ({"on_error": "ignore"}, "choose fail or skip"),
        ({"workers": 0}, "at least 1"),
        ({"split_by": "speaker"}, "nothing to split into"),
    ],
)
def test_options_that_can_not_be(kinds: Path, tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(kinds, tmp_path / "out", **options)
    assert not (tmp_path / "out" / "shardkit.json").exists()


def test_the_decoders_used_agree_with_plain_soundfile(kinds: Path) -> None:
    for path in kinds.iterdir():
        plain = soundfile.read(path, dtype="float32", always_2d=True)[0].T
        np.testing.assert_allclose(decoded(path), plain, rtol=0, atol=2e-7 if path.suffix == ".mp3" else 0)


def test_splits_from_a_column(tmp_path: Path) -> None:
    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(100, np.int16), 8000)
    (tmp_path / "m.csv").write_text("path,part\na.wav,train\nb.wav,test\nc.wav,train\n")
    inputs = InputOptions(split_column="part")
    run(tmp_path / "m.csv", tmp_path / "out", inputs)
    found = {split: sorted(sk.open(tmp_path / "out", split).keys()) for split in ("train", "test")}
    assert found == {"train": ["a", "c"], "test": ["b"]}
    with pytest.raises(InputError, match="as fractions and as the column 'part'"):
        run(tmp_path / "m.csv", tmp_path / "out2", inputs, splits={"train": 1.0})
    (tmp_path / "m.csv").write_text("path,part\na.wav,../up\n")
    with pytest.raises(InputError, match=r"m\.csv:2: '\.\./up' can't name a split"):
        run(tmp_path / "m.csv", tmp_path / "out2", inputs)


def test_real_digits_and_music_are_packed_without_a_changed_sample(data_dir: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in (data_dir / "digits").glob("*.wav"))[::40]
    rows = [[name, *name.removesuffix(".wav").split("_")] for name in names]
    manifest = tmp_path / "digits.csv"
    manifest.write_text("\n".join(map(",".join, [["path", "digit", "speaker", "take"], *rows])))
    inputs = InputOptions(root=locate(data_dir / "digits"), label="digit")
    run(manifest, tmp_path / "digits", inputs, splits={"train": 0.8, "val": 0.2}, split_by="speaker")
    digits = sk.open(tmp_path / "digits")
    assert len(digits) == len(names)
    for sample in digits:
        np.testing.assert_array_equal(sample.audio, decoded(data_dir / "digits" / sample.metadata["path"]))
        assert sample.labels == (sample.metadata["path"][0],)
    tracks = tmp_path / "tracks"
    tracks.mkdir()
    for name in ("lose/Chimes They Fade.ogg", "win/Apex Aleph.ogg"):
        (tracks / Path(name).parent.name).mkdir()
        (tracks / name).write_bytes((data_dir / "music" / name).read_bytes())
    run(tracks, tmp_path / "music", InputOptions(label="folder"), codec="flac", workers=2, shard_bytes=10_000_000)
    for sample in sk.open(tmp_path / "music"):
        expected = np.clip(np.rint(decoded(tracks / sample.metadata["path"]) * 32768.0), -32768, 32767) / 32768
        np.testing.assert_array_equal(sample.audio, expected.astype(np.float32))
        assert sample.labels == (sample.metadata["path"].split("/")[0],)
