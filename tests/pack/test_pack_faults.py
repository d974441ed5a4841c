"""Packing to storage that is full, fails, or is written to by somebody else too."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import s3fs
import soundfile

import shardkit as sk
from shardkit.core.errors import InputError
from shardkit.pack.commit import PackSummary
from shardkit.pack.estimate import bytes_ratios
from shardkit.pack.finish import commit
from shardkit.pack.inputs import InputOptions, PackInput
from shardkit.pack.options import PackOptions
from shardkit.pack.partial import partial_folder
from shardkit.pack.parts import WHOLE, Part
from shardkit.pack.run import pack
from shardkit.storage.location import Location, locate
from shardkit.storage.store import list_files, read_bytes
from tests.conftest import S3
from tests.pack.test_killed_pack import tree
from tests.storage.fault_server import Manner, serving
from tools.s3_server import Endpoint, serve

SHARD_BYTES = 60_000


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recordings(tmp_path_factory.mktemp("in"), range(12))


def recordings(folder: Path, numbers: range) -> Path:
    folder.mkdir(exist_ok=True)
    for i in numbers:
        samples = np.random.default_rng(i).integers(-9000, 9000, 8000 + 500 * i).astype(np.int16)
        soundfile.write(folder / f"{i:02d}.wav", samples, 8000)
    return folder


def run(source: Path, output: Location, *, part: Part = WHOLE, restart: bool = False, **options: object) -> PackSummary:
    settings = PackOptions(**({"workers": 1, "shard_bytes": SHARD_BYTES, "name": "same"} | options))
    return pack(locate(source), output, inputs=InputOptions(), options=settings, part=part, restart=restart)


def remote_tree(folder: Location) -> dict[str, bytes]:
    return {name: read_bytes(folder / name) for name, _ in list_files(folder)}


@pytest.fixture
def clean(source: Path, tmp_path: Path) -> dict[str, bytes]:
    """The files of the dataset as one run writes them."""
    run(source, locate(tmp_path / "clean"))
    return {name: data for name, data in tree(tmp_path / "clean").items() if data is not None}


# ---- a disk that is full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with 100 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.getuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root can mount a file system")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "none", folder], check=False, capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_disk_that_fills_up_stops_the_run_and_with_more_space_it_goes_on(
    source: Path, clean: dict[str, bytes], small_disk: Path
) -> None:
    output = locate(small_disk / "out")
    with pytest.raises(sk.StorageError, match="[Nn]o space"):
        run(source, output)
    kept = {name for name in tree(small_disk / "out") if name.endswith(".done")}
    assert len(kept) >= 1
    assert not list((small_disk / "out").glob(".shardkit*"))  # what could not be finished takes no space
    subprocess.run(["mount", "-o", "remount,size=10m", small_disk], check=True)
    summary = run(source, output)
    assert summary.totals.samples == 12
    assert remote_tree(output) == clean


# ---- what is done is not done again


def test_shards_that_are_done_are_not_written_again(source: Path, clean: dict[str, bytes], tmp_path: Path) -> None:
    output = locate(tmp_path / "out")
    run(source, output, part=Part(1, 2))
    there = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "train").glob("*.tar")}
    assert 0 < len(there) < len([name for name in clean if name.endswith(".tar")])
    damaged = min(there)
    damaged.write_bytes(damaged.read_bytes()[:-512])  # as a file system may leave it that lost power
    run(source, output)
    again = {path for path, modified in there.items() if path.stat().st_mtime_ns != modified}
    assert again == {damaged}
    assert remote_tree(output) == clean


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"job": 1}', b"\xff"])
def test_a_record_that_is_damaged_is_none(
    source: Path, clean: dict[str, bytes], tmp_path: Path, content: bytes
) -> None:
    output = locate(tmp_path / "out")
    run(source, output, part=Part(1, 2))
    (tmp_path / "out" / "train" / "000000.done").write_bytes(content)
    run(source, output)
    assert remote_tree(output) == clean


def test_a_recording_that_changed_meanwhile_is_another_plan(source: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(source, tmp_path / "in"))
    output = locate(tmp_path / "out")
    run(mine, output, part=Part(1, 2))
    before = (mine / "00.wav").stat()
    (mine / "00.wav").write_bytes((mine / "00.wav").read_bytes()[:-2] + b"\1\1")  # of the same size
    os.utime(mine / "00.wav", ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    with pytest.raises(
        InputError, match=r"other recordings or metadata for 1 shard of \d+, the first of them train/0000"
    ):
        run(mine, output)
    run(mine, output, restart=True)
    run(mine, locate(tmp_path / "fresh"))
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


# ---- two that write to one place


def test_another_command_is_refused_with_what_differs(source: Path, clean: dict[str, bytes], tmp_path: Path) -> None:
    output = locate(tmp_path / "out")
    run(source, output, part=Part(1, 3))
    with pytest.raises(InputError, match=r"another pack is under way there, .*: codec auto, not wav; .*--restart"):
        run(source, output, codec="wav")
    with pytest.raises(InputError, match="the number of inputs 12, not 4, their bytes"):
        run(recordings(tmp_path / "few", range(4)), output)
    run(source, output, part=Part(2, 3))
    run(source, output, codec="wav", restart=True)
    run(source, locate(tmp_path / "wav"), codec="wav")
    assert tree(tmp_path / "out") == tree(tmp_path / "wav") != clean


def test_a_pack_whose_output_is_begun_anew_by_another_stops(source: Path, tmp_path: Path) -> None:
    """``--restart`` takes the output from a run that still lives; what that does then must not come into it."""
    output, taken = locate(tmp_path / "out"), []

    def take(_: object) -> None:
        if not taken:
            taken.append(True)
            run(source, output, codec="wav", restart=True, part=Part(1, 2))

    settings = PackOptions(workers=1, shard_bytes=SHARD_BYTES, name="same")
    with pytest.raises(InputError, match="another command was given there with --restart"):
        pack(locate(source), output, inputs=InputOptions(), options=settings, report=take)
    run(source, output, codec="wav")
    run(source, locate(tmp_path / "wav"), codec="wav")
    assert tree(tmp_path / "out") == tree(tmp_path / "wav")


def test_a_pack_that_another_run_of_it_finishes_ends_without_a_trace(
    source: Path, clean: dict[str, bytes], tmp_path: Path
) -> None:
    output, taken = locate(tmp_path / "out"), []

    def finish(_: object) -> None:
        if not taken:
            taken.append(True)
            run(source, output)

    settings = PackOptions(workers=1, shard_bytes=SHARD_BYTES, name="same")
    with pytest.raises(InputError, match="another run of this command has finished it meanwhile"):
        pack(locate(source), output, inputs=InputOptions(), options=settings, report=finish)
    assert remote_tree(output) == clean
    with pytest.raises(InputError, match="already holds a dataset"):
        run(source, output)


@pytest.mark.parametrize("second", ["same", "other"])
def test_of_two_that_begin_at_one_time_one_dataset_comes(
    source: Path, clean: dict[str, bytes], tmp_path: Path, second: str
) -> None:
    def begin(*more: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "shardkit", "pack", str(source), str(tmp_path / "out"), "--workers", "1"]
        command += ["--shard-size", f"{SHARD_BYTES}", "--name", "same", *more]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    runs = [begin(), begin(*(["--codec", "wav"] if second == "other" else []))]
    errors = [process.communicate()[1] for process in runs]
    status = [process.returncode for process in runs]
    run(source, locate(tmp_path / "wav"), codec="wav")
    assert 0 in status
    for code, error in zip(status, errors, strict=True):
        assert code == 0 or (error.startswith("shardkit: error: ") and error.count("\n") == 1)
    wav = {name: data for name, data in tree(tmp_path / "wav").items() if data is not None}
    assert remote_tree(locate(tmp_path / "out")) in ([clean] if second == "same" else [clean, wav])
    assert second == "same" or status.count(0) == 1


# ---- parts


def test_parts_in_any_order_and_commit_give_what_one_run_gives(
    source: Path, clean: dict[str, bytes], tmp_path: Path
) -> None:
    output = locate(tmp_path / "out")
    with pytest.raises(InputError, match="no pack is under way there: 'shardkit pack' begins one"):
        commit(output)
    for number in (3, 1):
        summary = run(source, output, part=Part(number, 3))
        assert summary.totals.samples > 0
    with pytest.raises(
        InputError, match=r"\d of \d shards are not packed yet: part 2/3 lacks train/000001, train/000004"
    ):
        commit(output)
    with pytest.raises(InputError, match="finish a pack that was interrupted"):
        sk.open(tmp_path / "out")
    run(source, output, part=Part(2, 3))
    run(source, output, part=Part(2, 3))  # once more: nothing to do
    assert commit(output).totals.samples == 12
    assert remote_tree(output) == clean
    with pytest.raises(InputError, match="it is a whole dataset already"):
        commit(output)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0/4", "part 0/4: parts are counted from 1: 1/4 to 4/4"),
        ("5/4", "part 5/4"),
        ("3", "not NUMBER/COUNT"),
        ("1/0", "at least one part"),
        ("a/b", "not NUMBER/COUNT"),
    ],
)
def test_parts_that_there_are_not(text: str, message: str, source: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "shardkit", "pack", str(source), str(tmp_path / "out"), "--part", text]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


# ---- S3


def test_uploads_that_were_never_finished_and_folders_of_dead_processes_go(
    source: Path, clean: dict[str, bytes], s3: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    output = locate(f"{s3.url}/uploads/out")
    run(source, output, part=Part(1, 2))
    filesystem = s3fs.S3FileSystem(skip_instance_cache=True)
    for key in ("uploads/out/train/000001.tar", "uploads/other.tar"):
        filesystem.call_s3("create_multipart_upload", Bucket=s3.bucket, Key=key)
    with partial_folder(output) as folder:  # as one that was killed leaves it
        dead = shutil.copytree(folder, f"{folder}-dead")
    (Path(dead) / "shard.tar").write_bytes(b"half a shard")
    run(source, output)
    assert remote_tree(output) == clean
    left = filesystem.call_s3("list_multipart_uploads", Bucket=s3.bucket).get("Uploads", [])
    left = [upload["Key"] for upload in left if upload["Key"].startswith("uploads/")]  # the server is not ours alone
    assert left == ["uploads/other.tar"]
    assert not list(tmp_path.glob(".shardkit*"))


def test_a_store_that_goes_away_stops_the_run_and_when_it_is_back_it_goes_on(
    source: Path, clean: dict[str, bytes], tmp_path: Path
) -> None:
    stored = tmp_path / "s3"
    stored.mkdir()

    def output(endpoint: Endpoint) -> Location:
        options = {"endpoint_url": endpoint.url, "key": endpoint.access_key, "secret": endpoint.secret_key}
        return locate("s3://bucket/out", options | {"retry_for": 2})

    with ExitStack() as stack:
        endpoint = stack.enter_context(serve(stored, buckets=["bucket"]))

        def report(_: object) -> None:
            if len(list(stored.rglob("*.done"))) == 2:
                stack.close()

        settings = PackOptions(workers=1, shard_bytes=SHARD_BYTES, name="same")
        with pytest.raises(sk.StorageError, match="127.0.0.1"):
            pack(locate(source), output(endpoint), inputs=InputOptions(), options=settings, report=report)
    kept = {path: path.stat().st_mtime_ns for path in stored.rglob("*.tar")}
    assert not (stored / "bucket" / "out" / "shardkit.json").exists()
    with serve(stored) as endpoint:
        run(source, output(endpoint))
        assert remote_tree(output(endpoint)) == clean
    done = [path for path, modified in kept.items() if path.stat().st_mtime_ns == modified]
    assert len(done) >= 2


def test_a_plan_does_not_come_out_otherwise_where_storage_fails(tmp_path: Path) -> None:
    """Shards are cut by sizes that are estimated from a few recordings: an outage there must stop the run."""
    sound = recordings(tmp_path, range(1)) / "00.wav"
    with serving(sound.read_bytes(), Manner(), Manner(), Manner(breaks_off_after=100)) as server:
        item = PackInput(key="a", location=server.http("a.wav", retry_for=1), path="a.wav", size=9, where="row 1")
        with pytest.raises(sk.StorageError, match="row 1"):
            bytes_ratios([item], PackOptions())
