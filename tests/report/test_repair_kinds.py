"""Repair of what is no plain packed dataset: adopted tars, features, object storage; and repairs that are killed."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from shardkit.format.manifest import MANIFEST_NAME
from shardkit.pack import engine
from shardkit.pack.adopt import AdoptOptions, adopt
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.repair.rows import typed_cell
from shardkit.repair.run import RepairOptions, repair
from shardkit.repair.walk import walk
from shardkit.report.verify import verify
from shardkit.storage.location import locate
from shardkit.storage.store import list_files, read_bytes, write_bytes
from shardkit.stream.dataset import open_dataset
from shardkit.stream.stream import Stream

from .conftest import Damageable
from .test_repair import content, files, gone
from .test_verify_edits import flac, write_tar


@pytest.fixture
def tars(tmp_path):
    """Two tars that others wrote, with a sample that can't be indexed and a name without a key."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for number in range(2):
        members = {"README": b"no key", "x.flac": b"broken", "x.cls": b"0"}
        for sample in range(3):
            name = f"s{sample}"
            members |= {f"{name}.flac": flac(3 * number + sample), f"{name}.cls": b"4", f"{name}.json": b'{"take": 3}'}
        write_tar(folder / f"{number}.tar", members)
    return folder


def adopted(tars, output):
    options = AdoptOptions(prefix_keys=True, on_error="skip", label="cls", workers=1)
    adopt([locate(tars)], locate(output), options=options)
    return locate(output)


def test_adopted_tars_are_repaired_without_a_byte_of_them_changed(tars, tmp_path):
    dataset = adopted(tars, tmp_path / "dataset")
    whole = content(dataset.local_path)
    index = dataset.local_path / "train" / "000000.parquet"
    before = index.read_bytes()
    index.unlink()
    path = tars / "1.tar"
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        place = next(info for info in archive if info.name == "s1.flac")
    data[place.offset_data + 5000] ^= 1
    path.write_bytes(data)
    originals = files(tars)
    done = repair(dataset)
    assert files(tars) == originals
    assert verify(dataset, deep=True).problems == ()
    assert gone(done) == {"1/s1"}
    assert content(dataset.local_path) == {key: value for key, value in whole.items() if key != "1/s1"}
    assert (dataset.local_path / "train" / "000000.repair-1.parquet").read_bytes() == before
    (dataset.local_path / MANIFEST_NAME).unlink()  # and once more, of what the first repair wrote
    (dataset.local_path / "train" / "000001.repair-1.parquet").unlink()
    repair(dataset)
    assert verify(dataset, deep=True).problems == ()
    assert content(dataset.local_path).keys() >= whole.keys() - {"1/s1"}


def test_object_storage_is_repaired_like_a_disk(dataset, s3):
    place = dataset.place(3, "vocals")
    dataset.flip(place.shard, place.offset + 100)
    (dataset.folder / dataset.manifest["shards"][0]["index"]).unlink()
    remote = locate(f"{s3.url}/repair/dataset")
    for name, data in files(dataset.folder).items():
        write_bytes(remote / name, data)
    before = {file.name: read_bytes(remote / file.name) for file in list_files(remote)}
    there, here = repair(remote), repair(dataset.location)
    assert [(a.action, a.shard, a.key, a.reason) for a in there.actions] == [
        (a.action, a.shard, a.key, a.reason) for a in here.actions
    ]
    assert verify(remote, deep=True).problems == ()
    after = {file.name: read_bytes(remote / file.name) for file in list_files(remote)}
    assert after[MANIFEST_NAME] == (dataset.folder / MANIFEST_NAME).read_bytes()
    assert after[there.previous] == before.pop(MANIFEST_NAME)
    assert {name: after[name] for name in before} == before


def test_large_datasets_are_checked_and_mended_by_processes_with_the_same_result(dataset, tmp_path, monkeypatch):
    place = dataset.place(3, "vocals")
    dataset.flip(place.shard, place.offset + 100)
    for shard in dataset.manifest["shards"][2:]:
        (dataset.folder / shard["index"]).unlink()
    other = shutil.copytree(dataset.folder, tmp_path / "other")
    problems, alone = verify(dataset.location).problems, repair(dataset.location)
    monkeypatch.setattr(engine, "PROCESS_BYTES", 1)
    assert verify(locate(other), workers=2).problems == problems
    together = repair(locate(other), RepairOptions(workers=2))
    assert [(a.action, a.shard, a.key) for a in together.actions] == [(a.action, a.shard, a.key) for a in alone.actions]
    assert (other / MANIFEST_NAME).read_bytes() == (dataset.folder / MANIFEST_NAME).read_bytes()


