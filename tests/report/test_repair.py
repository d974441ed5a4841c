"""What is whole survives any damage, bit for bit; what is there stays as it is; and what is gone is told by its key."""

import json
import shutil

import numpy as np
import pytest

from shardkit.core.errors import InputError
from shardkit.format.manifest import MANIFEST_NAME
from shardkit.repair.run import RepairOptions, repair
from shardkit.report.verify import verify
from shardkit.storage.location import locate
from shardkit.stream.dataset import open_dataset

from .conftest import NUM_SAMPLES, Damageable


def content(folder, **options):
    """Return all that a reader gets of each sample, by key."""
    found = {}
    dataset = open_dataset(folder, split="all", **options)
    for key in dataset.keys():
        sample = dataset[key]
        fields = {
            name: value.audio if hasattr(value, "audio") else value for name, value in sorted(sample.fields.items())
        }
        found[key] = repr(
            [
                sample.audio.tobytes(),
                sample.sample_rate,
                sample.labels,
                sample.intervals,
                sorted(sample.metadata.items()),
                [(name, value.tobytes() if isinstance(value, np.ndarray) else value) for name, value in fields.items()],
            ]
        )
    return found


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(packed):
    return content(packed)


def gone(done):
    return {action.key for action in done.actions if action.action in ("quarantined", "lost", "dropped")} - {None}


def check_mended(damaged, whole, *, hit, **options):
    """Repair; what was not hit is there as it was, what is not there was hit and is told, and no file has changed."""
    before = files(damaged.folder)
    done = repair(damaged.location, RepairOptions(**options))
    after = files(damaged.folder)
    manifest = before.pop(MANIFEST_NAME, None)
    assert {name: after.get(name) for name in before} == before
    if done.previous is not None:
        assert after[done.previous] == manifest
    assert verify(damaged.location, deep=True).problems == ()
    left = content(damaged.folder)
    assert left.items() <= whole.items()
    assert whole.keys() - left.keys() == gone(done) & whole.keys()
    assert gone(done) <= hit
    assert done.kept_samples == len(left)
    assert repair(damaged.location).actions == ()
    return done


def hit_by(damaged, shard, start, stop):
    """Return the keys of samples with data in the bytes [start, stop) of a tar."""
    catalog = open_dataset(damaged.folder, split="all").catalog
    found = set()
    for columns in catalog.fields.values():
        for row in np.flatnonzero(columns.stored):
            offset, size = columns.place(row)
            if catalog.shards[catalog.shard(row)].path == shard and offset < stop and start < offset + size:
                found.add(catalog.key(row))
    return found


def test_a_sound_dataset_stays_as_it_is(dataset):
    before = files(dataset.folder)
    done = repair(dataset.location)
    assert (done.actions, done.previous, done.kept_samples) == ((), None, NUM_SAMPLES)
    assert files(dataset.folder) == before
    assert "nothing to repair in 5 shards" in done.summary()


