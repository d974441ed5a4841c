"""Each section of docs/import.md runs as it stands, with recordings of half a second where it names some."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

TEXT = Path(__file__).resolve().parents[3].joinpath("docs", "import.md").read_text()
BLOCK = re.compile(r"```(\w+)(?: (\S+))?\n(.*?)```", re.DOTALL)
SECTIONS = {
    title: blocks
    for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]
    for title, _, body in [part.partition("\n")]
    if (blocks := BLOCK.findall(body))
}
AUDIO = {
    "Labels": ["in/a.wav", "in/b.wav", "c.wav"],
    "Pairs": ["in/sin200.wav", "out/sin400.wav", "in/sin300.wav", "out/sin600.wav"],
    "Framed features": ["in/song.wav"],
    "spgdataset": ["in/a.wav", "in/b.wav"],
    "AudioSet": ["audio/part00/Y--PJHxphWEs.wav"],
    "Groups of folders": ["vctk/p1/a.wav", "daps/train/b.wav", "jamendo/c.WAV"],
    "Multi-track folders": ["tracks/song 1/mixture.wav", "tracks/song 1/vocals.wav", "tracks/song 2/mixture.wav"],
    "Your own": ["audio/x1.wav"],
}


@pytest.mark.parametrize("title", SECTIONS)
def test_a_section_runs_as_it_stands(title, tmp_path, monkeypatch, sound) -> None:
    monkeypatch.chdir(tmp_path)
    for name in AUDIO[title]:
        sound(tmp_path / "data" / name, 8000, 16000)
    for kind, name, code in SECTIONS[title]:
        if name:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code)
        elif kind == "sh":
            program, *arguments = shlex.split(code)
            assert program == "shardkit"
            where = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
            environment = os.environ | {"PYTHONPATH": where}
            subprocess.run([sys.executable, "-m", "shardkit", *arguments], check=True, env=environment, timeout=120)
        else:
            assert kind == "python"
            exec(code, {})  # noqa: S102  our own documentation
    assert (tmp_path / "shards").is_dir()


def test_no_section_is_left_out() -> None:
    assert list(SECTIONS) == list(AUDIO)
