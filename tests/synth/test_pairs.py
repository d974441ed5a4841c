"""Laws of the pairs of tones, from their files: where the spectra have their lines, what the list says, no clipping."""

import csv
import re

import numpy as np
import pytest
import soundfile

from shardkit.core.errors import InputError
from shardkit.synth import MODES, WAVES, LabelsOptions, PairsOptions, write_kind

RATE = 16_000
DILATION = 1.7
HALF_WIDTH = 4  # bins of the main lobe of a Blackman window, and some of the decay

# The modes by their ratios, written out a second time. "maj7" was in the list of the TF2 Audio Dataset twice.
RATIOS = {
    "pure": [1], "oct": [1, 2], "per5": [1, 1.5], "per4": [1, 4 / 3], "maj3": [1, 1.25], "maj6": [1, 5 / 3],
    "maj2": [1, 1.125], "maj7dyad": [1, 1.875], "maj": [1, 1.25, 1.5], "min": [1, 1.2, 1.5], "dim": [1, 1.2, 1.375],
    "aug": [1, 1.25, 128 / 81], "maj7": [1, 1.25, 1.5, 1.875], "majmin7": [1, 1.25, 1.5, 16 / 9],
    "min7": [1, 1.2, 1.5, 16 / 9],
}  # fmt: skip


