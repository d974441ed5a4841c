"""Groups of folders: every recording of every folder, in an order that is the same everywhere."""

from pathlib import Path

import numpy as np
import pytest

import shardkit as sk
from shardkit.core.errors import InputError

YAML = """
train/AudioDataBalancedSource.sources:
  speech:
    - $VOICES/daps/train
    - vctk/train
  music: ~/music
  wild: wild*/
"""


@pytest.fixture
def disks(tmp_path: Path, sound, monkeypatch) -> Path:
    monkeypatch.setenv("VOICES", str(tmp_path / "voices"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in (
        "voices/daps/train/b.WAV",
        "voices/daps/train/deep/a.flac",
        "vctk/train/b.wav",
        "home/music/" + "x" * 200 + "/" + "y" * 100 + ".Flac",  # [B] paths beyond 256 characters broke batches
        "wild2/owl.wav",
        "wild1/wren.wav",
    ):
        sound(tmp_path / name, 400)
    (tmp_path / "vctk" / "train" / "._b.wav").write_bytes(b"fork")
    (tmp_path / "groups.yaml").write_text(YAML)
    return tmp_path


def test_each_folder_of_each_group_is_packed_in_a_sorted_order(disks, packed) -> None:
    """[B] Later folders of a group overwrote earlier ones, and files came in the order of the directory."""
    dataset, summary = packed(disks / "groups.yaml", "groups", label="group", shuffle=False)
    assert [line.path for line in summary.unpacked] == [str(disks / "vctk" / "train" / "._b.wav")]
    assert list(dataset.keys()) == [
        "music/music/" + "x" * 200 + "/" + "y" * 100,
        "speech/0-train/b",
        "speech/0-train/deep/a",
        "speech/1-train/b",
        "wild/wild1/wren",
        "wild/wild2/owl",
    ]
    assert dataset.labels == ("music", "speech", "wild")
    assert dataset["speech/1-train/b"].metadata["folder"] == str(disks / "vctk" / "train")
    assert not np.array_equal(dataset["speech/0-train/b"].audio, dataset["wild/wild2/owl"].audio)


def test_groups_are_sources_of_a_stream(disks, packed) -> None:
    dataset, _ = packed(disks / "groups.yaml", "groups")
    sources = {name: dataset.where(f"group == '{name}'") for name in ("speech", "music", "wild")}
    stream = sk.Stream(sources, crop=sk.RandomCrop(0.02), batch_size=48, rank=0, world_size=1)
    counts = np.unique(next(iter(stream)).sources, return_counts=True)[1]
    assert counts.tolist() == pytest.approx([16, 16, 16], abs=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speech: [nowhere]", "group 'speech': there is no folder .*nowhere"),
        ("speech: [$NO_SUCH/x]", r"\$NO_SUCH/x': the environment has no variable 'NO_SUCH'"),
        ("speech: [empty]", "group 'speech': no recordings below .*empty"),
        ("speech: []", "group 'speech' has no folders"),
        ("speech: [none*]", r"no folder is named by 'none\*'"),
        ("speech: 3", "group 'speech' is 3; a list of folders"),
        ("speech: [vctk, vctk/train]", "lies in .*vctk and in .*vctk/train"),
        ("[a, b]", r"holds \['a', 'b'\]; names of groups"),
        ("", "holds None; names of groups"),
        ("x: [vctk]\nx: [wild1]", "line 2: 'x' is there twice"),
        ("~nobody-of-this-name: []\nx: [~nobody-of-this-name/x]", "has no folders"),
        ("x: [~nobody-of-this-name/x]", "no home folder of that user"),
        ("x: [shards]", "shards is packed already; name it among the sources of a stream"),
        ("a: [", "groups.yaml: not YAML"),
        ("a: {x: [vctk]}\nb: {x: [vctk]}", "choose one of a, b with --from-option section=NAME"),
    ],
)
def test_what_names_no_recordings_is_refused(disks, packed, text, message) -> None:
    (disks / "empty").mkdir()
    (disks / "shards").mkdir()
    (disks / "shards" / "shardkit.json").write_text("{}")
    (disks / "groups.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        packed(disks / "groups.yaml", "groups")


def test_one_of_several_sections(disks, packed) -> None:
    (disks / "groups.yaml").write_text("train: {x: [vctk]}\nval: {x: [wild1]}\n")
    dataset, _ = packed(disks / "groups.yaml", "groups", importer_options={"section": "val"})
    assert list(dataset.keys()) == ["x/wild1/wren"]
    with pytest.raises(InputError, match="no section 'test'; it has train, val"):
        packed(disks / "groups.yaml", "groups", importer_options={"section": "test"}, output="other")


@pytest.mark.parametrize(
    ("pattern", "keys"),
    [
        ("vctk/*/*.wav", ["x/vctk/train/b"]),
        ("w*/*.wav", ["x/{root}/wild1/wren", "x/{root}/wild2/owl"]),
        ("voices/**/*.flac", ["x/voices/daps/train/deep/a"]),
        ("voices/**", ["x/voices/daps/train/b", "x/voices/daps/train/deep/a"]),
        ("wild[!1]", ["x/wild2/owl"]),
    ],
)
def test_patterns_of_folders_and_of_files(disks, packed, pattern, keys) -> None:
    (disks / "groups.yaml").write_text(f"x: ['{pattern}']")
    dataset, _ = packed(disks / "groups.yaml", "groups", shuffle=False)
    assert list(dataset.keys()) == [key.format(root=disks.name) for key in keys]


def test_files_that_are_no_recordings_are_told(disks, packed) -> None:
    (disks / "wild1" / "notes.txt").write_text("")
    _, summary = packed(disks / "groups.yaml", "groups")
    reasons = {line.path: line.reason for line in summary.unpacked}
    assert reasons[str(disks / "wild1" / "notes.txt")] == "not an audio file by its extension"
    assert len(reasons) == 2
