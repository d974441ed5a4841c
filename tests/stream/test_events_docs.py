"""docs/events.md runs from its first line to its last, in one folder."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

import shardkit as sk

TEXT = Path(__file__).resolve().parents[2].joinpath("docs", "events.md").read_text()
BLOCK = re.compile(r"```(\w+)(?: (\S+))?\n(.*?)```", re.DOTALL)


def test_the_page_runs_as_it_stands(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(["Y--PJHxphWEs", "Yb_RFK-bpFJA", "Y-_a_bc-d_ef", "YZZZZZZZZZZZ"]):
        path = tmp_path / "data" / "audio" / f"part{i:02d}" / f"{name}.wav"
        path.parent.mkdir(parents=True)
        soundfile.write(path, np.random.default_rng(i).integers(-9000, 9000, 80_000, dtype=np.int16), 8000)
    names, kinds = {}, []
    for kind, name, code in BLOCK.findall(TEXT):
        kinds.append(kind)
        if name:
            (tmp_path / name).write_text(code)
        elif kind == "sh":
            program, *arguments = shlex.split(code)
            assert program == "shardkit"
            subprocess.run([sys.executable, "-m", "shardkit", *arguments], check=True, env=os.environ, timeout=240)
        else:
            assert kind == "python"
            exec(code, names)  # noqa: S102  our own documentation
    assert kinds.count("python") >= 5
    assert (tmp_path / "labels.png").stat().st_size > 10_000
    assert (tmp_path / "labels.csv").read_text().startswith('"label","number"')
    batch = next(iter(sk.Stream.from_config(tmp_path / "data" / "mix.yaml", rank=0, world_size=1)))
    assert sorted(batch.sources) == ["positive"] * 2 + ["strong"] * 3 + ["weak"] * 3
