"""Laws of the pairs of tones."""

import csv

import numpy as np
import pytest
import soundfile

from shardkit.core.errors import InputError
from shardkit.synth.tones import COLUMNS, MODES, TonesOptions, chord, pairs, write_tones
from shardkit.synth.waves import WAVES


def peak_hz(samples, sample_rate):
    """Return the strongest frequency: the top of a parabola through the highest bin and its neighbours, in dB."""
    level_db = 20.0 * np.log10(np.abs(np.fft.rfft(samples * np.hanning(samples.size))) + 1e-12)
    at = int(level_db.argmax())
    below, top, above = level_db[at - 1 : at + 2]
    return (at + 0.5 * (below - above) / (below - 2.0 * top + above)) * sample_rate / samples.size


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    options = TonesOptions(num_steps=2, lo_hz=200.0, hi_hz=700.0, dilation=1.5, modes=("pure", "maj7", "maj7dyad"))
    return options, write_tones(tmp_path_factory.mktemp("synth"), options)


def rows(written):
    with written.manifest.open(newline="") as file:
        return list(csv.DictReader(file))


def test_manifest_names_every_file_once(written):
    options, result = written
    listed = rows(result)
    assert tuple(listed[0]) == COLUMNS
    assert len(listed) == 4 * 3 * 2
    paths = [row[column] for row in listed for column in ("path", "target")]
    assert len(set(paths)) == len(paths) == result.num_files
    assert set(paths) == {path.relative_to(result.folder).as_posix() for path in result.folder.glob("*/*.wav")}
    assert result.audio_s == pytest.approx(len(paths) * options.duration_s)


def test_recordings_are_mono_pcm16_of_the_rate_and_duration_asked_for(written):
    options, result = written
    for row in rows(result):
        info = soundfile.info(result.folder / row["path"])
        assert (info.samplerate, info.channels, info.subtype) == (options.sample_rate, 1, "PCM_16")
        assert info.frames == options.duration_s * options.sample_rate


def test_x_is_at_its_frequency_and_y_at_dilation_times_it(written):
    options, result = written
    for row in rows(result):
        if row["mode"] == "pure":
            x, rate = soundfile.read(result.folder / row["path"])
            y, _ = soundfile.read(result.folder / row["target"])
            assert peak_hz(x, rate) == pytest.approx(float(row["frequency_hz"]), abs=0.05)
            assert peak_hz(y, rate) / peak_hz(x, rate) == pytest.approx(options.dilation, rel=1e-3)


def test_no_recording_exceeds_the_volume_and_its_overshoot(written):
    options, result = written
    for row in rows(result):
        samples, _ = soundfile.read(result.folder / row["path"])
        assert 0.2 * options.volume < np.abs(samples).max() <= 1.28 * options.volume


@pytest.mark.parametrize("mode", MODES)
def test_a_chord_has_its_voices_and_nothing_else(mode):
    # 3240 is a multiple of all the ratios' denominators: in one second each voice falls on a bin of the spectrum.
    options = TonesOptions(waves=("sin",), modes=(mode,), num_steps=1, hi_hz=3240.0, dilation=1.0)
    (pair,) = pairs(options)
    spectrum = np.abs(np.fft.rfft(chord(pair, options, dilation=1.0)))
    loud = np.flatnonzero(spectrum > 0.1 * spectrum.max())
    np.testing.assert_allclose(loud, [3240.0 * ratio for ratio in MODES[mode]], atol=1e-9)


def test_fifteen_modes_none_of_them_twice():
    assert len(set(MODES.values())) == len(MODES) == 15
    assert all(ratios[0] == 1.0 and list(ratios) == sorted(ratios) for ratios in MODES.values())


def test_frequencies_go_from_hi_to_lo_in_equal_musical_steps():
    found = TonesOptions(lo_hz=50.0, hi_hz=800.0, num_steps=9).frequencies_hz()
    assert found[0] == 800.0
    assert found[-1] == pytest.approx(50.0, rel=1e-12)
    np.testing.assert_allclose(np.diff(np.log2(found)), -0.5)


def test_one_step_is_hi_alone():
    assert TonesOptions(lo_hz=50.0, hi_hz=800.0, num_steps=1).frequencies_hz() == [800.0]


def test_names_say_wave_mode_and_frequency():
    options = TonesOptions(waves=WAVES[:1], modes=("maj7dyad",), num_steps=1, hi_hz=440.0)
    assert [pair.name for pair in pairs(options)] == ["sin_maj7dyad_440_00.wav"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lo_hz": 900.0}, "lo_hz <= hi_hz"),
        ({"lo_hz": float("nan")}, "lo_hz <= hi_hz"),
        ({"lo_hz": 1.0}, "raise lo_hz"),
        ({"hi_hz": 2000.0}, "lower hi_hz or dilation"),
        ({"hi_hz": float("inf")}, "lower hi_hz or dilation"),
        ({"dilation": 0.0}, "dilation is 0"),
        ({"num_steps": 0}, "num_steps is 0"),
        ({"num_steps": 2, "lo_hz": 880.0}, "fewer steps"),
        ({"waves": ("sine",)}, "choose from sin, square, saw, triangle"),
        ({"waves": "sin"}, "give a sequence"),
        ({"modes": ()}, "one or more of pure"),
        ({"modes": ("maj7", "maj7")}, "twice"),
        ({"volume": 0.9}, "clips"),
        ({"duration_s": 0.0}, "duration_s is 0"),
        ({"sample_rate": 100}, "choose one from 1000"),
    ],
)
def test_options_that_cannot_be_made_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        TonesOptions(**wrong)
