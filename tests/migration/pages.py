"""Runs a page of the documentation as a reader would: files are written, commands run, Python goes on where it was."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"
_BLOCK = re.compile(r"```(\w+)(?: (\S+))?\n(.*?)```", re.DOTALL)


def run_page(name: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run all blocks of a page in the current folder; ``names`` are what the reader's own code defines."""
    for kind, path, code in _BLOCK.findall(DOCS.joinpath(name).read_text()):
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(code)
        elif kind == "sh":
            for line in code.replace("\\\n", " ").splitlines():
                program, *arguments = shlex.split(line, comments=True)
                assert program == "shardkit"
                command = [sys.executable, "-m", "shardkit", *arguments]
                subprocess.run(command, check=True, capture_output=True, env=dict(os.environ), timeout=300)
        else:
            assert kind == "python"
            exec(code, names)  # noqa: S102  our own documentation
    return names


def named_tests(page: str, module: str) -> tuple[list[str], list[str]]:
    """Return the tests that a page's table names, and those that a module has, sorted."""
    named = re.findall(r"\| `(test_\w+)` \|", DOCS.joinpath(page).read_text())
    there = re.findall(r"^def (test_\w+)", Path(__file__).with_name(module).read_text(), re.MULTILINE)
    return sorted(named), sorted(there)
