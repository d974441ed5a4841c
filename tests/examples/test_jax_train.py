"""The JAX example runs as its documentation says, learns, and learns the same on one process as on two."""

import os
import re
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

# JAX is not imported here: from then on each fork warns, in whatever test.
pytestmark = pytest.mark.skipif(find_spec("jax") is None, reason="needs jax")
ROOT = Path(__file__).resolve().parents[2]


def start(*arguments):
    command = [sys.executable, "examples/jax_train.py", "--steps", "25", "--pitches", "24", *map(str, arguments)]
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def facts(process):
    """Return losses, positions and accuracy as printed."""
    printed, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    losses = {int(step): float(value) for step, value in re.findall(r"step (\d+): loss ([\d.]+)", printed)}
    positions = [int(position) for position in re.findall(r"position (\d+)", printed)]
    (share,) = re.findall(r"accuracy at pitches never heard: ([\d.]+)%", printed)
    return losses, positions, float(share)


def test_it_learns_and_two_processes_learn_what_one_does():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{probe.getsockname()[1]}"
    two = [start("--coordinator", coordinator, "--processes", 2, "--process", number) for number in range(2)]
    losses, positions, share = facts(start())
    assert positions == [64, 1600]
    assert losses[1] == pytest.approx(1.386, abs=1e-3)  # ln 4: it knows nothing yet
    assert losses[25] < 0.9
    assert share > 60.0  # chance: 25
    for process in two:
        other_losses, other_positions, other_share = facts(process)
        assert other_positions == positions
        assert other_losses == pytest.approx(losses, abs=0.05)  # sums of gradients are rounded otherwise
        assert other_share == pytest.approx(share, abs=5.0)
