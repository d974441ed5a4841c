"""Laws of the notes with their tables: what a row says is what is heard, and nothing else."""

import csv

import numpy as np
import pytest
import soundfile

from shardkit.core.errors import InputError
from shardkit.synth import FramedOptions, write_kind

RAMP = 80  # samples: 5 ms at 16 kHz


def table(path):
    with path.open(newline="") as file:
        header, *lines = csv.reader(file)
    return header, np.array(lines, dtype=float)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    options = FramedOptions(
        lo_hz=200.0, hi_hz=2000.0, num_steps=6, waves=("sin",), num_files=5, duration_s=2.03, polyphony=3, seed=9
    )
    return options, write_kind(tmp_path_factory.mktemp("synth"), options)


def test_each_recording_has_its_table(written):
    options, result = written
    with result.manifest.open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert len(listed) == result.num_rows == result.num_files == 5
    named = {path for row in listed for path in row.values()}
    assert named == {path.relative_to(result.folder).as_posix() for path in result.folder.glob("*/*")}
    for row in listed:
        header, values = table(result.folder / row["features"])
        assert header == ["time_s", "n0_2000hz", "n1_1262hz", "n2_796hz", "n3_502hz", "n4_317hz", "n5_200hz"]
        np.testing.assert_array_equal(values[:, 0], [row * 1600 / 16_000 for row in range(21)])
        assert set(values[:, 1:].ravel().tolist()) <= {0.0, 1.0}
        assert values[:, 1:].sum(axis=1).max() <= options.polyphony


def test_a_row_tells_which_notes_are_heard(written):
    """The amplitudes of all notes, by least squares from the samples of each row alone, its ramps left out."""
    options, result = written
    heard = silent = 0
    for path in sorted(result.folder.glob("in/*.wav")):
        samples, _ = soundfile.read(path)
        _, values = table(result.folder / "keys" / f"{path.stem}.csv")
        for row, bits in enumerate(values[:, 1:] > 0.5):
            whole = samples[row * options.hop : (row + 1) * options.hop]
            part = whole[RAMP : whole.size - RAMP]
            angles = 2 * np.pi * np.outer(np.arange(part.size) / options.sample_rate, options.all_hz())
            basis = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
            found = np.linalg.lstsq(basis, part, rcond=None)[0]
            level = np.hypot(*found.reshape(2, -1)) / (options.volume / options.polyphony)
            np.testing.assert_allclose(level, bits, rtol=0.0, atol=5e-3)
            if not bits.any():
                assert (whole == 0.0).all()
            heard, silent = heard + bits.sum(), silent + (~bits).sum()
    assert min(heard, silent) > 50


def test_seed_and_number_alone_decide_what_is_played():
    few, many = FramedOptions(num_files=2), FramedOptions(num_files=200)
    np.testing.assert_array_equal(few.roll(1), many.roll(1))
    rolls = {FramedOptions(seed=seed).roll(item).tobytes() for seed in range(3) for item in range(5)}
    assert len(rolls) == 15


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_files": 0}, "num_files is 0"),
        ({"hi_hz": 8000.0}, "hi_hz is 8000"),
        ({"polyphony": 11}, "from 1 to the 10 notes"),
        ({"hop_s": 0.0}, "hop_s is 0"),
        ({"hop_s": 2.0}, "one sample to duration_s, 1"),
        ({"hop_s": 0.01, "sample_rate": 11_025}, "110.25 samples; choose a whole number of them, such as 0.00997"),
    ],
)
def test_options_that_cannot_be_made_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        FramedOptions(**wrong)
