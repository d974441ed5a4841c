"""docs/from-audioset.md runs as it stands."""

import importlib.util

import numpy as np
import pytest
import soundfile

from tests.migration.pages import named_tests, run_page

CLIPS = ("--PJHxphWEs", "-0DdlOuIFUI", "a_b_c_d_e_f", "aB3-xYz_019", "_leading_us", "eval_-clip1")


@pytest.mark.skipif(importlib.util.find_spec("duckdb") is None, reason="needs duckdb")
def test_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, ytid in enumerate(CLIPS):
        path = tmp_path / "clips" / f"part{number:02d}" / f"Y{ytid}.flac"
        path.parent.mkdir(parents=True)
        noise = np.random.default_rng(number).integers(-9000, 9000, 3 * 32_000, dtype=np.int16)
        soundfile.write(path, noise, 32_000)
    run_page("from-audioset.md", {})


def test_each_defect_has_its_test():
    rows, found = named_tests("from-audioset.md", "test_audioset_defects.py")
    assert rows == found
