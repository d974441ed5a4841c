"""Folders and manifests become inputs; what can't be is refused with the line."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from shardkit.core.errors import InputError, StorageError
from shardkit.pack.inputs import InputOptions, PackInput, read_inputs
from shardkit.storage.location import locate


def wav(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(80, dtype=np.int16), 8000)
    return path


def inputs_of(source: Path, **options: object) -> list[PackInput]:
    return read_inputs(locate(source), InputOptions(**options))[0]


def test_a_folder_is_walked_and_labelled_by_the_parent_folder(tmp_path: Path) -> None:
    wav(tmp_path / "dog" / "a.1.wav")
    wav(tmp_path / "cat" / "deep" / "b b.WAV")
    (tmp_path / "README").write_text("x")
    found, unpacked, _ = read_inputs(locate(tmp_path), InputOptions(label="folder"))
    assert [(item.key, item.labels, item.metadata) for item in found] == [
        ("cat/deep/b b", ("deep",), {"path": "cat/deep/b b.WAV"}),
        ("dog/a_1", ("dog",), {"path": "dog/a.1.wav"}),
    ]
    assert [(line.path, line.reason) for line in unpacked] == [("README", "not an audio file by its extension")]


def test_hidden_and_unprintable_names_are_reported_not_packed(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav")
    (tmp_path / "._a.wav").write_bytes(b"resource fork")
    (tmp_path / os.fsdecode(b"\xff.wav")).write_bytes(b"")
    found, unpacked, _ = read_inputs(locate(tmp_path), InputOptions())
    assert [item.key for item in found] == ["a"]
    assert {line.path: line.reason for line in unpacked} == {
        "._a.wav": "a hidden file",
        "?.wav": "its name is not UTF-8; rename it",
    }


ROWS = [
    {"path": "a.wav", "speaker": "007", "age": 31, "score": 0.5, "native": True, "label": "x"},
    {"path": "b.wav", "speaker": "12", "age": None, "score": 2.0, "native": False, "label": "y"},
]


def write_manifest(folder: Path, kind: str) -> Path:
    path = folder / f"manifest.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        cells = [list(ROWS[0])] + [["" if v is None else str(v) for v in row.values()] for row in ROWS]
        path.write_text("".join({"csv": ",", "tsv": "\t"}[kind].join(line) + "\n" for line in cells))
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_every_manifest_format_gives_the_same_typed_columns(tmp_path: Path, kind: str) -> None:
    wav(tmp_path / "a.wav")
    wav(tmp_path / "b.wav")
    found = inputs_of(write_manifest(tmp_path, kind), label="label")
    assert [dict(item.metadata) for item in found] == ROWS  # 007 stays text
    assert [(item.key, item.labels, item.size) for item in found] == [("a", ("x",), 204), ("b", ("y",), 204)]


def test_reserved_columns_are_kept_under_another_name(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav")
    (tmp_path / "m.csv").write_text("path,key,duration_s\na.wav,C major,2.5\n")
    (item,) = inputs_of(tmp_path / "m.csv")
    assert dict(item.metadata) == {"path": "a.wav", "input_key": "C major", "input_duration_s": 2.5}
    assert item.key == "a"


def test_keys_labels_intervals_and_members_come_from_the_columns_named(tmp_path: Path) -> None:
    wav(tmp_path / "x" / "a.wav")
    wav(tmp_path / "y" / "t.wav")
    row = {"file": "x/a.wav", "id": "s/1", "tags": ["dog", "bark"], "to": "y/t.wav", "intervals": [["bark", 0, 0.005]]}
    (tmp_path / "m.jsonl").write_text(json.dumps(row))
    (item,) = inputs_of(
        tmp_path / "m.jsonl", path_column="file", key_column="id", label="tags", members={"target": "to"}
    )
    assert (item.key, item.labels, item.intervals) == ("s/1", ("dog", "bark"), (("bark", 0.0, 0.005),))
    assert {name: str(place) for name, place in item.members.items()} == {"target": str(tmp_path / "y" / "t.wav")}


def test_text_stays_what_was_written(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav")
    wav(tmp_path / "b.wav")
    (tmp_path / "m.csv").write_text("path,label,id,sha\na.wav,true,1234567890123456789,1234e567\nb.wav,false,2,5\n")
    found = inputs_of(tmp_path / "m.csv", label="label")
    assert [item.labels for item in found] == [("true",), ("false",)]
    assert [item.metadata["id"] for item in found] == [1234567890123456789, 2]
    assert [item.metadata["sha"] for item in found] == ["1234e567", "5"]


def test_odd_but_valid_manifests(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav")
    intervals = [["x", i / 1000, i / 1000 + 0.001] for i in range(9)] * 1500
    row = {"path": "a.wav", "text": "one\u2028line", "labels": ["dog", None], "intervals": intervals}
    (tmp_path / "m.jsonl").write_text(json.dumps(row, ensure_ascii=False))
    (item,) = inputs_of(tmp_path / "m.jsonl", label="labels")
    assert (item.metadata["text"], item.labels, len(item.intervals)) == ("one\u2028line", ("dog",), 13500)
    cell = json.dumps(intervals).replace('"', '""')
    (tmp_path / "m.csv").write_text(f'path,intervals\na.wav,"{cell}"\n')
    assert len(inputs_of(tmp_path / "m.csv")[0].intervals) == 13500


@pytest.mark.parametrize("kind", ["csv", "tsv"])
@pytest.mark.parametrize("cell", ['"x', '"x" y', '"5" nail'])
def test_a_quote_that_is_not_closed_is_refused_and_swallows_no_row(tmp_path: Path, kind: str, cell: str) -> None:
    wav(tmp_path / "a.wav")
    wav(tmp_path / "b.wav")
    sign = {"csv": ",", "tsv": "\t"}[kind]
    lines = ["path,note", 'a.wav,"two\nlines"', f"a.wav,{cell}", "b.wav,y"]
    (tmp_path / f"m.{kind}").write_text("\n".join(lines).replace(",", sign) + "\n")
    with pytest.raises(InputError, match=rf"m\.{kind}:4: .*begins with a quote and does not end with one"):
        inputs_of(tmp_path / f"m.{kind}")


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_quote_inside_a_cell_is_a_character(tmp_path: Path, kind: str) -> None:
    wav(tmp_path / "a.wav")
    sign = {"csv": ",", "tsv": "\t"}[kind]
    (tmp_path / f"m.{kind}").write_text('path,x,y,z\na.wav,5" nail,"say ""so""",\n'.replace(",", sign))
    (item,) = inputs_of(tmp_path / f"m.{kind}")
    assert dict(item.metadata) == {"path": "a.wav", "x": '5" nail', "y": 'say "so"', "z": None}


