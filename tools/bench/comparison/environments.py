"""An environment of its own for each peer: made once from what its file requires, found again later."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.bench.systems.contract import System

_INSTALLED = "installed.json"  # written last, so an environment without it is made anew


class InstallError(Exception):
    """An environment can't be made; the message is the last line of what went wrong."""


def python_of(system: System, folder: Path, given: Mapping[str, Path]) -> Path:
    """Return the Python of a system's environment, and make that in ``folder`` if it is not there.

    Args:
        system: Whose.
        folder: Of all environments.
        given: Pythons by system that exist already and are taken as they are.

    Raises:
        InstallError: Pip refuses.
    """
    if system.name in given:
        return given[system.name].absolute()
    if not system.requirements:
        return Path(sys.executable)
    target = (folder / system.name).absolute()
    python, mark = target / "bin/python", target / _INSTALLED
    wanted = list(system.requirements)
    if mark.exists() and json.loads(mark.read_text()) == wanted:
        return python
    print(f"installing {', '.join(wanted)} in {target} ...", flush=True)
    if not python.exists():
        _run([sys.executable, "-m", "venv", str(target)])
    _run([str(python), "-m", "pip", "--disable-pip-version-check", "-q", "install", *wanted])
    mark.write_text(json.dumps(wanted))
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise InstallError(f"{' '.join(command[:4])}: {lines[-1]}")
