"""The Slurm array that packs one dataset, with a stand-in for srun: its parts make what one run makes."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

from tests.examples.nodes import ROOT

SCRIPT = ROOT / "examples" / "pack_array.sbatch"


def test_the_tasks_of_an_array_and_commit_pack_what_one_run_packs(tmp_path: Path) -> None:
    source, programs = tmp_path / "in", tmp_path / "bin"
    source.mkdir()
    programs.mkdir()
    for i in range(9):
        soundfile.write(source / f"{i}.wav", np.random.default_rng(i).integers(-9000, 9000, 8000, np.int16), 8000)
    for name, text in {"srun": 'exec "$@"', "shardkit": f'exec {sys.executable} -m shardkit "$@"'}.items():
        (programs / name).write_text(f"#!/bin/bash\n{text}\n")
        (programs / name).chmod(stat.S_IRWXU)
    env = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "PARTS": "3"}
    options = ["--shard-size", "40KB", "--name", "same"]

    def run(*command: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=env | more, check=False, capture_output=True, text=True, timeout=120)

    for task in ("2", "3"):
        done = run("bash", SCRIPT, source, tmp_path / "out", *options, SLURM_ARRAY_TASK_ID=task)
        assert done.returncode == 0, done.stderr
    lost = run("shardkit", "commit", tmp_path / "out")
    assert (lost.returncode, "part 1/3 lacks train/000000" in lost.stderr) == (2, True)
    # The lost one alone, as `sbatch --array=1` runs it.
    done = run("bash", SCRIPT, source, tmp_path / "out", *options, SLURM_ARRAY_TASK_ID="1", SLURM_ARRAY_TASK_COUNT="1")
    assert done.returncode == 0, done.stderr
    assert run("shardkit", "commit", tmp_path / "out").returncode == 0
    assert run("shardkit", "pack", source, tmp_path / "one", *options).returncode == 0
    trees = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "out", tmp_path / "one")
    ]
    assert trees[0] == trees[1]
