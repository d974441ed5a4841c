"""Every kind of damage to files is found, at its shard, key and byte; a sound dataset has no problem."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shardkit.core.errors import InputError, StorageError
from shardkit.format.manifest import MANIFEST_NAME
from shardkit.report.verify import verify
from shardkit.storage.location import locate
from shardkit.storage.store import write_bytes


def places(found):
    return {(problem.shard, problem.key, problem.member, problem.offset) for problem in found.problems}


def of_member(place):
    return (place.shard, place.key, place.member, place.offset)


@pytest.mark.parametrize("deep", [False, True])
def test_a_sound_dataset_has_no_problems_and_all_of_it_is_counted(dataset, deep):
    steps = []
    found = verify(dataset.location, deep=deep, progress=lambda done, total: steps.append((done, total)))
    assert found.problems == ()
    tar_bytes = sum((dataset.folder / shard).stat().st_size for shard in dataset.shards)
    assert (found.shards, found.samples, found.members, found.bytes) == (len(dataset.shards), 12, 12 * 5 - 1, tar_bytes)
    assert steps == sorted(steps)
    assert steps[-1] == (tar_bytes, tar_bytes)
    assert found.as_json()["ok"]
    assert found.summary().endswith("all is well")


@pytest.mark.parametrize("field", ["audio", "vocals", "f0", "words", "json"])
def test_a_flipped_bit_in_a_member_is_told_by_member_and_by_tar(dataset, field):
    place = dataset.place(7, field)
    dataset.flip(place.shard, place.offset + place.size // 2)
    found = verify(dataset.location)
    assert places(found) == {of_member(place), (place.shard, None, None, None)}
    line = next(str(problem) for problem in found.problems if problem.key)
    assert line.startswith(
        f"{place.shard}: key {place.key!r}, member {place.member!r}, byte {place.offset:,}: its bytes"
    )


def test_a_damaged_header_is_found_where_tar_readers_would_stop_in_silence(dataset):
    place = dataset.place(1, "audio")
    dataset.flip(place.shard, place.offset - 512 + 20)
    found = verify(dataset.location)
    assert {problem.shard for problem in found.problems} == {place.shard}
    assert any(
        problem.offset in (place.offset, place.offset - 512) and "header" in problem.what for problem in found.problems
    )


@pytest.mark.parametrize("where", ["in a member", "between members", "end mark", "all"])
def test_a_truncated_tar_names_its_size_and_each_member_that_is_lost(dataset, where):
    place = dataset.place(2, "f0")
    path = dataset.folder / place.shard
    whole = path.stat().st_size
    kept = {
        "in a member": place.offset + place.size // 2,
        "between members": place.offset - 512,
        "end mark": whole - 1024,
        "all": 0,
    }[where]
    with path.open("r+b") as file:
        file.truncate(kept)
    found = verify(dataset.location)
    assert {problem.shard for problem in found.problems} == {place.shard}
    assert any(f"{kept:,} bytes, the manifest says {whole:,}" in problem.what for problem in found.problems)
    lost = {problem.key for problem in found.problems if problem.key}
    rows = [dataset.place(row, field) for row in range(12) for field in ("audio", "f0", "words", "json")]
    gone = {row.key for row in rows if row.shard == place.shard and row.offset + row.size > kept}
    assert lost == gone


def test_swapped_tars_are_two_problems_not_one_for_each_member(dataset):
    first, second = (dataset.folder / shard for shard in dataset.shards[:2])
    first_bytes, second_bytes = first.read_bytes(), second.read_bytes()
    first.write_bytes(second_bytes)
    second.write_bytes(first_bytes)
    found = verify(dataset.location)
    assert places(found) == {(shard, None, None, None) for shard in dataset.shards[:2]}
    assert [problem.what for problem in found.problems] == [
        f"it holds the bytes of {shard}" for shard in (dataset.shards[1], dataset.shards[0])
    ]


def test_swapped_indexes_are_two_problems(dataset):
    first, second = (dataset.folder / shard["index"] for shard in dataset.manifest["shards"][:2])
    first_bytes, second_bytes = first.read_bytes(), second.read_bytes()
    first.write_bytes(second_bytes)
    second.write_bytes(first_bytes)
    found = verify(dataset.location)
    assert places(found) == {(shard, None, None, None) for shard in dataset.shards[:2]}
    assert len(found.problems) == 2
    assert all("holds the bytes of" in problem.what for problem in found.problems)


@pytest.mark.parametrize("kind", ["path", "index"])
def test_a_missing_file_is_a_problem_and_hides_no_other_shard(dataset, kind):
    missing = dataset.manifest["shards"][0]
    broken = next(place for row in range(12) if (place := dataset.place(row, "audio")).shard != missing["path"])
    (dataset.folder / missing[kind]).unlink()
    dataset.flip(broken.shard, broken.offset)
    found = verify(dataset.location, deep=True)
    assert places(found) == {(missing["path"], None, None, None), (broken.shard, None, None, None), of_member(broken)}
    assert any("there is no" in problem.what for problem in found.problems)


def test_any_damage_anywhere_in_a_tar_or_index_is_found_in_that_shard(dataset):
    chance = np.random.default_rng(0)
    for _ in range(60):
        shard = dataset.manifest["shards"][chance.integers(len(dataset.shards))]
        path = dataset.folder / shard[("path", "index")[chance.integers(2)]]
        sound = path.read_bytes()
        at = int(chance.integers(len(sound)))
        block = at // 512 * 512
        broken = [
            sound[:at] + bytes([sound[at] ^ 1 << int(chance.integers(8))]) + sound[at + 1 :],
            sound[:at],
            sound[:at] + b"x" * int(chance.integers(1, 600)) + sound[at:],
            sound[:block] + chance.bytes(512) + sound[block + 512 :],
        ]
        path.write_bytes(broken[chance.integers(len(broken))])
        found = verify(dataset.location)
        assert {problem.shard for problem in found.problems} == {shard["path"]}
        assert all("\n" not in str(problem) for problem in found.problems)
        path.write_bytes(sound)
    assert verify(dataset.location).problems == ()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": "shardkit", "version": 1}'])
def test_a_damaged_manifest_is_one_problem(dataset, content):
    (dataset.folder / MANIFEST_NAME).write_bytes(content)
    (problem,) = verify(dataset.location).problems
    assert problem.shard is None
    assert str(problem).startswith(MANIFEST_NAME)


def test_a_dataset_in_object_storage_is_verified_like_one_on_disk(dataset):
    remote = locate("memory://verify/dataset")
    place = dataset.place(3, "vocals")
    dataset.flip(place.shard, place.offset + 100)
    for path in dataset.folder.rglob("*.*"):
        write_bytes(remote / path.relative_to(dataset.folder).as_posix(), path.read_bytes())
    local = verify(dataset.location, deep=True)
    assert verify(remote, deep=True).problems == local.problems
    assert of_member(place) in places(local)


def test_no_thread_is_left_behind(dataset):
    """Threads of Arrow's that outlive their work now and then abort the process at its exit (pyarrow 26)."""
    if not Path("/proc/self/task").is_dir():
        pytest.skip("the threads of a process are listed on Linux only")
    program = (
        "import sys, pathlib, time\n"
        "from shardkit.report.verify import verify\n"
        "from shardkit.storage.location import locate\n"
        "threads = lambda: len(list(pathlib.Path('/proc/self/task').iterdir()))\n"
        "before, end = threads(), time.monotonic() + 5\n"
        "verify(locate(sys.argv[1]), deep=True)\n"
        "while threads() > before and time.monotonic() < end:\n"  # one that has ended may be listed a little longer
        "    time.sleep(0.01)\n"
        "print(threads() - before)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(dataset.folder)], capture_output=True, text=True, check=True
    )
    assert run.stdout == "0\n"


def test_a_folder_without_a_dataset_is_an_error_of_the_request(tmp_path):
    with pytest.raises(InputError, match="no dataset"):
        verify(locate(tmp_path))


def test_storage_that_cannot_be_reached_is_an_error_not_a_problem():
    with pytest.raises(StorageError):
        verify(locate("http://127.0.0.1:9/dataset"))


@pytest.mark.parametrize("what", ["tar", "index", "manifest"])
def test_a_folder_in_place_of_a_file_is_a_problem_of_that_file(dataset, what):
    shard = dataset.manifest["shards"][0]
    name = {"tar": shard["path"], "index": shard["index"], "manifest": "shardkit.json"}[what]
    (dataset.folder / name).unlink()
    (dataset.folder / name).mkdir()
    problems = verify(dataset.location).problems
    assert problems
    assert "is a folder, not a" in problems[0].what