@pytest.mark.parametrize("how", ["lost", "flipped", "cut", "all lost"])
def test_an_index_is_made_again_byte_for_byte(dataset, packed, whole, how):
    shard = dataset.manifest["shards"][2]
    path = dataset.folder / shard["index"]
    lost = [shard]
    if how == "lost":
        path.unlink()
    elif how == "flipped":
        dataset.flip(shard["index"], path.stat().st_size // 2)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        lost = dataset.manifest["shards"]
        for one in lost:
            (dataset.folder / one["index"]).unlink()
    done = check_mended(dataset, whole, hit=set())
    assert [action.action for action in done.actions] == ["rebuilt-index"] * len(lost)
    for old, new in zip(Damageable(packed).manifest["shards"], dataset.manifest["shards"], strict=True):
        assert (new["path"], new["hash"], new["index_hash"]) == (old["path"], old["hash"], old["index_hash"])
        assert (dataset.folder / new["index"]).read_bytes() == (packed / old["index"]).read_bytes()


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_to_a_tar_hits_only_the_samples_that_it_hits(packed, tmp_path, whole, seed):
    chance = np.random.default_rng(seed)
    damaged = Damageable(shutil.copytree(packed, tmp_path / "damaged"))
    shard = damaged.shards[chance.integers(5)]
    path = damaged.folder / shard
    data = path.read_bytes()
    at, length = int(chance.integers(len(data))), int(chance.integers(1, 3000))
    kind = seed % 6
    hit = hit_by(damaged, shard, at, {0: at + 1, 1: at + length, 2: len(data)}.get(kind, at))
    changed = {
        0: data[:at] + bytes([data[at] ^ 1 << int(chance.integers(8))]) + data[at + 1 :],
        1: (data[:at] + chance.bytes(length) + data[at + length :])[: len(data)],
        2: data[:at],
        3: data + b"behind the end",
        4: _headers(data, lambda block: chance.bytes(512)),
        5: _headers(data, lambda block: bytes(512)),
    }[kind]
    path.write_bytes(changed)
    done = check_mended(damaged, whole, hit=hit)
    if kind > 2:
        assert not gone(done)


def _headers(data, change):
    """Return a tar with two headers changed; the data of members is untouched."""
    blocks = [data[at : at + 512] for at in range(0, len(data), 512)]
    places = [number for number, block in enumerate(blocks) if block[257:262] == b"ustar"]
    for number in (places[1], places[-2]):
        blocks[number] = change(blocks[number])
    return b"".join(blocks)


@pytest.mark.parametrize("seed", range(24))
def test_no_bit_of_a_manifest_is_needed_to_find_every_sample(packed, tmp_path, whole, seed):
    chance = np.random.default_rng(seed)
    damaged = Damageable(shutil.copytree(packed, tmp_path / "damaged"))
    path = damaged.folder / MANIFEST_NAME
    data = path.read_bytes()
    at = int(chance.integers(len(data)))
    if seed % 4 == 0:
        path.write_bytes(data[:at])
    else:
        damaged.flip(MANIFEST_NAME, at, mask=1 << int(chance.integers(7)))
    if b'"version": 1,' not in path.read_bytes() and b'"version": ' in path.read_bytes():
        return  # a later version, as it says: the next test
    check_mended(damaged, whole, hit=set())


def test_a_manifest_of_a_later_version_is_refused_and_left_alone(dataset):
    dataset.edit_manifest(lambda manifest: manifest.update(version=2))
    before = files(dataset.folder)
    with pytest.raises(InputError, match="upgrade shardkit"):
        repair(dataset.location)
    assert files(dataset.folder) == before


@pytest.mark.parametrize(
    "edit",
    [
        lambda manifest: manifest["totals"].update(samples=13),
        lambda manifest: manifest["splits"]["val"].update(bytes=1),
        lambda manifest: manifest["shards"][1].update(samples=99, duration_s=1.0),
        lambda manifest: manifest["shards"][1].update(hash="xxh3_128:" + "1" * 32, bytes=7),
        lambda manifest: manifest["shards"][1].update(index_hash="xxh3_128:" + "1" * 32),
        lambda manifest: manifest["shards"][1].update(path="train/000009.tar"),
        lambda manifest: manifest["shards"][1].update(index="train/000009.parquet"),
        lambda manifest: manifest["shards"][1].update(split="trian"),
        lambda manifest: manifest["shards"].append(manifest["shards"][0]),
        lambda manifest: manifest["columns"].update(take="string", more="double"),
        lambda manifest: manifest["fields"].update(vocalr=manifest["fields"].pop("vocals")),
        lambda manifest: manifest["interval_names"].remove("sung"),
        lambda manifest: manifest["shards"].pop(2),
        lambda manifest: manifest["shards"][3].update(index=manifest["shards"].pop(4)["index"]),
    ],
)
def test_a_manifest_that_contradicts_its_shards_gives_way(dataset, whole, packed, edit):
    sound = dataset.manifest
    dataset.edit_manifest(edit)
    done = check_mended(dataset, whole, hit=set())
    assert done.kept_shards == 5
    assert dataset.manifest == sound


def test_a_misspelt_label_keeps_its_class(dataset, whole):
    sound = dataset.manifest
    dataset.edit_manifest(lambda manifest: manifest["labels"].__setitem__(1, "dof"))
    check_mended(dataset, whole, hit=set())
    assert dataset.manifest["labels"] == sound["labels"]


@pytest.mark.parametrize("kind", ["path", "index"])
def test_swapped_files_are_found_by_their_bytes(dataset, whole, kind):
    first, second = (dataset.folder / shard[kind] for shard in dataset.manifest["shards"][:2])
    first_bytes, second_bytes = first.read_bytes(), second.read_bytes()
    first.write_bytes(second_bytes)
    second.write_bytes(first_bytes)
    assert check_mended(dataset, whole, hit=set()).kept_shards == 5


@pytest.mark.parametrize("how", ["gone", "another's"])
def test_a_shard_without_its_tar_is_left_out_and_each_key_told(dataset, whole, how):
    first, second = (dataset.folder / shard for shard in dataset.shards[:2])
    lost = {
        dataset.place(row, "audio").key for row in range(12) if dataset.place(row, "audio").shard == "train/000000.tar"
    }
    if how == "gone":
        first.unlink()
    else:
        first.write_bytes(second.read_bytes())
    done = check_mended(dataset, whole, hit=lost)
    assert gone(done) == lost
    assert len(done.of("lost")) == len(lost)
    assert len(done.of("dropped-shard")) == 1


def test_what_is_broken_is_kept_as_it_is_with_the_reason(dataset, whole, tmp_path):
    place = dataset.place(7, "vocals")
    dataset.flip(place.shard, place.offset + 100)
    raw = (dataset.folder / place.shard).read_bytes()[place.offset : place.offset + place.size]
    done = check_mended(dataset, whole, hit={place.key}, quarantine=locate(tmp_path / "broken"))
    (action,) = done.of("quarantined")
    assert (action.key, action.shard) == (place.key, place.shard)
    assert "'vocals.flac'" in action.reason
    assert raw in locate(action.became).local_path.read_bytes()
    lines = [json.loads(line) for line in (dataset.folder / "repair.jsonl").read_text().splitlines()]
    assert [(line["repair"], line["action"], line.get("key")) for line in lines] == [
        (1, "rewritten-shard", None),
        (1, "quarantined", place.key),
    ]
    assert done.as_json()["keys"]["quarantined"] == [place.key]


def test_what_is_broken_may_be_left_out_without_a_copy(dataset, whole):
    place = dataset.place(7, "f0")
    dataset.flip(place.shard, place.offset + 200)
    done = check_mended(dataset, whole, hit={place.key}, keep_broken=False)
    assert [action.key for action in done.of("dropped")] == [place.key]
    assert not (dataset.folder / "quarantine").exists()


def test_a_changed_member_that_can_be_read_is_kept_only_on_request(dataset, whole):
    place = dataset.place(7, "words")
    dataset.flip(place.shard, place.offset + place.size - 2)  # one digit becomes another
    refused = repair(dataset.location, RepairOptions(dry_run=True))
    assert [action.key for action in refused.of("quarantined")] == [place.key]
    done = repair(dataset.location, RepairOptions(accept=True))
    assert [action.key for action in done.of("accepted")] == [place.key]
    assert done.kept_samples == NUM_SAMPLES
    assert verify(dataset.location, deep=True).problems == ()
    assert {key for key, value in content(dataset.folder).items() if value != whole[key]} == {place.key}


def test_a_dry_run_writes_nothing_and_says_what_a_repair_then_does(dataset, whole):
    place = dataset.place(7, "audio")
    dataset.flip(place.shard, place.offset + 1000)
    (dataset.folder / next(s["index"] for s in dataset.manifest["shards"] if s["path"] != place.shard)).unlink()
    before = files(dataset.folder)
    planned = repair(dataset.location, RepairOptions(dry_run=True))
    assert files(dataset.folder) == before
    done = check_mended(dataset, whole, hit={place.key})
    assert planned.actions == done.actions
    assert {**planned.as_json(), "dry_run": False, "previous": done.previous} == done.as_json()


@pytest.mark.parametrize("copy", [False, True])
def test_a_repaired_dataset_of_its_own_names_or_copies_what_is_whole(dataset, whole, tmp_path, copy):
    place = dataset.place(7, "audio")
    dataset.flip(place.shard, place.offset + 1000)
    before = files(dataset.folder)
    output = tmp_path / "mended"
    done = repair(dataset.location, RepairOptions(output=locate(output), copy=copy))
    assert files(dataset.folder) == before
    assert verify(locate(output), deep=True).problems == ()
    found = content(output)
    assert found == {key: value for key, value in whole.items() if key != place.key}
    assert (done.kept_shards, done.kept_samples) == (4, NUM_SAMPLES - 1)
    own = list(output.glob("*/*.tar"))
    assert len(own) == (5 if copy else 1)
    if copy:
        shutil.rmtree(dataset.folder)
        assert content(output) == found
    with pytest.raises(InputError, match="already holds a dataset"):
        repair(dataset.location, RepairOptions(output=locate(output)))


def test_a_half_written_dataset_is_finished_with_what_is_whole(dataset, whole):
    (dataset.folder / MANIFEST_NAME).unlink()
    (dataset.folder / "shardkit.packing").write_bytes(b"under way")
    (dataset.folder / "train" / "000003.parquet").unlink()  # as if it was killed between the tar and its index
    (problem,) = verify(dataset.location).problems
    assert (problem.kind, problem.shard) == ("manifest-missing", None)
    assert "5 tars and 4 of their indices" in problem.what
    done = repair(dataset.location)
    assert any("running the same 'shardkit pack' again is better" in note for note in done.notes)
    assert content(dataset.folder) == whole
    found = verify(dataset.location, deep=True)
    assert (found.problems, found.notes) == ((), ())


def test_a_lost_manifest_is_made_of_the_indices_and_of_one_that_was_kept(dataset, whole):
    place = dataset.place(7, "audio")
    dataset.flip(place.shard, place.offset + 1000)
    repair(dataset.location)
    mended = dataset.manifest
    (dataset.folder / MANIFEST_NAME).unlink()
    repair(dataset.location)
    assert dataset.manifest == mended
    assert content(dataset.folder) == {key: value for key, value in whole.items() if key != place.key}


def test_index_and_tar_damaged_together_keep_what_still_decodes(dataset, whole):
    place = dataset.place(7, "vocals")
    index = next(shard["index"] for shard in dataset.manifest["shards"] if shard["path"] == place.shard)
    dataset.flip(place.shard, place.offset - 512 + 20)
    (dataset.folder / index).unlink()
    done = check_mended(dataset, whole, hit={place.key})
    assert gone(done) == {place.key}
    assert {action.key for action in done.of("unproven")}


def test_nothing_left_is_an_error_that_changes_nothing(dataset):
    for shard in dataset.shards:
        (dataset.folder / shard).write_bytes(b"")
    before = dataset.manifest
    with pytest.raises(InputError, match="not one whole sample is left"):
        repair(dataset.location)
    assert dataset.manifest == before


def test_a_folder_without_shards_is_an_error_of_the_request(tmp_path):
    with pytest.raises(InputError, match="nothing to repair a dataset from"):
        repair(locate(tmp_path))
