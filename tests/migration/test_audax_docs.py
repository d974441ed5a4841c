"""docs/from-audax.md runs as it stands, on real recordings."""

from tests.migration.pages import named_tests, run_page


def test_the_page_runs(data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recordings").mkdir()
    for name in ("0_george_0", "1_george_0", "0_jackson_0", "1_jackson_0"):
        (tmp_path / "recordings" / f"{name}.wav").symlink_to(data_dir / "digits" / f"{name}.wav")
    names = run_page("from-audax.md", {})
    assert names["clips"].labels == ("george", "jackson", "one", "zero")
    assert names["anchor"].shape == names["positive"].shape == (4, 1, 3200)


def test_each_defect_has_its_test():
    rows, found = named_tests("from-audax.md", "test_audax_defects.py")
    assert rows == found
