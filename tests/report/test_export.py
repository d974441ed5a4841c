"""Exported files are the members byte for byte, and packing them again gives the same samples."""

import datetime
import decimal
import json
import shlex
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from typer.testing import CliRunner

from shardkit.cli.main import app
from shardkit.core.errors import CorruptDataError, FormatError, InputError
from shardkit.report.export import MANIFEST_NAME, export
from shardkit.stream.dataset import open_dataset


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def members_of(dataset):
    """Return name and bytes of every member, as tarfile reads them."""
    found = {}
    for path in dataset.rglob("*.tar"):
        with tarfile.open(path) as archive:
            found |= {info.name: archive.extractfile(info).read() for info in archive}
    return found


def test_files_are_the_members_byte_for_byte(packed, tmp_path):
    steps = []
    summary = export(open_dataset(packed), tmp_path / "files", progress=lambda *step: steps.append(step))
    files, members = files_of(tmp_path / "files"), members_of(packed)
    assert {name: data for name, data in files.items() if name != MANIFEST_NAME} == members
    assert (summary.samples, summary.files, summary.bytes) == (12, len(members), sum(map(len, members.values())))
    assert steps == sorted(steps)
    assert steps[-1] == (summary.bytes, summary.bytes)


def test_a_view_writes_its_samples_only(packed, tmp_path):
    view = open_dataset(packed, "train").where("lang == 'en'")
    summary = export(view, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / MANIFEST_NAME).read_text().splitlines()]
    assert [line["key"] for line in lines] == view.keys()
    assert {name.partition(".")[0] for name in files_of(tmp_path)} == {*view.keys(), "manifest"}
    assert "--split" not in summary.pack_options


def test_packing_it_again_as_told_gives_the_same_samples(packed, tmp_path):
    original = open_dataset(packed)
    summary = export(original, tmp_path / "files")
    command = ["pack", str(summary.manifest), str(tmp_path / "again"), "--workers", "1", *summary.pack_options]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    again = open_dataset(tmp_path / "again")
    assert sorted(again.keys()) == sorted(original.keys())
    assert again.manifest.splits.keys() == original.manifest.splits.keys()
    for split in original.manifest.splits:
        assert sorted(open_dataset(tmp_path / "again", split).keys()) == sorted(open_dataset(packed, split).keys())
    for sample in original:
        copy = again[sample.key]
        assert np.array_equal(copy.audio, sample.audio)
        assert (copy.sample_rate, copy.labels, copy.intervals) == (sample.sample_rate, sample.labels, sample.intervals)
        assert copy.metadata["source_path"] == sample.metadata["path"]
        assert {name: copy.metadata[name] for name in sample.metadata if name != "path"} == {
            name: value for name, value in sample.metadata.items() if name != "path"
        }
        assert copy.fields.keys() == sample.fields.keys()
        assert np.array_equal(copy.fields["f0"], sample.fields["f0"])
        assert copy.fields["words"] == sample.fields["words"]
        crops = [view.read(sample.key, start_s=0.5, duration_s=0.3).fields["f0"] for view in (original, again)]
        assert len(crops[0]) == 30
        assert np.array_equal(*crops)
    stored = members_of(packed)
    for name, data in members_of(tmp_path / "again").items():
        if not name.endswith(".json"):
            assert stored[name] == data


def test_a_column_that_is_in_the_way_keeps_its_values_under_another_name(packed, tmp_path):
    """Exporting an export again must not lose where the recordings came from first."""
    summary = export(open_dataset(packed).take(3), tmp_path / "files")
    command = ["pack", str(summary.manifest), str(tmp_path / "again"), *summary.pack_options]
    assert CliRunner().invoke(app, [*command, "--workers", "1"]).exit_code == 0
    twice = export(open_dataset(tmp_path / "again"), tmp_path / "twice")
    (line, *_) = [json.loads(text) for text in twice.manifest.read_text().splitlines()]
    first = {json.loads(text)["key"]: json.loads(text) for text in summary.manifest.read_text().splitlines()}
    assert line["source_path"] == first[line["key"]]["source_path"]
    assert line["source_source_path"] == first[line["key"]]["path"]


def test_a_folder_that_holds_something_is_refused(packed, tmp_path):
    (tmp_path / "note").write_text("mine")
    with pytest.raises(InputError, match="not empty, it holds 'note'"):
        export(open_dataset(packed), tmp_path)
    with pytest.raises(InputError, match="is a file"):
        export(open_dataset(packed), tmp_path / "note")
    assert files_of(tmp_path) == {"note": b"mine"}


@pytest.mark.parametrize("key", ["../evil", "/evil", "a/../../evil", "evil\0", "win/../evil"])
def test_a_key_that_is_no_path_below_the_folder_is_refused_before_anything_is_written(dataset, tmp_path, key):
    dataset.edit_index(0, lambda rows: rows[0].update(key=key))
    inside = tmp_path / "a" / "b"
    with pytest.raises(FormatError, match=r"\.tar: key .*nothing was written"):
        export(open_dataset(dataset.folder), inside)
    assert not inside.exists()
    assert not any("evil" in path.name for path in tmp_path.parent.rglob("*"))


