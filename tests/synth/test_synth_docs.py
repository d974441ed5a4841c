"""The way that docs/synth.md shows, from nothing to batches, and that y is x's pair at the same instant."""

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import shardkit as sk
from shardkit.cli.main import main

TEXT = Path(__file__).resolve().parents[2].joinpath("docs", "synth.md").read_text()


@pytest.fixture
def shardkit(monkeypatch, capsys):
    """Return what runs the program as the entry point does, but in this process, and gives back what it printed."""

    def run(*arguments, code=0):
        monkeypatch.setattr(sys, "argv", ["shardkit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert ended.value.code == code, printed
        return printed.err if code else printed.out

    return run


@pytest.fixture
def batch(shardkit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (commands,) = re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL)
    for line in commands.splitlines():
        shardkit(*shlex.split(line)[1:])
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    namespace = {}
    exec(compile(code, "docs/synth.md", "exec"), namespace)  # noqa: S102 - the example is what is tested
    return namespace["batch"]


def test_a_stream_of_the_packed_pairs_gives_x_and_y_of_the_same_instant(batch, tmp_path):
    assert batch.audio.shape == batch.fields["y"].shape == (16, 1, 4000)
    for key, start, x, y in zip(batch.keys, batch.starts, batch.audio, batch.fields["y"], strict=True):
        name = key.removeprefix("in/")
        assert not name.startswith("sin")
        for folder, crop in (("in", x), ("out", y)):
            whole, _ = soundfile.read(tmp_path / "tones" / folder / f"{name}.wav", dtype="float32")
            np.testing.assert_array_equal(crop[0], whole[start : start + 4000])
    found = []
    for split in ("train", "val", "test"):
        table = sk.open(tmp_path / "shards", split=split).table()
        frequencies_hz = set(table.column("frequency_hz").to_pylist())
        assert table.num_rows == len(frequencies_hz) * 60 > 0  # all waves and modes of each
        found += frequencies_hz
        types = [str(table.schema.field(name).type) for name in ("wave", "step", "frequency_hz", "dilation")]
        assert types == ["string", "int64", "double", "double"]
    assert len(found) == len(set(found)) == 8  # no frequency in two splits


def test_every_depth_can_be_packed_as_the_page_says(shardkit, tmp_path):
    few = ("--steps", "1", "--mode", "pure", "--wave", "saw", "--duration", "0.1")
    for depth, options in {"8": (), "24": (), "32": ("--bit-depth", "24"), "float": ("--bit-depth", "24")}.items():
        folder = tmp_path / depth
        shardkit("synth", folder, "--kind", "pairs", *few, "--bit-depth", depth)
        shardkit("pack", folder / "pairs.csv", f"{folder}.shards", "--path", "x", "--field", "y=y", *options)
        (made,) = sk.open(f"{folder}.shards").keys()
        whole, _ = soundfile.read(folder / f"{made}.wav", dtype="float32")
        np.testing.assert_allclose(sk.open(f"{folder}.shards")[made].audio[0], whole, rtol=0.0, atol=2.0**-24)


def test_the_command_tells_what_it_wrote_left_out_or_refuses(shardkit, tmp_path):
    options = ("--kind", "labels", "--steps", "2", "--hi-hz", "5000", "--wave", "sin", "--duration", "0.01")
    assert "leave out oct, maj6" in shardkit("synth", tmp_path / "a", *options, *MODES_GIVEN, code=2)
    assert not (tmp_path / "a").exists()
    text = shardkit("synth", tmp_path / "a", *options, *MODES_GIVEN, "--too-high", "skip")
    assert "labels: 6 files" in text
    assert "left out: 2 rows with voices at or above 8000 Hz, half the sample rate (oct 1, maj6 1)" in text
    facts = json.loads(shardkit("synth", tmp_path / "b", "--kind", "framed", "--files", "1", "--json"))
    assert (facts["kind"], facts["num_files"], facts["num_rows"]) == ("framed", 1, 1)
    assert Path(facts["manifest"]).is_file()
    for wrong, message in {
        ("--dilation", "3"): "--dilation means nothing to --kind framed; leave it out, or take --kind pairs",
        ("--scale", "2"): "--scale means nothing to --kind framed; leave it out, or take --kind demo",
        ("--wave", "sine"): "waves has 'sine'; choose from sin, square, saw, triangle",
        ("--files", "0"): "num_files is 0; ask for at least 1",
        ("--workers", "0"): "workers is 0",
    }.items():
        line = shardkit("synth", tmp_path / "c", "--kind", "framed", *wrong, code=2)
        assert message in line
        assert line.count("\n") == 1
    assert "--steps means nothing to --kind demo; leave it out, or take --kind pairs or labels or framed" in shardkit(
        "synth", tmp_path / "c", "--steps", "2", code=2
    )


MODES_GIVEN = ("--mode", "pure", "--mode", "oct", "--mode", "per4", "--mode", "maj6")
