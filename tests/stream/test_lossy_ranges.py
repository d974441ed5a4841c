"""Lossy members in a dataset: packed or adopted, crops of them are read by byte range and equal a full decode."""

import io
import json
import logging
import pickle
import tarfile
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf

import shardkit as sk
from shardkit.audio.decode import AudioMember, decode
from shardkit.audio.points import PointTable
from shardkit.core.errors import AudioError, FormatError
from shardkit.format.hashing import file_hash
from shardkit.format.index import load_index, setups_of
from shardkit.pack.adopt import AdoptOptions, adopt
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.report.info import describe
from shardkit.report.verify import verify
from shardkit.storage.location import locate
from shardkit.stream.fetch import read_member
from shardkit.stream.piece import AudioPiece
from tests.report.conftest import dump_rows

FILES = {  # name: (seconds, rate, channels, format)
    "a.mp3": (11, 22_050, 2, "MP3"), "b.mp3": (9, 44_100, 1, "MP3"), "short.mp3": (2, 44_100, 1, "MP3"),
    "c.ogg": (12, 22_050, 1, "OGG"), "d.ogg": (10, 22_050, 1, "OGG"), "e.ogg": (8, 48_000, 2, "OGG"),
    "f.opus": (9, 48_000, 1, "OPUS"),
}  # fmt: skip


def write_files(folder):
    for number, (name, (seconds, rate, channels, kind)) in enumerate(FILES.items()):
        chance = np.random.default_rng(number)
        audio = chance.uniform(-0.5, 0.5, (seconds * rate, channels)) * np.linspace(0.1, 1, seconds * rate)[:, None]
        container, subtype = {"MP3": ("MP3", None), "OGG": ("OGG", "VORBIS"), "OPUS": ("OGG", "OPUS")}[kind]
        sf.write(folder / name, audio, rate, format=container, subtype=subtype)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    write_files(folder)
    return folder


@pytest.fixture(scope="module")
def packed(recordings, tmp_path_factory):
    output = tmp_path_factory.mktemp("packed") / "dataset"
    pack(locate(recordings), locate(output), inputs=InputOptions(), options=PackOptions(workers=1, shard_bytes=300_000))
    return output