def rows(written):
    with written.manifest.open(newline="") as file:
        return list(csv.DictReader(file))


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lines_hz(wave, ratios, frequency_hz):
    """Return the frequencies of all harmonics of all voices below half the rate."""
    step = {"sin": RATE, "square": 2, "triangle": 2, "saw": 1}[wave]
    return sorted(
        {f * r * k for f in [frequency_hz] for r in ratios for k in range(1, int(RATE / 2 / (f * r)) + 1, step)}
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    options = PairsOptions(lo_hz=220.0, hi_hz=1313.0, num_steps=2, dilation=DILATION, seed=3)
    return options, write_kind(tmp_path_factory.mktemp("synth") / "pairs", options)


def test_the_modes_are_the_fifteen(written):
    assert {mode: list(ratios) for mode, ratios in MODES.items()} == RATIOS
    assert len(RATIOS) == 15


def test_the_list_names_every_file_once_and_its_facts(written):
    options, result = written
    listed = rows(result)
    assert len(listed) == result.num_rows == 4 * 15 * 2
    paths = [row[column] for row in listed for column in ("x", "y")]
    assert len(set(paths)) == len(paths) == result.num_files
    assert {*paths, "pairs.csv"} == set(files(result.folder))
    assert result.num_bytes == sum(map(len, files(result.folder).values()))
    assert result.audio_s == 240.0
    assert {(row["wave"], row["mode"], float(row["frequency_hz"])) for row in listed} == {
        (wave, mode, f) for wave in WAVES for mode in RATIOS for f in (1313.0, options.step_hz(1))
    }
    for row in listed:
        assert float(row["y_frequency_hz"]) == float(row["frequency_hz"]) * float(row["dilation"])
        assert float(row["dilation"]) == DILATION
        assert re.fullmatch(r"in/\w+\.wav", row["x"])


@pytest.mark.parametrize("wave", WAVES)
def test_x_has_the_lines_of_its_voices_and_y_those_of_dilation_times_them(written, wave):
    _, result = written
    window = np.blackman(RATE)
    for row in rows(result):
        if row["wave"] != wave:
            continue
        ratios = RATIOS[row["mode"]]
        for column, factor in (("x", 1.0), ("y", DILATION)):
            samples, rate = soundfile.read(result.folder / row[column])
            assert (samples.size, rate) == (RATE, RATE)  # one second: a bin is 1 Hz
            spectrum = np.abs(np.fft.rfft(samples * window))
            frequency_hz = float(row["frequency_hz"]) * factor
            for ratio in ratios:
                near = round(frequency_hz * ratio)
                top = near - HALF_WIDTH + int(spectrum[near - HALF_WIDTH : near + HALF_WIDTH + 1].argmax())
                assert abs(top - frequency_hz * ratio) <= 1.0, (row, column, ratio)
            elsewhere = np.ones(spectrum.size, bool)
            for line_hz in lines_hz(wave, ratios, frequency_hz):
                elsewhere[max(0, round(line_hz) - HALF_WIDTH) : round(line_hz) + HALF_WIDTH + 1] = False
            assert spectrum[elsewhere].max() < 2e-3 * spectrum.max(), (row, column)


def test_y_of_a_sine_is_x_read_faster(tmp_path):
    result = write_kind(tmp_path, PairsOptions(waves=("sin",), modes=("min7",), num_steps=3, bit_depth="float"))
    for row in rows(result):
        x, _ = soundfile.read(tmp_path / row["x"])
        y, _ = soundfile.read(tmp_path / row["y"])
        np.testing.assert_allclose(y[:8000], x[::2], atol=1e-7)


def test_phases_are_the_seeds_unless_they_are_zero(tmp_path):
    few = {"num_steps": 2, "modes": ("pure", "maj"), "duration_s": 0.05}
    made = {}
    for name, options in {"a": {"seed": 1}, "b": {"seed": 2}, "c": {"seed": 1, "zero_phase": True}}.items():
        write_kind(tmp_path / name, PairsOptions(**few, **options))
        made[name] = files(tmp_path / name)
    assert all(made["a"][path] != made["b"][path] != made["c"][path] for path in made["a"] if path.endswith(".wav"))
    write_kind(tmp_path / "d", PairsOptions(**few, seed=2, zero_phase=True))
    assert files(tmp_path / "d") == made["c"]
    first, _ = soundfile.read(tmp_path / "c" / "in" / "sin_maj_0.wav")
    assert first[0] == 0.0 < first[1]


@pytest.mark.parametrize("bit_depth", ["8", "16"])
def test_nothing_is_clipped_at_the_greatest_volume(tmp_path, bit_depth):
    options = PairsOptions(volume=0.75, bit_depth=bit_depth, num_steps=3, duration_s=0.3, dilation=1.0)
    result = write_kind(tmp_path, options)
    full_scale = 2 ** (int(bit_depth) - 1)
    loudest = 0.0
    for row in rows(result):
        samples, _ = soundfile.read(tmp_path / row["x"])
        peak = np.abs(samples).max() * full_scale
        assert peak < full_scale - 1
        loudest = max(loudest, peak)
    assert loudest > 0.7 * full_scale


def test_what_is_too_high_is_left_out_by_pairs_and_counted(tmp_path):
    grid = {"lo_hz": 300.0, "hi_hz": 6000.0, "num_steps": 12, "duration_s": 0.01}
    result = write_kind(tmp_path, PairsOptions(**grid, too_high="skip"))
    steps_hz = [6000.0 * (300.0 / 6000.0) ** (k / 11) for k in range(12)]
    kept = {(mode, step) for mode, r in RATIOS.items() for step, f in enumerate(steps_hz) if f * max(r) * 2.0 < 8000.0}
    assert {(row["mode"], int(row["step"])) for row in rows(result)} == kept
    assert result.num_rows == 4 * len(kept)
    assert sum(result.skipped.values()) == 4 * (15 * 12 - len(kept)) > 0
    assert {path.rpartition("/")[2] for path in files(tmp_path / "in")} == {
        path.rpartition("/")[2] for path in files(tmp_path / "out")
    }


def test_half_the_sample_rate_itself_is_too_high():
    PairsOptions(hi_hz=3999.9, modes=("pure",))
    with pytest.raises(InputError, match="highest voice is at 8000 Hz"):
        PairsOptions(hi_hz=4000.0, modes=("pure",))


@pytest.mark.parametrize("num_steps", [1, 2, 9])
def test_frequencies_are_spaced_exponentially_from_hi_to_lo(num_steps):
    found = PairsOptions(lo_hz=50.0, hi_hz=800.0, num_steps=num_steps).all_hz()
    assert found[0] == 800.0
    np.testing.assert_allclose(found, np.geomspace(800.0, 50.0, num_steps), rtol=1e-12)


def test_labels_are_the_wave_and_the_mode(tmp_path):
    result = write_kind(tmp_path, LabelsOptions(num_steps=3, duration_s=0.01, modes=("pure", "min7"), too_high="skip"))
    listed = rows(result)
    assert list(listed[0]) == ["file", *WAVES, "pure", "min7"]
    assert {row["file"] for row in listed} | {"labels.csv"} == set(files(tmp_path))
    for row in listed:
        wave, mode, _ = row["file"].removeprefix("in/").split("_")
        assert {name for name, bit in row.items() if bit == "1"} == {wave, mode}
        assert set(row.values()) - {row["file"]} == {"0", "1"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lo_hz": 2000.0}, "give 10 <= lo_hz <= hi_hz"),
        ({"lo_hz": float("nan")}, "lo_hz <= hi_hz"),
        ({"lo_hz": 1.0}, "give 10 <= lo_hz"),
        ({"lo_hz": 15.0, "dilation": 0.5}, "lowest Y is at 7.5 Hz"),
        ({"hi_hz": 3000.0}, r"leave out oct, per5, .*min7, raise sample_rate"),
        ({"hi_hz": float("inf")}, "lo_hz <= hi_hz"),
        ({"hi_hz": 7000.0, "lo_hz": 6000.0, "too_high": "skip"}, "all chords are too high for 16000 Hz"),
        ({"too_high": "fold"}, "choose fail or skip"),
        ({"dilation": 0.0}, "dilation is 0"),
        ({"dilation": float("nan")}, "dilation is nan"),
        ({"num_steps": 0}, "num_steps is 0"),
        ({"num_steps": 10**6}, "at most 100,000"),
        ({"num_steps": 2, "lo_hz": 1000.0}, "same frequency more than once"),
        ({"waves": ("sine",)}, "choose from sin, square, saw, triangle"),
        ({"modes": ("maj7", "maj7")}, "twice"),
        ({"modes": ()}, "one or more of pure"),
        ({"volume": 0.9}, "clip"),
        ({"volume": 0.0}, "above 0"),
        ({"duration_s": 0.0}, "duration_s is 0"),
        ({"sample_rate": 100}, "choose one from 1000"),
        ({"bit_depth": "12"}, "choose from 8, 16, 24, 32, float"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_options_that_cannot_be_made_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        PairsOptions(**wrong)
