"""docs/from-tf2-audio-dataset.md runs as it stands."""

import numpy as np
import soundfile

from tests.migration.pages import named_tests, run_page


def test_the_page_runs(speech, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate("abc"):
        for folder, stem in (("in", name), ("out", f"{name}_wet")):
            (tmp_path / "own" / folder).mkdir(parents=True, exist_ok=True)
            samples = np.roll(speech, 9000 * number)[: 16_000 + 4000 * number]
            soundfile.write(tmp_path / "own" / folder / f"{stem}.wav", samples, 16_000)
    names = run_page("from-tf2-audio-dataset.md", {})
    parts = [set(names[name].keys()) for name in ("train", "val", "test")]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 2 * 15 * 6
    assert names["steps_per_epoch"] == -(-len(parts[0]) // 16)


def test_each_defect_has_its_test():
    rows, found = named_tests("from-tf2-audio-dataset.md", "test_tf2_defects.py")
    assert rows == found
