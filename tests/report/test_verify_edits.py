"""An index, a manifest or a tar that somebody edited is found out, even where all hashes were mended afterwards."""

import io
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from shardkit.audio.columns import Column
from shardkit.audio.seektable import SeekTable
from shardkit.format.hashing import file_hash
from shardkit.pack.adopt import AdoptOptions, adopt
from shardkit.report.deepcheck import content_problems
from shardkit.report.verify import verify
from shardkit.storage.location import locate

MOVED = 10


def whats(found):
    return [(problem.shard, problem.key, problem.what) for problem in found.problems]


def edit_row(dataset, edit, *, number=0, row=1):
    """Change one row of an index; return the key that it has then."""
    keys = []

    def change(rows):
        edit(rows[row])
        keys.append(rows[row]["key"])

    dataset.edit_index(number, change)
    return keys[0]


def audio_of(row):
    return row["fields"]["audio"]


ROW_EDITS = {
    "unknown label": (lambda row: row.update(labels=["wolf"]), "label 'wolf' is not in the manifest's vocabulary"),
    "frames copy": (lambda row: row.update(frames=row["frames"] + 1), "fields.audio has"),
    "rate copy": (lambda row: row.update(sample_rate=44_100), "sample_rate is 44100, fields.audio has 8000"),
    "loudness copy": (lambda row: row.update(loudness_lufs=-3.0), "loudness_lufs is -3.0"),
    "duration": (lambda row: row.update(duration_s=9.0), "duration_s is 9.0, frames / sample_rate is 2."),
    "interval past the end": (
        lambda row: row.update(intervals=[{"name": "sung", "start": 5, "stop": row["frames"] + 1}]),
        "does not lie in the recording",
    ),
    "empty interval": (lambda row: row.update(intervals=[{"name": "sung", "start": 5, "stop": 5}]), "does not lie"),
    "unknown interval": (
        lambda row: row.update(intervals=[{"name": "howl", "start": 0, "stop": 5}]),
        "'howl' is not among the manifest's interval names",
    ),
    "facts": (lambda row: audio_of(row).update(codec="tape"), "its facts are impossible: codec 'tape'"),
    "array past the end": (
        lambda row: row["fields"]["f0"].update(shape=[9_999, 2]),
        "its rows, (9999, 2) of <f4 from byte 128, do not end at",
    ),
    "array of no type": (lambda row: row["fields"]["f0"].update(dtype="<q9"), "which can't be"),
    "hop": (lambda row: row["fields"]["f0"].update(hop_s=-1.0), "its hop is -1.0 s"),
    "short track": (lambda row: audio_of(row).update(loudness_track=b"\1\2"), "its loudness track has 2 hops"),
    "seek table": (lambda row: audio_of(row).update(seek_table=b"\7"), "its seek table can't be read"),
    "no members": (lambda row: row.update(fields=None), "the row has no field 'audio'"),
    "no primary audio": (lambda row: row["fields"].update(audio=None), "the row has no field 'audio'"),
    "key above": (lambda row: row.update(key="../evil"), "its key would lead out of a folder"),
    "key from the root": (lambda row: row.update(key="/evil"), "its key would lead out of a folder"),
    "no offset": (lambda row: row["fields"]["f0"].update(offset=None), "lacks its extension, offset, size or xxh3"),
    "extension": (
        lambda row: row["fields"]["words"].update(extension="lab"),
        "the manifest knows words.txt of 'words'",
    ),
    "other name": (lambda row: row["fields"]["words"].update(extension="lab"), "the tar has"),
    "offset": (lambda row: row["fields"]["f0"].update(offset=row["fields"]["f0"]["offset"] + MOVED), "the index at"),
    "size": (lambda row: row["fields"]["f0"].update(size=row["fields"]["f0"]["size"] - 1), "the index says"),
    "offset beyond the tar": (lambda row: row["fields"]["f0"].update(offset=10**12), "should end at byte"),
    "negative offset": (lambda row: row["fields"]["f0"].update(offset=-5), "which are another's"),
    "xxh3": (lambda row: row["fields"]["json"].update(xxh3=12), "its bytes differ"),
    "another's bytes": (
        lambda row: row["fields"]["f0"].update(
            offset=row["fields"]["words"]["offset"], size=row["fields"]["words"]["size"]
        ),
        "words.txt",
    ),
}