_KILLED = """
import os, signal, sys
from shardkit.repair import run, shard
from shardkit.storage.location import locate
left = int(sys.argv[2])
def counted(write):
    def call(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return write(*arguments, **options)
    return call
run.write_bytes, run.replace = counted(run.write_bytes), counted(run.replace)
shard.write_bytes, shard.publish = counted(shard.write_bytes), counted(shard.publish)
run.repair(locate(sys.argv[1]))
"""


def test_a_repair_that_is_killed_before_any_write_leaves_the_dataset_as_it_was_and_the_next_finishes(dataset, tmp_path):
    place = dataset.place(3, "vocals")
    dataset.flip(place.shard, place.offset + 100)
    (dataset.folder / dataset.manifest["shards"][0]["index"]).unlink()
    mended = shutil.copytree(dataset.folder, tmp_path / "mended")
    repair(locate(mended))
    expected = files(mended)
    kills = 0
    while True:
        folder = shutil.copytree(dataset.folder, tmp_path / f"killed-{kills}")
        run = subprocess.run([sys.executable, "-c", _KILLED, str(folder), str(kills)], check=False, timeout=300)
        if run.returncode != -signal.SIGKILL:
            break
        found = files(folder)
        assert {name: found[name] for name in files(dataset.folder)} == files(dataset.folder)
        repair(locate(folder))
        found = files(folder)
        logs = found.pop("repair.jsonl").splitlines(), expected["repair.jsonl"].splitlines()
        assert len(logs[0]) == len(logs[1])
        left = {name: data for name, data in found.items() if not name.startswith(".shardkit-")}
        assert left == {name: data for name, data in expected.items() if name != "repair.jsonl"}
        kills += 1
    assert run.returncode == 0
    assert kills == 7  # two indices, a tar, the quarantine, the log, the old manifest, the new one


@pytest.mark.parametrize("options", [{"loudness": False}, {"codec": "wav"}, {"sample_rate": 4_000}])
def test_an_index_is_made_again_whatever_it_was_packed_with(tmp_path, data_dir, options):
    settings = PackOptions(workers=1, **options)
    (tmp_path / "some").mkdir()
    for path in sorted((data_dir / "digits").rglob("*.wav"))[:40]:
        shutil.copy(path, tmp_path / "some" / path.name)
    pack(locate(tmp_path / "some"), locate(tmp_path / "ds"), inputs=InputOptions(), options=settings)
    index = tmp_path / "ds" / "train" / "000000.parquet"
    before = index.read_bytes()
    index.unlink()
    repair(locate(tmp_path / "ds"))
    assert (tmp_path / "ds" / "train" / "000000.repair-1.parquet").read_bytes() == before


def test_lossy_members_keep_their_seek_tables_and_setups(tmp_path):
    (tmp_path / "some").mkdir()
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (4, 120_000))
    for number, samples in enumerate(noise):
        ending = ("ogg", "mp3")[number % 2]
        soundfile.write(tmp_path / "some" / f"{number}.{ending}", samples, 24_000)
    pack(locate(tmp_path / "some"), locate(tmp_path / "ds"), inputs=InputOptions(), options=PackOptions(workers=1))
    whole = content(tmp_path / "ds")
    damaged = Damageable(tmp_path / "ds")
    place, index = damaged.place(1, "audio"), tmp_path / "ds" / "train" / "000000.parquet"
    before = index.read_bytes()
    index.unlink()
    repair(damaged.location)
    assert (tmp_path / "ds" / "train" / "000000.repair-1.parquet").read_bytes() == before
    damaged.flip(place.shard, place.offset + place.size // 2)
    done = repair(damaged.location)
    assert gone(done) == {place.key}
    assert (done.number, len(done.of("rewritten-shard"))) == (2, 1)
    assert verify(damaged.location, deep=True).problems == ()
    assert content(tmp_path / "ds") == {key: value for key, value in whole.items() if key != place.key}


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        (pa.timestamp("us"), "2024-05-01 10:00:00", "2024-05-01 10:00:00"),
        (pa.decimal128(5, 2), "1.50", "1.50"),
        (pa.time64("us"), "10:00:00", "10:00:00"),
        (pa.list_(pa.date32()), ["2024-05-01", None], "[datetime.date(2024, 5, 1), None]"),
        (pa.int64(), 3, "3"),
        (pa.string(), 3, "3"),
    ],
)
def test_values_that_json_spells_as_text_get_their_type_back(kind, value, told):
    assert str(pa.array([typed_cell(value, kind)], kind)[0].as_py()) == told


