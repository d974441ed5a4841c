"""The example runs as its documentation says, on a subset and for seconds; what it can learn takes a minute."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_packs_trains_and_tells_the_accuracy_of_each_held_out_speaker(data_dir):
    command = [sys.executable, "examples/train_digits.py", str(data_dir / "digits"), "--seconds", "4", "--takes", "3"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 0, result.stderr
    assert "packed 180 recordings" in result.stdout
    assert re.search(r"trained [1-9]\d* steps", result.stdout)
    found = dict(re.findall(r"(\w+), never heard before: ([\d.]+)%", result.stdout))
    assert found.keys() == {"lucas", "theo"}
    assert all(0.0 <= float(share) <= 100.0 for share in found.values())