@pytest.mark.parametrize("case", ROW_EDITS)
def test_an_edited_row_is_told_by_its_key(dataset, case):
    edit, expected = ROW_EDITS[case]
    key = edit_row(dataset, edit)
    found = verify(dataset.location)
    assert any(shard == dataset.shards[0] and told == key and expected in what for shard, told, what in whats(found)), [
        str(problem) for problem in found.problems
    ]
    assert {problem.shard for problem in found.problems} == {dataset.shards[0]}


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda audio: audio.update(peak=audio["peak"] / 2), "its peak is"),
        (lambda audio: audio.update(loudness_lufs=audio["loudness_lufs"] + 1), "its loudness is"),
        (lambda audio: audio.update(loudness_track=bytes([9]) + audio["loudness_track"][1:]), "at 0.0 s: 9 for"),
        (lambda audio: audio.update(bit_depth=24), "bit_depth is 16, the index says 24"),
    ],
)
def test_what_an_index_claims_of_the_sound_is_told_by_decoding_only(dataset, edit, expected):
    def both(row):
        edit(audio_of(row))
        row.update({name: audio_of(row)[name] for name in ("peak", "loudness_lufs", "bit_depth")})

    key = edit_row(dataset, both)
    assert verify(dataset.location).problems == ()
    found = verify(dataset.location, deep=True)
    assert [(problem.key, problem.member) for problem in found.problems] == [(key, "flac")]
    assert expected in found.problems[0].what


def test_a_seek_table_with_a_wrong_point_is_told_by_decoding(dataset):
    def move(row):
        table = SeekTable.from_bytes(audio_of(row)["seek_table"])
        sizes = table.sizes.values()
        sizes[1:3] += 3, -3
        moved = replace(table, sizes=Column(len(sizes), 0, sizes.astype(np.uint64)))
        audio_of(row)["seek_table"] = moved.to_bytes()

    key = edit_row(dataset, move)
    assert verify(dataset.location).problems == ()
    found = verify(dataset.location, deep=True)
    assert {problem.key for problem in found.problems} == {key}
    assert "where no such frame starts" in found.problems[0].what


def test_a_changed_label_of_the_vocabulary_is_told_by_the_json_member(dataset):
    key = edit_row(dataset, lambda row: row.update(labels=["dog", "emu"]))
    assert verify(dataset.location).problems == ()
    (problem,) = verify(dataset.location, deep=True).problems
    assert (problem.key, problem.member) == (key, "json")
    assert "the index has ['dog', 'emu']" in problem.what


def test_a_removed_row_leaves_members_that_no_row_knows(dataset):
    rows = []
    dataset.edit_index(0, lambda listed: rows.append(listed.pop(1)))
    (row,) = rows
    found = verify(dataset.location)
    assert any("rows, the manifest says" in problem.what for problem in found.problems)
    unknown = {(problem.key, problem.member, problem.offset) for problem in found.problems if problem.key}
    members = [member for member in row["fields"].values() if member is not None]
    assert unknown == {(row["key"], member["extension"], member["offset"]) for member in members}


def test_a_key_that_occurs_twice_is_told_with_its_first_shard(dataset):
    key = dataset.place(0, "audio").key
    edit_row(dataset, lambda row: row.update(key=key), number=1)
    twice = [problem for problem in verify(dataset.location).problems if "already" in problem.what]
    assert [(problem.shard, problem.key) for problem in twice] == [(dataset.shards[1], key)]
    assert dataset.shards[0] in twice[0].what


def test_an_edit_of_the_index_alone_is_told_by_its_hash(dataset):
    shard = dataset.manifest["shards"][0]
    sound = dataset.manifest
    edit_row(dataset, lambda row: row.update(lang="xx"))
    dataset.edit_manifest(lambda manifest: manifest.update(sound))
    (problem,) = verify(dataset.location).problems
    assert problem.shard == shard["path"]
    assert f"index {shard['index']} has the hash" in problem.what


def test_columns_of_another_type_are_told(dataset):
    dataset.edit_manifest(lambda manifest: manifest["columns"].update(take="string", extra="double"))
    found = verify(dataset.location)
    assert {problem.shard for problem in found.problems} == set(dataset.shards)
    assert "column 'take' is int64, string expected" in found.problems[0].what
    assert "column 'extra' is missing, double expected" in found.problems[1].what


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda manifest: manifest["totals"].update(samples=13), "totals: samples is 13, its shards add up to 12"),
        (lambda manifest: manifest["splits"]["val"].update(bytes=1), "split 'val': bytes is 1"),
        (lambda manifest: manifest["totals"].update(duration_s=1.0), "totals: duration_s is 1.0"),
        (lambda manifest: manifest["shards"][0].update(split="trian"), "'trian' is not among the splits"),
        (lambda manifest: manifest["labels"].append("dog"), "label 'dog' is listed twice"),
    ],
)
def test_a_manifest_that_contradicts_itself(dataset, edit, expected):
    dataset.edit_manifest(edit)
    found = verify(dataset.location)
    assert {problem.shard for problem in found.problems} == {None}
    assert any(expected in problem.what for problem in found.problems)


@pytest.mark.parametrize("index", ["train/../other.parquet", "../out/000000.parquet", "/x/000000.parquet"])
def test_a_manifest_whose_index_lies_elsewhere(dataset, index):
    dataset.edit_manifest(lambda manifest: manifest["shards"][1].update(index=index))
    (problem,) = verify(dataset.location).problems
    assert problem.shard is None
    assert "shards.1.index" in problem.what


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda shard: shard.update(bytes=shard["bytes"] + 1), "it has"),
        (lambda shard: shard.update(hash=file_hash(b"")), "its hash is"),
        (lambda shard: shard.update(samples=99), "rows, the manifest says 99"),
        (lambda shard: shard.update(duration_s=99.0), "the manifest says 99.000000 s"),
        (lambda shard: shard.update(path="../other.tar"), "there is no such tar"),
    ],
)
def test_a_manifest_that_contradicts_a_shard(dataset, edit, expected):
    dataset.edit_manifest(lambda manifest: edit(manifest["shards"][1]))
    found = verify(dataset.location)
    path = dataset.shards[1]
    assert {problem.shard for problem in found.problems} <= {path, None}
    assert any(problem.shard == path and expected in problem.what for problem in found.problems)


