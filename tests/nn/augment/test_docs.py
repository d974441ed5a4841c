"""The page on augmentation: its example runs, and its table has every step."""

import re
from pathlib import Path

import torch

from shardkit.nn import augment

PAGE = Path(__file__).resolve().parents[3] / "docs" / "augmentation.md"


def test_the_example_without_a_loader_runs():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    names: dict = {}
    exec(next(block for block in blocks if "Clips(" in block), names)  # noqa: S102
    factor = 10 ** (names["parameters"]["0.Gain"]["gain_db"] / 20)
    found = names["augmented"].audio.abs().amax(dim=(1, 2)) / names["clips"].audio.abs().amax(dim=(1, 2))
    torch.testing.assert_close(found, factor.float())


def test_the_table_has_every_step():
    listed = set(
        re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in PAGE.read_text().splitlines() if "|" in line))
    )
    assert set(augment.__all__) - {"Augmentation"} <= listed
