"""The bench of what a step waits for runs, on a few clips of noise, in all its ways."""

from pathlib import Path

import pytest

from tools.bench import step_waits


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python 3.12: there are other threads
def test_each_way_is_measured(served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = (
        "--crop 0.2 --batch 4 --width 4 --seconds 0.1 --rounds 1 --workers 1 --int16 --resample 16000 --device cpu"
    )
    result = tmp_path / "found.md"
    arguments = ["step_waits", str(served / "few"), *options.split(), "--markdown", str(result)]
    monkeypatch.setattr("sys.argv", arguments)
    step_waits.main()
    rows = [line.split("|")[1:-1] for line in result.read_text().splitlines() if line.startswith("|")][2:]
    assert [row[0].strip() for row in rows] == [
        "no data",
        "features in step",
        "Loader(transform)",
        "... workers=1",
        "... int16",
        "... sample_rate",
    ]
    assert all(float(row[1]) > 0 for row in rows)
    assert all(0 <= float(row[3]) <= 100 for row in rows[1:])