def test_a_member_that_the_index_does_not_know_is_told_by_its_byte(dataset):
    path = dataset.folder / dataset.shards[0]
    with tarfile.open(path, "a") as archive:
        archive.addfile(tarfile.TarInfo("stray.txt"), io.BytesIO(b""))
    data = path.read_bytes()
    dataset.mend_tar(0)
    found = [problem for problem in verify(dataset.location).problems if problem.shard is not None]
    (problem,) = found
    assert (problem.shard, problem.key, problem.member) == (dataset.shards[0], "stray", "txt")
    assert data[problem.offset - 512 :].startswith(b"stray.txt")


def test_members_of_a_sample_that_lie_apart_are_told(dataset):
    """webdataset would make two samples of them."""
    first, second = dataset.place(0, "words"), dataset.place(1, "words")
    path = dataset.folder / dataset.shards[0]
    data = bytearray(path.read_bytes())
    spans = [slice(place.offset - 512, place.offset + 512) for place in (first, second)]  # one header, one block
    data[spans[0]], data[spans[1]] = data[spans[1]], data[spans[0]]
    path.write_bytes(data)
    dataset.mend_tar(0)

    def swap(rows):
        places = [rows[row]["fields"]["words"] for row in (0, 1)]
        places[0]["offset"], places[1]["offset"] = places[1]["offset"], places[0]["offset"]

    dataset.edit_index(0, swap)
    found = verify(dataset.location)
    apart = [(problem.key, problem.member) for problem in found.problems if "lies apart" in problem.what]
    assert (first.key, first.member) in apart
    assert {member for _, member in apart} >= {"words.txt"}
    assert {problem.shard for problem in found.problems} == {dataset.shards[0]}


def write_tar(path, members):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def flac(number):
    sink = io.BytesIO()
    noise = np.random.default_rng(number).uniform(-0.5, 0.5, 8_000)
    soundfile.write(sink, noise, 8_000, format="FLAC", subtype="PCM_16")
    return sink.getvalue()


@pytest.mark.parametrize("prefix_keys", [False, True])
def test_adopted_tars_are_verified_where_they_lie(tmp_path, prefix_keys):
    tars = tmp_path / "elsewhere"
    tars.mkdir()
    for number in range(2):
        name = f"{0 if prefix_keys else number}"
        members = {
            "README": b"no key, so webdataset passes over it",
            f"{name}.flac": flac(number),
            f"{name}.cls": b"4",
            f"{name}.json": b'{"labels": 3}',
            "x.flac": b"broken",
            "x.cls": b"0",
        }
        write_tar(tars / f"{number}.tar", members)
    options = AdoptOptions(prefix_keys=prefix_keys, on_error="skip", label="cls")
    adopt([locate(tars)], locate(tmp_path / "dataset"), options=options)
    found = verify(locate(tmp_path / "dataset"), deep=True)
    assert found.problems == ()
    assert (found.samples, found.members) == (2, 6)
    path = tars / "1.tar"
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        offset = next(info.offset_data for info in archive if info.name.endswith(".cls"))
    data[offset] ^= 1
    path.write_bytes(data)
    found = verify(locate(tmp_path / "dataset"))
    assert {problem.shard for problem in found.problems} == {str(path)}
    assert {problem.offset for problem in found.problems} == {offset, None}


def test_content_that_cannot_be_read_is_told_by_decoding(tmp_path):
    """Adopted tars hold what they hold: an array of Python objects is listed, but nothing will ever unpickle it."""
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 8_000)
    np.save(tmp_path / "a.hidden.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "a.words.txt").write_bytes(b"\xff\xfe\xfd")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for path in sorted(tmp_path.glob("a.*")):
            archive.add(path, path.name)
    adopt([locate(tmp_path / "x.tar")], locate(tmp_path / "ds"), options=AdoptOptions(workers=1))
    assert verify(locate(tmp_path / "ds")).problems == ()
    found = verify(locate(tmp_path / "ds"), deep=True)
    assert {problem.member for problem in found.problems} == {"hidden.npy", "words.txt"}


def test_an_array_without_rows_for_its_hop_is_told_by_decoding():
    sink = io.BytesIO()
    np.save(sink, np.float32(1))
    assert not list(content_problems("array", {"hop_s": None}, sink.getvalue(), labels=None))
    (what,) = content_problems("array", {"hop_s": 0.01}, sink.getvalue(), labels=None)
    assert "without axes has no rows each 0.01 s" in what
