"""The soak holds over a short run, and its criteria see what grows."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tools.bench.soak import MAX_SOCKETS, Held, judge


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_short_run_is_bounded(tmp_path):
    """20,000 draws are part of the warm-up of a million, in which memory that serves again is still being gained."""
    command = "-m tools.bench.soak --draws 20000 --rounds 20 --growth 16 --write"
    done = subprocess.run(
        [sys.executable, *command.split(), str(tmp_path / "soak.md")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Verdict: within the bounds." in (tmp_path / "soak.md").read_text()
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")


def run(**grown):
    """Return what a run of a million draws holds that is steady but for noise, and what grows from 0 to so much."""
    noise = np.random.default_rng(0).normal(0, 1.5, 100)
    steady = Held(0, 0.0, 700.0, 30, 20, 9, 1, 20.0)
    held = []
    for number in range(100):
        share = number / 99
        now = {name: getattr(steady, name) + type(getattr(steady, name))(most * share) for name, most in grown.items()}
        one = replace(steady, draws=10_000 * (number + 1), seconds=float(number), **now)
        held.append(replace(one, rss_mb=one.rss_mb + noise[number]))
    return held


def test_a_steady_run_passes():
    assert judge(run(), cache_mb=24.0).faults == []


@pytest.mark.parametrize(
    ("grown", "message"),
    [
        ({"rss_mb": 8.0}, "memory grew by"),
        ({"files": 2}, "files: 32 after the first fifth, 30 by then"),
        ({"threads": 1}, "threads: 10"),
        ({"processes": 1}, "processes: 2"),
        ({"sockets": MAX_SOCKETS}, "sockets:"),
        ({"cache_mb": 5.0}, "the cache took 25.0 MB"),
    ],
)
def test_what_grows_fails(grown, message):
    (fault,) = judge(run(**grown), cache_mb=24.0).faults
    assert fault.startswith(message)