@pytest.fixture(scope="module")
def adopted(recordings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adopted")
    with tarfile.open(folder / "all.tar", "w") as tar:
        for path in sorted(recordings.iterdir()):
            tar.add(path, path.name)
    adopt([locate(folder / "all.tar")], locate(folder / "dataset"), options=AdoptOptions(workers=1))
    return folder / "dataset"


@pytest.fixture(params=["packed", "adopted"])
def dataset(request):
    return request.getfixturevalue(request.param)


def by_name(opened):
    """Return the row of each recording."""
    return {key.rpartition("/")[2]: row for row, key in enumerate(opened.keys())}


def test_crops_are_slices_and_read_their_bytes_only(dataset, recordings):
    opened = sk.open(dataset)
    catalog = pickle.loads(pickle.dumps(opened.catalog))  # noqa: S301 - as a worker process gets it
    rows = by_name(opened)
    for name, (seconds, rate, _, _) in FILES.items():
        row = rows[name.partition(".")[0]]
        data = read_member(catalog, "audio", row)
        member = catalog.fields["audio"].member(row)
        full = decode(AudioMember(member.facts, len(data)), data, 0, 0, member.facts.frames)
        start, stop = 3 * rate // 2, 5 * rate // 2
        if seconds < 5:
            start, stop = 0, rate
        piece = AudioPiece.of(catalog, "audio", row, start, stop)
        tar = catalog.tar(row).local_path.read_bytes()
        assert piece.value(tar[piece.lo : piece.hi]).tobytes() == full[:, start:stop].tobytes()
        assert member.reads_ranges is (seconds >= 5 and not name.endswith("opus"))
        assert (piece.hi - piece.lo < 0.6 * len(data)) is member.reads_ranges
        crop = opened.read(opened.keys()[row], start_s=start / rate, duration_s=1.0)
        assert np.array_equal(crop.audio, full[:, start:stop])


def test_packing_and_adopting_find_the_same_points(packed, adopted):
    one, other = sk.open(packed), sk.open(adopted)
    rows, others = by_name(one), by_name(other)
    for name in rows:
        tables = [opened.catalog.fields["audio"].entry(row)["seek_table"]
                  for opened, row in ((one, rows[name]), (other, others[name]))]  # fmt: skip
        assert tables[0] == tables[1]
    assert set(one.catalog.setups.values()) == set(other.catalog.setups.values())


def test_a_setup_stands_once_in_each_index(adopted):
    data = (adopted / "train" / "000000.parquet").read_bytes()
    table, note = load_index(data, where="x")
    setups = setups_of(note, where="x")
    keys = [
        PointTable.from_bytes(row["audio"]["seek_table"]).setup
        for row in table.column("fields").to_pylist()
        if row["audio"]["codec"] == "vorbis"
    ]
    assert len(keys) == 3
    assert len(set(keys)) == len(setups) == 2  # c and d were made alike
    assert set(keys) == set(setups)
    assert json.loads(pq.read_metadata(io.BytesIO(data)).metadata[b"shardkit"])["setups"] == note["setups"]


def test_info_says_how_many_read_by_range(dataset):
    codecs = describe(sk.open(dataset))["fields"]["audio"]["codecs"]
    assert codecs == {
        "mp3": {"samples": 3, "range_reads": 2},
        "opus": {"samples": 1, "range_reads": 0},
        "vorbis": {"samples": 3, "range_reads": 3},
    }


def test_verify_finds_nothing_wrong(dataset):
    assert verify(locate(dataset), deep=True).problems == ()


def edited(adopted, tmp_path, edit, note_edit=lambda note: None):
    """Return a copy of the dataset whose index somebody edited and whose hashes he mended."""
    copy = tmp_path / "copy"
    (copy / "train").mkdir(parents=True)
    manifest = json.loads((adopted / "shardkit.json").read_text())
    table, note = load_index((adopted / "train" / "000000.parquet").read_bytes(), where="x")
    rows = table.to_pylist()
    audio = {row["key"]: row["fields"]["audio"] for row in rows}
    edit(audio)
    note_edit(note)
    data = dump_rows(rows, table.schema, note)
    (copy / "train" / "000000.parquet").write_bytes(data)
    manifest["shards"][0]["index_hash"] = file_hash(data)
    (copy / "shardkit.json").write_text(json.dumps(manifest))
    return locate(copy)


def shift(entry, *, samples=0, num_bytes=0):
    table = PointTable.from_bytes(entry["seek_table"])
    table.positions[3] += samples
    table.offsets[3] += num_bytes
    entry["seek_table"] = table.to_bytes()


def skipping(entry):
    """Let a table say that more is skipped than lies before its second point."""
    table = PointTable.from_bytes(entry["seek_table"])
    entry["seek_table"] = replace(table, skip=1 << 20).to_bytes()


SHALLOW = {
    "skips too much": (lambda audio: skipping(audio["a"]), "second point of its seek table is exact from sample -"),
    "cut": (lambda audio: audio["a"].update(seek_table=audio["a"]["seek_table"][:-1]), "seek table can't be read"),
    "of flac": (lambda audio: audio["a"].update(seek_table=b"\1\0"), "version 2 expected"),
    "of opus": (lambda audio: audio["f"].update(seek_table=audio["a"]["seek_table"]), "opus has no seek table"),
    "of mp3": (lambda audio: audio["c"].update(seek_table=audio["a"]["seek_table"]), "is not one of vorbis"),
    "of vorbis": (lambda audio: audio["a"].update(seek_table=audio["c"]["seek_table"]), "is not one of mp3"),
    "past the end": (lambda audio: audio["b"].update(seek_table=audio["a"]["seek_table"]), "its seek table ends at"),
}


@pytest.mark.parametrize("case", SHALLOW)
def test_a_table_that_can_not_be_is_found_without_decoding(adopted, tmp_path, case):
    edit, expected = SHALLOW[case]
    problems = verify(edited(adopted, tmp_path, edit)).problems
    assert any(expected in problem.what for problem in problems), problems
    assert verify(edited(adopted, tmp_path / "again", edit), deep=True).problems


@pytest.mark.parametrize("key", ["a", "c"])
@pytest.mark.parametrize("wrong", [{"samples": 1}, {"num_bytes": 1}])
def test_a_wrong_point_is_found_by_decoding(adopted, tmp_path, key, wrong):
    location = edited(adopted, tmp_path, lambda audio: shift(audio[key], **wrong))
    assert verify(location).problems == ()
    problems = verify(location, deep=True).problems
    assert {problem.key for problem in problems} == {key}
    assert "read by its seek table, differ from those of a full decode" in problems[0].what


def test_a_lost_setup_is_found_and_done_without(adopted, tmp_path, caplog):
    location = edited(adopted, tmp_path, lambda audio: None, lambda note: note.pop("setups"))
    whats = [problem.what for problem in verify(location).problems]
    assert len(whats) == 3
    assert all("which the index lacks" in what for what in whats)
    opened = sk.open(str(location))
    with caplog.at_level(logging.WARNING, logger="shardkit"):
        crop = opened.read("c", start_s=1.0, duration_s=1.0)
    assert "key 'c', member 'ogg' at byte" in caplog.text
    assert "which the index lacks), so the whole member is read; run 'shardkit verify" in caplog.text
    assert np.array_equal(crop.audio, sk.open(adopted).read("c", start_s=1.0, duration_s=1.0).audio)


@pytest.mark.parametrize("setups", [{"00": "!"}, {"00": "AAAA"}, [], {"zz": "AAAA"}, {"00": 5}])
def test_damaged_setups_are_refused(adopted, tmp_path, setups):
    location = edited(adopted, tmp_path, lambda audio: None, lambda note: note.update(setups=setups))
    with pytest.raises(FormatError, match="decoder setup"):
        sk.open(str(location))
    assert any("decoder setup" in problem.what for problem in verify(location).problems)


def test_a_damaged_page_under_a_crop_is_located(packed, tmp_path):
    opened = sk.open(packed)
    row = by_name(opened)["c"]
    piece = AudioPiece.of(opened.catalog, "audio", row, 30_000, 60_000)
    tar = bytearray(opened.catalog.tar(row).local_path.read_bytes())
    tar[(piece.lo + piece.hi) // 2] ^= 16
    with pytest.raises(
        AudioError, match=r"key 'c', member 'ogg' at byte .*: samples 30000 to 60000 at bytes .*checksum"
    ):
        piece.value(bytes(tar[piece.lo : piece.hi]))