def test_walking_a_tar_finds_what_tarfile_does_and_goes_on_behind_damage():
    sink = io.BytesIO()
    names = ["a.flac", "ä" * 90 + ".txt", "f/" + "x" * 150 + ".json", "z.npy"]
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = 700 * number
            archive.addfile(info, io.BytesIO(bytes([number]) * info.size))
    with tarfile.open(fileobj=io.BytesIO(sink.getvalue())) as archive:
        listed = [(info.name, info.offset_data, info.size) for info in archive]
    found = walk(io.BytesIO(sink.getvalue()))
    assert [(member.name, member.offset, member.size) for member in found.members] == listed
    assert (found.gaps, found.closed, found.is_whole) == ([], True, True)
    broken = bytearray(sink.getvalue())
    broken[3] ^= 1  # of the first header
    found = walk(io.BytesIO(broken))
    assert [member.name for member in found.members] == names[1:]
    assert found.gaps == [(0, 512)]
    for generator in (tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w", format=generator) as archive:
            archive.addfile(tarfile.TarInfo("y" * (150 if generator == tarfile.GNU_FORMAT else 90) + ".txt"))
        assert walk(io.BytesIO(sink.getvalue())).members[0].name.startswith("y" * 90)


def test_any_bytes_are_walked_to_their_end():
    chance = np.random.default_rng(0)
    for _ in range(20):
        data = chance.bytes(int(chance.integers(5_000)))
        found = walk(io.BytesIO(data))
        assert not found.members
        assert sum(stop - start for start, stop in found.gaps) == len(data)


def test_a_stream_goes_on_over_what_is_left(dataset):
    place = dataset.place(3, "audio")
    dataset.flip(place.shard, place.offset + 1000)
    repair(dataset.location)
    stream = Stream({"takes": open_dataset(dataset.folder, split="train")}, channels=1, batch_size=2, passes=1)
    keys = {key for batch in stream for key, valid in zip(batch.keys, batch.valid, strict=True) if valid}
    assert place.key not in keys
    assert len(keys) == 9


def test_the_command(dataset, tmp_path):
    place = dataset.place(3, "audio")
    dataset.flip(place.shard, place.offset + 1000)

    def run(*arguments, code=0):
        command = [sys.executable, "-m", "shardkit", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
        assert done.returncode == code, done.stderr
        return done.stdout

    text = run("verify", dataset.folder, "--report", tmp_path / "problems.jsonl", code=1)
    assert "'shardkit repair --dry-run" in text
    lines = [json.loads(line) for line in (tmp_path / "problems.jsonl").read_text().splitlines()]
    assert {(line["kind"], line["repair"], line["severity"]) for line in lines} == {
        ("member-hash", "rewrite-shard", "problem"),
        ("tar-hash", "rewrite-shard", "problem"),
    }
    assert {"shard", "key", "member", "offset", "what", "advice"} <= lines[0].keys()
    assert json.loads(run("repair", dataset.folder, "--dry-run", "--json"))["keys"]["quarantined"] == [place.key]
    assert "shardkit.json.before-repair-1" in run("repair", dataset.folder)
    run("verify", dataset.folder, "--deep")
    (dataset.folder / "train" / "000099.tar").write_bytes(b"")
    (dataset.folder / "shardkit.packing").write_bytes(b"")
    notes = json.loads(run("verify", dataset.folder, "--json"))["notes"]
    assert [(note["kind"], note["shard"]) for note in notes] == [("interrupted", None), ("stray", "train/000099.tar")]
