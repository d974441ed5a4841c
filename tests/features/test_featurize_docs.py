"""The commands and the example of docs/featurize.md run as they stand."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import shardkit as sk
from shardkit.nn.presets import PRESETS

TEXT = Path(__file__).resolve().parents[2].joinpath("docs", "featurize.md").read_text()


class StopError(Exception):
    """Ends an endless stream."""


def test_the_command_and_the_example(scenes: sk.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shards").mkdir()
    Path("shards/speech").symlink_to(str(scenes.catalog.location))
    (line,) = re.findall(r"```sh\n(.*)\n```", TEXT)
    subprocess.run([sys.executable, "-m", *shlex.split(line)], check=True, capture_output=True)
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    shapes = []

    def train_step(features: object, labels: object) -> None:
        shapes.append(features.shape)  # type: ignore[attr-defined]
        if len(shapes) == 3:
            raise StopError

    with pytest.raises(StopError):
        exec(code, {"train_step": train_step})  # noqa: S102  our own documentation
    assert shapes == [(4, 2, 80, 50)] * 3


def test_every_preset_is_named() -> None:
    (listed,) = re.findall(r"`--preset NAME` \((.*?): `shardkit", TEXT)
    assert {name.strip("` ") for name in listed.split(",")} == set(PRESETS)
