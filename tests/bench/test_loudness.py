"""The errors of crop loudness are measured right: none where there is nothing to get wrong, and silence is told."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tools.bench.loudness import ALLOWED_LU, error_table, measure, packed

RATE = 16_000


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Steady noise, and a recording that is silent but for its last second."""
    folder = tmp_path_factory.mktemp("loudness") / "recordings"
    folder.mkdir()
    random = np.random.default_rng(0)
    noise = random.normal(0.0, 0.1, (6 * RATE, 2))
    soundfile.write(folder / "noise.wav", noise, RATE, subtype="PCM_16")
    soundfile.write(folder / "silent.wav", noise * (np.arange(6 * RATE) >= 5 * RATE)[:, np.newaxis], RATE)
    return folder


def test_steady_noise_is_measured_as_the_meter_does(recordings: Path, tmp_path: Path) -> None:
    levels = measure(packed(tmp_path, recordings, RATE, 2), duration_s=1.0, crops=40)
    assert len(levels.index) == 80
    assert np.abs(levels.errors).max() <= ALLOWED_LU
    assert len(levels.errors) >= len(levels.errors_alike) >= 40
    assert levels.silent >= 20
    assert levels.disputed == 0


def test_a_table_has_a_line_for_each_length_and_form(recordings: Path, tmp_path: Path) -> None:
    table = error_table(tmp_path, recordings, rates=[RATE], channels=[1, 2], crops=3, seconds=[1.0, 2.0])
    assert [row[:2] for row in table.rows] == [
        [f"{RATE} Hz, mono", "1"],
        [f"{RATE} Hz, mono", "2"],
        [f"{RATE} Hz, stereo", "1"],
        [f"{RATE} Hz, stereo", "2"],
    ]
    assert {len(row) for row in table.rows} == {len(table.columns)}
