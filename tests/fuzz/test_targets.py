"""Hostile input ends in a typed error or in none: every target for a moment, the pure ones under Hypothesis too.

``python -m tools.fuzz`` runs the same for hours; ``tools/fuzz/README.md`` says what was run.
"""

import subprocess
import sys
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from tools.fuzz.campaign import run_campaign
from tools.fuzz.readers import told
from tools.fuzz.targets import TARGETS, Target

# Readers without codecs in C: those run in processes of their own, which may crash.
PURE = ("tables", "tar", "npy", "csv", "tsv", "jsonl", "json-values", "spg", "pairs", "labels", "audioset", "ontology")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded by RLIMIT_AS")
def test_no_target_hangs_crashes_takes_memory_or_raises_another_error() -> None:
    command = [sys.executable, "-m", "tools.fuzz", "all", "--seconds", "0.7", "--inputs", "120", "--seed", "7"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    lines = [line for line in done.stdout.splitlines() if " inputs in " in line]
    assert len(lines) == len(TARGETS), done.stderr[-3000:]
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]


@pytest.mark.parametrize("name", PURE)
@settings(derandomize=True, max_examples=60, database=None)
@given(seed=st.integers(0, 2**32))
def test_pure_readers_raise_typed_errors_only(name: str, seed: int) -> None:
    target = TARGETS[name]
    told(target.read, target.change(target.seeds(), Random(seed)))  # noqa: S311


@pytest.mark.parametrize("name", PURE)
@settings(derandomize=True, max_examples=30, database=None)
@given(data=st.binary(max_size=600))
def test_any_bytes_at_all(name: str, data: bytes) -> None:
    told(TARGETS[name].read, data)


@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"rows", "features"}))
def test_the_seeds_themselves_are_read(name: str) -> None:
    """Else a target would show nothing: what is changed must be sound before."""
    target = TARGETS[name]
    errors = [told(target.read, data) for data in target.seeds()]
    assert None in errors, errors


DEFECTS = {
    "hang": "while True: pass",
    "crash": "import ctypes; ctypes.string_at(1)",
    "ZeroDivisionError": "1 / 0",
    "memory": "bytearray(1 << 29)",
    "MemoryError": "bytearray(1 << 40)",
}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded by RLIMIT_AS")
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_campaign_finds_what_it_looks_for(defect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.fuzz.campaign.INPUT_S", 1.0)
    code = compile(DEFECTS[defect], "reader", "exec")

    def read(data: bytes) -> None:
        if data:
            exec(code)  # noqa: S102  four lines from above

    target = Target(lambda: [b""], read, lambda _files, _random: b"x")
    found = run_campaign("defect", target, seconds=20, seed=0, folder=None, inputs=1)
    assert [what for what in found.findings if what.startswith(defect)], found