def test_an_extension_that_leads_out_of_the_folder_is_refused(dataset, tmp_path):
    dataset.edit_index(0, lambda rows: rows[0]["fields"]["words"].update(extension="/../../../evil.txt"))
    with pytest.raises(FormatError, match="is not a path below a folder"):
        export(open_dataset(dataset.folder), tmp_path / "a" / "b" / "c")


@pytest.mark.parametrize("other", ["same", "below", "manifest"])
def test_two_members_that_would_be_one_file_are_refused(dataset, tmp_path, other):
    def clash(rows):
        rows[1]["key"] = {
            "same": rows[0]["key"],
            "below": f"{rows[0]['key']}.flac/x",
            "manifest": "manifest",
        }[other]
        if other == "manifest":
            rows[1]["fields"]["words"]["extension"] = "jsonl"

    dataset.edit_index(0, clash)
    with pytest.raises(FormatError, match="nothing was written"):
        export(open_dataset(dataset.folder), tmp_path / "files")


def test_a_damaged_member_is_an_error_that_says_where(dataset, tmp_path):
    place = dataset.place(4, "audio")
    dataset.flip(place.shard, place.offset + 40)
    with pytest.raises(CorruptDataError, match=f"{place.key}.*byte {place.offset:,}"):
        export(open_dataset(dataset.folder), tmp_path / "files")
    assert not (tmp_path / "files" / MANIFEST_NAME).exists()


@pytest.mark.parametrize(
    ("key", "stem"), [("./a/b", "a/b"), ("a//b", "a/b"), ("a/./b", "a/b"), ("x" * 300, None), ("ü" * 200 + "/a", None)]
)
def test_a_key_that_no_file_could_have_is_exported_under_a_name_like_it(dataset, tmp_path, key, stem):
    dataset.edit_index(0, lambda rows: rows[0].update(key=key))
    summary = export(open_dataset(dataset.folder), tmp_path / "files")
    lines = [json.loads(text) for text in summary.manifest.read_text().splitlines()]
    (line,) = [line for line in lines if line["key"] == (stem or key)]
    assert (tmp_path / "files" / line["path"]).read_bytes()[:4] == b"fLaC"
    if stem is None:
        assert max(len(part.encode()) for part in line["path"].split("/")) <= 255
        assert line["path"].endswith(".flac")
    else:
        assert line["path"] == f"{stem}.flac"
    command = ["pack", str(summary.manifest), str(tmp_path / "again"), "--workers", "1", *summary.pack_options]
    assert CliRunner().invoke(app, command).exit_code == 0
    original, again = open_dataset(dataset.folder)[key], open_dataset(tmp_path / "again")[stem or key]
    assert np.array_equal(original.audio, again.audio)
    assert np.array_equal(original.fields["f0"], again.fields["f0"])


TYPED = {
    "day": pa.array([datetime.date(2024, 2, 29), None]),
    "price": pa.array([decimal.Decimal("1.10"), None]),
    "hash": pa.array([b"\xff\x00", b""]),
    "at": pa.array([datetime.datetime(2024, 2, 29, tzinfo=datetime.UTC), None]),
    "gain": pa.array([0.1, 0.2], pa.float32()),
    "empty": pa.array([None, None], pa.int64()),
    "tags": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
    "name": pa.array(["x", "y"]),
}


def test_columns_that_json_has_no_type_for_come_back_as_they_were(tmp_path):
    for name in ("a b", "c"):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(800, np.int16), 8000)
    np.save(tmp_path / "x.npy", np.zeros(10))
    own = {"path": ["a b.wav", "c.wav"], "intervals": [[["i 1", 0.0, 0.05]], None], "x": ["x.npy", "x.npy"]}
    own["intervals"] = [value and json.dumps(value) for value in own["intervals"]]
    pq.write_table(pa.table(own | TYPED), tmp_path / "m.parquet")
    command = ["pack", str(tmp_path / "m.parquet"), str(tmp_path / "once"), "--workers", "1"]
    assert CliRunner().invoke(app, [*command, "--field", "x=x", "--hop", "x=0.01"]).exit_code == 0
    once = open_dataset(tmp_path / "once")
    summary = export(once, tmp_path / "plain files")
    assert summary.manifest.name == "manifest.parquet"
    shown = str(summary).partition("to pack it again: shardkit ")[2]
    assert f"'{tmp_path}/plain files/manifest.parquet'" in shown
    command = [str(tmp_path / "again") if part == "OUTPUT" else part for part in shlex.split(shown)]
    result = CliRunner().invoke(app, [*command, "--workers", "1"])
    assert result.exit_code == 0, result.output
    again = open_dataset(tmp_path / "again")
    assert {name: again.manifest.columns[name] for name in TYPED} == {
        name: once.manifest.columns[name] for name in TYPED
    }
    for sample in once:
        copy = again[sample.key]
        assert {name: copy.metadata[name] for name in TYPED} == {name: sample.metadata[name] for name in TYPED}
        assert (copy.intervals, list(copy.fields["x"])) == (sample.intervals, [0.0] * 10)


def test_a_view_without_samples_is_refused(packed, tmp_path):
    with pytest.raises(InputError, match="no samples to export"):
        export(open_dataset(packed).where("take > 1000"), tmp_path / "files")
    assert not (tmp_path / "files").exists()
