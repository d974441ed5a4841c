"""The bench of packing runs what it says, and what it compares is the same work."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import tools.bench.packing as bench
from tools.bench.packing_parts import parts


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder as ``make_recordings`` makes it, of a few recordings."""
    rng = np.random.default_rng(0)
    for kind, count, frames, rate in (("music", 2, 96_000, 48_000), ("digits", 40, 3_000, 8_000)):
        folder = tmp_path / "bench" / "input" / kind
        folder.mkdir(parents=True)
        for i in range(count):
            soundfile.write(folder / f"{i}.wav", rng.normal(0, 0.1, frames), rate, subtype="PCM_16")
    return tmp_path / "bench" / "input"


def test_recordings_are_cut_and_copied_once(source: Path, tmp_path: Path) -> None:
    music = tmp_path / "music"
    music.mkdir()
    soundfile.write(music / "a.ogg", np.zeros((25 * 8000, 2)), 8000, format="OGG", subtype="VORBIS")
    made = bench.make_recordings(tmp_path / "new" / "input", music, source / "digits")
    assert [soundfile.info(path).frames for path in sorted((made / "music").iterdir())] == [80_000, 80_000]
    assert len(list((made / "digits").iterdir())) == 40
    assert bench.make_recordings(made, tmp_path / "not there", tmp_path / "not there") == made


def test_each_system_and_each_part_has_its_line(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["packing", str(source.parent), "--rounds", "1"])
    bench.main()
    printed = capsys.readouterr().out
    for line in ("encoder alone, 2 processes", "shardkit pack --workers 2", "start of Python", "42 recordings"):
        assert line in printed
    assert not (source.parent / "packed").exists()


def test_parts_add_up_to_no_more_than_the_whole(source: Path) -> None:
    rows = {row[0]: [float(cell) for cell in row[1:]] for row in parts(source, 3).rows}
    whole = rows.pop("all")
    assert {"read", "encode", "loudness", "seek table", "index"} <= rows.keys()
    assert sum(row[2] for row in rows.values()) < 130
    assert whole[0] > whole[1] > 0
