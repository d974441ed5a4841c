"""docs/from-audiotree.md runs as it stands, on real recordings."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import soundfile

import shardkit as sk
from shardkit import nn
from tests.migration.pages import DOCS

TEXT = DOCS.joinpath("from-audiotree.md").read_text()


@pytest.fixture
def home(data_dir, tmp_path, monkeypatch):
    """A folder in which the reader's recordings are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RECORDINGS", str(tmp_path / "recordings"))
    for speaker, takes in {"george": 6, "jackson": 2}.items():
        folder = tmp_path / "recordings/digits" / speaker
        folder.mkdir(parents=True)
        for path in sorted(data_dir.glob(f"digits/?_{speaker}_*.wav"))[:takes]:
            (folder / path.name).symlink_to(path)
    (tmp_path / "music/sub").mkdir(parents=True)
    (tmp_path / "music/sub/Apex Aleph.ogg").symlink_to(data_dir / "music/win/Apex Aleph.ogg")
    samples, rate = soundfile.read(data_dir / "music/win/Apex Aleph.ogg", frames=5 * 48_000, dtype="int16")
    for track in ("one", "two"):
        for number, stem in enumerate(("mixture", "drums", *(["vocals"] if track == "one" else []))):
            path = tmp_path / "tracks" / track / f"{stem}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, samples[number * rate :], rate)
    return tmp_path


def test_the_page_runs(home: Path) -> None:
    if find_spec("jax") is None:
        pytest.skip("JAX is not installed")
    # In a process of its own: where JAX was imported, fork() warns, and other tests fork.
    code = (
        "from tests.migration.pages import run_page\n"
        "assert run_page('from-audiotree.md', {})['state']['position'] == 48"
    )
    path = os.pathsep.join([str(DOCS.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert not run.returncode, run.stderr
    assert re.fullmatch(r"(\d+) rows of 1 recordings, \1 of the longest\n", run.stdout)


def test_all_searches_and_fallbacks_are_named_and_no_other():
    hints = get_type_hints(sk.SalientCrop)
    named = set(re.findall(r'search="(\w+)"', TEXT))
    assert named <= set(get_args(hints["search"]))
    assert named >= {"uniform", "bias_early", "loudest"}
    assert set(get_args(hints["fallback"])) == set(re.findall(r'(?:fallback=|`)"(keep|skip|raise)"', TEXT))


def test_the_transforms_are_there():
    table = TEXT.split("## Transforms")[1].split("## What")[0]
    names = [
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`(\w+)\(", row.split("|")[2])
    ]
    assert len(names) == 8
    for name in names:
        assert name in nn.__all__
