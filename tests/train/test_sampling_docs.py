"""The example of docs/sampling.md runs, and prints what it says."""

import re
from pathlib import Path

import pytest
import torch

from tests.stream.many_labels import pack_many_labels

TEXT = Path(__file__).resolve().parents[2].joinpath("docs", "sampling.md").read_text()


def test_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    view = pack_many_labels(tmp_path)
    Path("shards").mkdir()
    Path("shards/audioset").symlink_to(str(view.catalog.location))
    code, grouped = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    (printed,) = re.findall(r"print\(.*\)  # (.*)", code)
    code = code.replace("RandomCrop(1.0)", "RandomCrop(0.02)")  # its clips are short here
    short = code.replace("32 * 540", "32 * 30")
    names: list[list[str]] = []
    hard: list[set[str]] = []

    def train_step(batch: object) -> torch.Tensor:
        names.append(batch.sources)  # type: ignore[attr-defined]
        keys = zip(batch.keys, batch.sources, strict=True)  # type: ignore[attr-defined]
        hard.append({key for key, name in keys if name == "hard"})
        return torch.tensor([0.9 if key.endswith("7") else 0.1 for key in batch.keys])  # type: ignore[attr-defined]

    scope: dict[str, object] = {"train_step": train_step}
    exec(short, scope)  # noqa: S102  our own documentation
    assert capsys.readouterr().out.strip() == printed.replace("17,280", "960")
    assert len(names) == 60
    for batch in names:
        assert {name: batch.count(name) for name in batch} == {
            "positive": 8, "frequent": 3, "turns": 1, "hard": 4, "weak": 16,
        }  # fmt: skip
    sevens = {key for key in view.where("not target").keys() if key.endswith("7")}
    assert len(sevens) > 8
    assert set().union(*hard[30 : 30 + len(sevens) // 4]) <= sevens  # the second epoch begins with what was mistaken
    exec(grouped, scope)  # noqa: S102
    batch = next(iter(scope["grouped"]))  # type: ignore[call-overload]
    assert batch.sources.count("target") == 8
    assert abs(batch.sources.count("turns") - 6) <= 1
