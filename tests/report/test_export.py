"""Exported files are the members byte for byte, and packing them again gives the same samples."""

import json
import tarfile

import numpy as np
import pytest
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
    assert "--split" not in " ".join(summary.pack_options)


def test_packing_it_again_as_told_gives_the_same_samples(packed, tmp_path):
    original = open_dataset(packed)
    summary = export(original, tmp_path / "files")
    arguments = " ".join(summary.pack_options).split()
    command = ["pack", str(summary.manifest), str(tmp_path / "again"), "--workers", "1", *arguments]
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
    command = ["pack", str(summary.manifest), str(tmp_path / "again"), *" ".join(summary.pack_options).split()]
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


@pytest.mark.parametrize("key", ["../evil", "/evil", "a/../../evil", "a//evil", "./evil", "evil\0", "win/../evil"])
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
