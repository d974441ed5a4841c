"""Laws of the whole synthetic data set: the same bytes for one seed, and nothing overwritten."""

import pytest

from shardkit.core.errors import InputError, StorageError
from shardkit.synth import SOURCES, BurstsOptions, MusicOptions, TonesOptions, synthesise

SMALL = {
    "tones": TonesOptions(num_steps=1, waves=("sin", "saw"), modes=("pure", "min7"), duration_s=0.1),
    "bursts": BurstsOptions(num_files=2, min_duration_s=1.0, max_duration_s=2.0),
    "music": MusicOptions(num_pieces=2, min_duration_s=2.0, max_duration_s=3.0),
}


def bytes_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    return folder, synthesise(folder, seed=7, **SMALL)


def test_one_seed_gives_the_same_bytes_again(first, tmp_path):
    folder, written = first
    again = synthesise(tmp_path / "new" / "folder", seed=7, **SMALL)
    assert bytes_of(tmp_path / "new" / "folder") == bytes_of(folder)
    assert [each.num_bytes for each in again] == [each.num_bytes for each in written]


def test_another_seed_gives_other_bursts_and_music_but_the_same_tones(first, tmp_path):
    synthesise(tmp_path, seed=8, **SMALL)
    mine, other = bytes_of(first[0]), bytes_of(tmp_path)
    assert mine.keys() == other.keys()
    for path in mine:
        assert (mine[path] == other[path]) == path.startswith("tones/")


def test_what_is_reported_is_what_is_there(first):
    folder, written = first
    assert tuple(each.source for each in written) == SOURCES
    for each in written:
        files = bytes_of(folder / each.source)
        assert each.folder == folder / each.source
        assert each.manifest.is_file()
        assert each.num_files == len(files) - 1
        assert each.num_bytes == sum(map(len, files.values()))


def test_a_source_alone_is_the_same_as_among_others(first, tmp_path):
    synthesise(tmp_path, seed=7, sources=("bursts",), **SMALL)
    assert bytes_of(tmp_path) == {path: data for path, data in bytes_of(first[0]).items() if path.startswith("bursts/")}


def test_scale_multiplies_counts_and_never_reaches_zero(tmp_path):
    tones, bursts = synthesise(tmp_path / "twice", scale=2.0, sources=("tones", "bursts"), **SMALL)
    assert (tones.num_files, bursts.num_files) == (2 * 4 * 2, 4)
    (fewest,) = synthesise(tmp_path / "least", scale=0.001, sources=("bursts",), **SMALL)
    assert fewest.num_files == 1


def test_default_sizes_are_those_the_documentation_names():
    assert TonesOptions().num_steps * len(TonesOptions().waves) * len(TonesOptions().modes) == 180
    assert BurstsOptions().scaled(0.5).num_files == 30
    assert MusicOptions().scaled(0.5).num_pieces == 2


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match=r"holds 'mine\.txt' already"):
        synthesise(tmp_path, **SMALL)
    assert bytes_of(tmp_path) == {"mine.txt": b"keep"}


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "file").write_text("keep")
    with pytest.raises(InputError, match="is a file"):
        synthesise(tmp_path / "file", **SMALL)
    with pytest.raises(InputError, match="is a file"):
        synthesise(tmp_path / "file" / "below", **SMALL)


def test_what_cannot_be_listed_or_written_says_where(tmp_path):
    too_long = tmp_path / ("n" * 300)
    with pytest.raises(StorageError, match="nnn: can't be listed"):
        synthesise(too_long, **SMALL)
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "gone")
    with pytest.raises(StorageError, match=r"dangling/tones/.* can't be written"):
        synthesise(dangling, **SMALL)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sources": ("speech",)}, "choose from tones, bursts, music"),
        ({"sources": ()}, "one or more"),
        ({"sources": ("music", "music")}, "twice"),
        ({"seed": -1}, "seed is -1"),
        ({"scale": 0.0}, "scale is 0"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"scale": 2.0, "tones": TonesOptions(lo_hz=879.99, num_steps=2)}, "fewer steps"),
    ],
)
def test_arguments_that_cannot_be_done_are_refused_before_anything_is_written(tmp_path, wrong, message):
    with pytest.raises(InputError, match=message):
        synthesise(tmp_path / "new", **{**SMALL, **wrong})
    assert not (tmp_path / "new").exists()
