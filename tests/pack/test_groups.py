"""``--from groups``: which recordings a YAML of groups names, and what is said of one that is wrong."""

import json

import numpy as np
import pytest
import soundfile
import yaml

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate


def record(folder, *paths):
    for number, path in enumerate(paths):
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(place, np.full(800, 0.1 + number / 100), 8000)


@pytest.fixture
def folder(tmp_path):
    record(tmp_path, "a/train/x.wav", "a/train/sub/y.FLAC", "b/train/x.wav", "b/test/x.wav", "c/z 1.5.wav")
    (tmp_path / "a/train/notes.txt").write_text("no audio")
    (tmp_path / "a/train/._x.wav").write_text("left by macOS")
    return tmp_path


def packed(folder, text, encoding="utf-8", **options):
    source = folder / "groups.yaml"
    source.write_bytes((text if isinstance(text, str) else yaml.safe_dump(text, sort_keys=False)).encode(encoding))
    pack(
        locate(source),
        locate(folder / "out"),
        inputs=InputOptions(importer="groups", **options),
        options=PackOptions(workers=1),
    )
    return sk.open(folder / "out")


def rows(dataset):
    table = dataset.table().select(["key", "group", "folder"]).to_pylist()
    return sorted((row["key"], row["group"], row["folder"]) for row in table)


def test_each_recording_is_packed_once_with_its_group_and_folder(folder):
    found = packed(folder, {"speech": ["a/train", str(folder / "b/train/")], "other": "c"})
    assert rows(found) == [
        ("other/c/z 1_5", "other", "c"),
        ("speech/a/train/sub/y", "speech", "a/train"),  # both are called train
        ("speech/a/train/x", "speech", "a/train"),
        ("speech/b/train/x", "speech", "b/train"),
    ]
    reasons = [json.loads(line)["reason"] for line in (folder / "out/report.jsonl").read_text().splitlines()]
    assert sorted(reasons) == ["a hidden file", "not an audio file by its extension"]


@pytest.mark.parametrize(
    ("glob", "keys"),
    [
        ("*/train", ["a/train/sub/y", "a/train/x", "b/train/x"]),
        ("[ab]/t*/x.wav", ["a/train/x", "b/test/x", "b/train/x"]),
        ("**/x.wav", ["a/train/x", "b/test/x", "b/train/x"]),
        ("[!a]/**/?.wav", ["b/test/x", "b/train/x"]),
        ("a/train/*.wav", ["x"]),
    ],
)
def test_globs(folder, glob, keys):
    found = packed(folder, {"g": [glob]})
    label = "train" if glob.startswith("a/") else folder.name
    assert [row[0] for row in rows(found)] == [f"g/{label}/{key}" for key in keys]


def test_variables_and_the_home_folder_are_expanded(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder / "a"))
    monkeypatch.setenv("SPEECH", str(folder / "b"))
    found = packed(folder, {"g": ["~/train", "$SPEECH/train", "${SPEECH}/test"]})
    assert len(found) == 4


@pytest.mark.parametrize("key", ["sources", "train/AudioDataBalancedSource.sources"])
def test_the_groups_may_stand_below_a_key_of_another_programs_file(folder, key):
    found = packed(folder, {"seed": 3, key: {"g": ["c"]}, "val/AudioDataSimpleSource.duration": 5})
    assert [row[1] for row in rows(found)] == ["g"]


def test_of_several_such_keys_one_is_chosen(folder):
    text = {f"{split}/AudioDataSimpleSource.sources": {"g": [place]} for split, place in (("train", "a"), ("val", "c"))}
    with pytest.raises(sk.InputError, match=r"stand under .*; choose: --from-option sources=train/Audio"):
        packed(folder, text)
    found = packed(folder, text, importer_options={"sources": "val/AudioDataSimpleSource.sources"})
    assert [row[2] for row in rows(found)] == ["c"]


def test_groups_are_labels_where_that_is_asked_for(folder):
    assert packed(folder, {"speech": "a", "other": "c"}, label="group").labels == ("other", "speech")


def test_a_file_from_windows(folder):
    assert len(packed(folder, "speech:\r\n  - a\r\n", encoding="utf-8-sig")) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speech: []", r"groups.yaml: group 'speech': it is empty"),
        ("other: c\nspeech:", r"group 'speech': holds None"),
        ("speech: [nowhere]", r"group 'speech': no recordings at 'nowhere' \(.*/nowhere\)"),
        ("speech: [a/train/*.mp3]", r"group 'speech': no recordings at 'a/train/\*.mp3'"),
        ("speech: [$NOT_SET_ANYWHERE/x]", r"group 'speech': .*no variable 'NOT_SET_ANYWHERE'"),
        ("speech: [3]", r"group 'speech': holds 3"),
        ("speech: [a]\nspeech: [c]", r"line 2: 'speech' is there twice"),
        ("speech: [a, a/train]", r"a/train/sub/y.FLAC is in 'a' and in 'a/train'"),
        ("speech: [a, a]", r"is in 'a' and in 'a'"),
        ("[a, c]", r"groups.yaml: holds \['a', 'c'\]"),
        ("", r"groups.yaml: holds None"),
        ("a: [", r"groups.yaml: not YAML"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(folder, text, message):
    with pytest.raises(sk.InputError, match=message) as error:
        packed(folder, text)
    assert "\n" not in str(error.value)
    assert not (folder / "out").exists()


def test_a_packed_dataset_is_no_folder_of_recordings(folder):
    packed(folder, {"g": "c"})
    (folder / "out").rename(folder / "shards")
    with pytest.raises(sk.InputError, match="packed already; name it among the sources of a stream"):
        packed(folder, {"g": "shards"})


def test_a_recording_of_two_groups_is_in_both(folder):
    found = packed(folder, {"one": "c", "two": "c"})
    assert [row[:2] for row in rows(found)] == [("one/c/z 1_5", "one"), ("two/c/z 1_5", "two")]