DEEP = "[" * 40 + "1" + "]" * 40

BAD_LINES = [
    ('{"intervals": 5}', "intervals are 5; write"),
    ('{"intervals": [["a", 0, 1e400]]}', "interval .*before stop"),
    ('{"intervals": [[{"a": 1}, 0, 1]]}', "column 'intervals' holds a dict: .* text or a whole number is needed"),
    ('{"name": "\\ud800"}', "'name' holds half of a surrogate pair"),
    ('{"name": ["a", {"b": "\\udfff"}]}', "'name' holds half of a surrogate pair"),
    ('{"\\ud800": 1}', r"'\\ud800' holds half of a surrogate pair"),
    ('{"a": {"\\ud800": 1}}', "'a' holds half of a surrogate pair"),
    ('{"key": "x", "input_key": "y"}', "would both be kept as 'input_key'"),
    ('{"a": 1, "b": 2, "a": 3}', r"m\.jsonl:1: an object names 'a' twice"),
    ('{"a": [{"b": 1, "b": 1}]}', r"m\.jsonl:1: an object names 'b' twice"),
    (f'{{"a": {DEEP}}}', r"m\.jsonl:1: 'a' is nested more than 32 deep"),
    (f'{{"a": {"[" * 100_000}}}', r"m\.jsonl:1: JSON nested more than 32 deep"),
    ('{"to": 5}', r"m\.jsonl:1: column 'to' holds 5; it must name a file"),
    ('{"path": ["a.wav"]}', r"m\.jsonl:1: column 'path' holds \['a\.wav'\]; it must name a file"),
]


