"""The Slurm script, with stand-ins for Slurm's commands: what it asks of srun, and when it is requeued."""

import os
import stat
import subprocess
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser

from tests.examples.nodes import ROOT

SCRIPT = ROOT / "examples" / "train_ddp_s3.sbatch"
SLURM = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[4-5]", "SLURM_NNODES": "2", "SLURM_GPUS_ON_NODE": "8"}
SRUN = """#!/bin/bash
printf '%s\\n' "$@" > {folder}/srun
{does}
"""
SCONTROL = """#!/bin/bash
echo "$@" >> {folder}/scontrol
[ "$1" = show ] && printf 'n4\\nn5\\n'
"""


def run(folder: Path, does: str) -> subprocess.CompletedProcess[str]:
    """Run the script; ``does`` is what srun does."""
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir()
    (checkpoints / "step-000000100.pt").touch()  # of an earlier life of the job
    os.utime(checkpoints / "step-000000100.pt", (0, 0))
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        program = folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(text.format(folder=folder, does=does))
        program.chmod(stat.S_IRWXU)
    env = os.environ | SLURM | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "CHECKPOINTS": str(checkpoints)}
    command = ["bash", SCRIPT, checkpoints, "--source", "speech", "1", "s3://corpus/speech", "--steps", "1000"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)


def requeued(folder: Path) -> bool:
    return "requeue 7" in (folder / "scontrol").read_text().splitlines()


SAVES = 'sleep 0.05; touch "$CHECKPOINTS/step-000000200.pt"'


@pytest.mark.parametrize(
    ("does", "status", "again"),
    [
        (f"{SAVES}; exit 0", 0, False),  # all steps are done
        (f"{SAVES}; exit 1", 1, True),  # ended by a signal, or lost a node
        (f"kill -TERM $PPID; {SAVES}; exit 1", 1, True),  # a preemption that signals the script as well
        ("exit 3", 3, False),  # a crash that would come again
    ],
    ids=["finished", "interrupted", "script signalled too", "crashed"],
)
def test_it_is_requeued_after_an_interruption_but_not_after_a_crash_without_progress(tmp_path, does, status, again):
    result = run(tmp_path, does)
    assert result.returncode == status, result.stderr
    assert requeued(tmp_path) == again


def test_every_node_gets_a_torchrun_of_one_rendezvous(tmp_path):
    run(tmp_path, "exit 0")
    words = (tmp_path / "srun").read_text().splitlines()
    assert words[:2] == ["--kill-on-bad-exit=0", "torchrun"]
    found = get_args_parser().parse_args(words[2:])
    assert (found.nnodes, found.nproc_per_node, found.rdzv_id) == ("2", "8", "7-0")
    assert (found.rdzv_backend, found.rdzv_endpoint, found.shutdown_timeout) == ("c10d", "n4:29500", 120)
    assert found.training_script == "examples/train_ddp_s3.py"
    assert found.training_script_args[:2] == ["--checkpoints", str(tmp_path / "checkpoints")]
    assert found.training_script_args[-2:] == ["--steps", "1000"]
