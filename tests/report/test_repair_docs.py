"""The commands of docs/verify-and-repair.md run as they stand, over a dataset in need of them."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from shardkit.repair.actions import GONE
from shardkit.report.problems import REPAIRS

from .conftest import Damageable

PAGE = Path(__file__).resolve().parents[2] / "docs" / "verify-and-repair.md"


def test_the_commands_of_the_page(packed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("shards").mkdir()
    damaged = Damageable(shutil.copytree(packed, "shards/takes"))
    place = damaged.place(3, "audio")
    damaged.flip(place.shard, place.offset + 1000)
    codes = []
    for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL):
        for line in block.splitlines():
            program, *arguments = shlex.split(line)
            assert program == "shardkit"
            command = [sys.executable, "-m", "shardkit", *arguments]
            codes.append(subprocess.run(command, check=False, capture_output=True, timeout=300).returncode)
    assert codes == [1, 1, 1, 0, 0, 0, 0, 0]


def test_the_page_names_every_repair_and_every_end_of_a_sample():
    text = PAGE.read_text()
    assert all(f"`{name}`" in text for name in {*REPAIRS.values()} - {None})
    assert all(f"`{name}`" in text for name in GONE)