@pytest.mark.parametrize(("line", "message"), BAD_LINES)
def test_rows_that_can_not_be(tmp_path: Path, line: str, message: str) -> None:
    wav(tmp_path / "a.wav")
    content = line if '"path"' in line else line.replace("{", '{"path": "a.wav", ', 1)
    (tmp_path / "m.jsonl").write_text(content)
    with pytest.raises(InputError, match=message):
        inputs_of(tmp_path / "m.jsonl", members={"to": "to"} if '"to"' in line else {})


NO_NAMES = [{"a": 1}, 0.5, [["a"]], {}]


@pytest.mark.parametrize("value", NO_NAMES)
@pytest.mark.parametrize("option", ["label", "key_column", "split_column"])
def test_what_would_be_spelt_as_python_does_is_no_name(tmp_path: Path, value: object, option: str) -> None:
    wav(tmp_path / "a.wav")
    (tmp_path / "m.jsonl").write_text(json.dumps({"path": "a.wav", "c": value}))
    with pytest.raises(InputError, match=r"m\.jsonl:1: column 'c' holds a (dict|float|list): .* whole number"):
        inputs_of(tmp_path / "m.jsonl", **{option: "c"})


def test_whole_numbers_and_truths_are_names_as_json_writes_them(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav")
    wav(tmp_path / "b.wav")
    rows = [{"path": "a.wav", "c": 0, "d": [True, 7, None]}, {"path": "b.wav", "c": 12, "d": False}]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = inputs_of(tmp_path / "m.jsonl", key_column="c", label="d")
    assert [(item.key, item.labels) for item in found] == [("0", ("true", "7")), ("12", ("false",))]


def test_binary_is_no_label(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav")
    pq.write_table(pa.table({"path": ["a.wav"], "c": [b"dog"]}), tmp_path / "m.parquet")
    with pytest.raises(
        InputError, match=r"row 1 \(counted from 1\): column 'c' holds a bytes: b'dog'; text or a whole"
    ):
        inputs_of(tmp_path / "m.parquet", label="c")


PARQUET_FAULTS = {
    "nanoseconds": (pa.array([1_001], pa.timestamp("ns")), r"m\.parquet: column 'x' can't be kept .*round them"),
    "far future": (pa.array([None, 2**40], pa.timestamp("s")), r"row 2 .*column 'x' .*outside the years 1 to 9999"),
    "far date": (pa.array([2**30], pa.date32()), r"row 1 .*column 'x' holds a date32.*outside the years"),
    "long time": (pa.array([2**62], pa.duration("s")), r"row 1 .*column 'x' .*it is too long"),
}


@pytest.mark.parametrize("fault", PARQUET_FAULTS)
def test_parquet_values_that_can_not_be_read_back_are_refused(tmp_path: Path, fault: str) -> None:
    column, message = PARQUET_FAULTS[fault]
    wav(tmp_path / "a.wav")
    pq.write_table(pa.table({"path": ["a.wav"] * len(column), "x": column}), tmp_path / "m.parquet")
    with pytest.raises(InputError, match=message):
        inputs_of(tmp_path / "m.parquet")


def test_two_parquet_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.table([pa.array(["a.wav"]), pa.array([1]), pa.array([2])], names=["path", "n", "n"])
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(InputError, match=r"m\.parquet: two columns are called 'n'"):
        inputs_of(tmp_path / "m.parquet")


PATHS = {
    ".": (StorageError, "it is a folder, not a file"),
    "sub/": (StorageError, "it is a folder, not a file"),
    "http://127.0.0.1:9/a.wav": (StorageError, "can't connect to 127.0.0.1:9"),
    "odd://x/a.wav": (InputError, "odd://: unknown protocol"),
    "a\0.wav": (InputError, "NUL character"),
    "/a\0.wav": (InputError, "names no file or folder"),
    "../" * 40 + "a.wav": (InputError, "leads out of it"),
    "pipe.wav": (StorageError, "a pipe, a socket or a device"),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("column", ["path", "to"])
def test_a_path_at_fault_is_told_with_its_row_and_keeps_its_class(tmp_path: Path, path: str, column: str) -> None:
    wav(tmp_path / "a.wav")
    (tmp_path / "sub").mkdir()
    os.mkfifo(tmp_path / "pipe.wav")
    rows = [{"path": "a.wav", "to": "a.wav"}, {"path": "a.wav", "to": "a.wav"} | {column: path}]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    error, message = PATHS[path]
    with pytest.raises(error, match=rf"m\.jsonl:2: .*{message}"):
        inputs_of(tmp_path / "m.jsonl", members={"to": "to"})


def test_options_that_would_be_passed_over_are_refused(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav")
    (tmp_path / "m.csv").write_text("path,label\na.wav,x\n")
    with pytest.raises(InputError, match="no column 'nope'; it has 'path', 'label'"):
        inputs_of(tmp_path / "m.csv", intervals_column="nope")
    with pytest.raises(InputError, match="no column 'intervals'"):
        inputs_of(tmp_path / "m.csv", intervals_column="intervals")
    for separator, label in ((";", None), ("", "label")):
        with pytest.raises(InputError, match="a label separator needs"):
            InputOptions(label_separator=separator, label=label)
    for flag, option in {
        "--path": {"path_column": "file"},
        "--intervals": {"intervals_column": "sung"},
        "--label-separator": {"label_separator": ";", "label": "folder"},
        "--field": {"members": {"to": "to"}},
        "--label": {"label": "speaker"},
    }.items():
        with pytest.raises(InputError, match=f"{flag} is for manifests"):
            inputs_of(tmp_path, **option)
    with pytest.raises(InputError, match="--split train names a column, .* fractions such as train=1"):
        inputs_of(tmp_path, split_column="train")


@pytest.mark.parametrize("key", ["", "/a", "a/", "a/../b", "a.b", "./a/b", "a//b", "a/./b", "a\0b", "a" * 1025])
def test_keys_that_webdataset_would_not_read_are_refused(tmp_path: Path, key: str) -> None:
    wav(tmp_path / "a.wav")
    (tmp_path / "m.jsonl").write_text(json.dumps({"path": "a.wav", "id": key}))
    with pytest.raises(InputError, match=r"m\.jsonl:1: .* can't be a key"):
        inputs_of(tmp_path / "m.jsonl", key_column="id")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,label\na.wav,x\n", r"no column 'path'; it has 'file', 'label'"),
        ("path;label\na.wav;x\n", "the header is one cell, 'path;label', with ';' in it.*save it with commas"),
        ("path\tlabel\na.wav\tx,y\n", "the header is one cell, .*name it .tsv"),
        ("path,label\n", "no rows to pack"),
        ("path,label\n,x\n", r"m\.csv:2: column 'path' holds None; it must name a file"),
        ("path,label\nmissing.wav,x\n", r"m\.csv:2: no file at .*missing\.wav; mend the path"),
        ("path,label\na.wav,x\na.wav,y\n", r"m\.csv:3: 'a\.wav' and 'a\.wav' .*share the key 'a'"),
        ("path,label\na.wav\n", r"m\.csv:2: 1 cells, the header has 2"),
        ("path,path\na.wav,a.wav\n", "the header names 'path' twice"),
        ("path,intervals\na.wav,nonsense\n", r"m\.csv:2: intervals are not JSON"),
        ('path,intervals\na.wav,"[[""x"", 2, 1]]"\n', r"m\.csv:2: interval .*start must be at least 0 and before stop"),
    ],
)
def test_a_bad_manifest_is_refused_with_the_line(tmp_path: Path, content: str, message: str) -> None:
    wav(tmp_path / "a.wav")
    (tmp_path / "m.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        inputs_of(tmp_path / "m.csv", label="label" if "label" in content else None)


def test_what_is_no_input_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no audio files"):
        inputs_of(tmp_path / "empty")
    with pytest.raises(InputError, match="no such folder or manifest"):
        inputs_of(tmp_path / "nowhere")
    (tmp_path / "empty" / "shardkit.json").write_text("{}")
    for place in (tmp_path / "empty", tmp_path / "empty" / "shardkit.json"):
        with pytest.raises(InputError, match="dataset.*to pack it anew, 'shardkit export' it first"):
            inputs_of(place)
    with pytest.raises(InputError, match="did you mean 'speaker'"):
        wav(tmp_path / "a.wav")
        (tmp_path / "m.csv").write_text("path,speaker\na.wav,x\n")
        inputs_of(tmp_path / "m.csv", label="speakr")
