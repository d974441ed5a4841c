"""The example of docs/features.md runs, and its presets are those there are."""

import re
from pathlib import Path

from shardkit.nn import config, presets

TEXT = Path(__file__).resolve().parents[2].joinpath("docs", "features.md").read_text()


def test_the_examples_run():
    examples = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert examples
    for code in examples:
        exec(code, {})  # noqa: S102


def test_all_kinds_and_presets_are_named():
    section = TEXT.split("## Presets")[1].split("## Frames")[0]
    assert re.findall(r"^\| `(.*?)`", section, flags=re.MULTILINE) == list(presets.PRESETS)
    assert re.findall(r"^\| `(.*?)`", TEXT.split("## Presets")[0], flags=re.MULTILINE) == list(config.KINDS)
    assert re.findall(r"^\| ``(.*?)``", presets.__doc__, flags=re.MULTILINE) == list(presets.PRESETS)
