"""Laws of the speech-like bursts."""

import json

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.core.errors import InputError
from shardkit.synth.bursts import BurstsOptions, recording, speakers, takes, write_bursts

OPTIONS = BurstsOptions(num_files=12, num_speakers=3, min_duration_s=2.0, max_duration_s=7.0)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_bursts(tmp_path_factory.mktemp("synth"), OPTIONS, seed=5)


def rows(written):
    return [json.loads(line) for line in written.manifest.read_text().splitlines()]


def rms_dbfs(samples):
    return 10.0 * np.log10(np.mean(samples**2) + 1e-20)


def test_manifest_names_every_file_once(written):
    paths = [row["path"] for row in rows(written)]
    assert len(set(paths)) == len(paths) == written.num_files == OPTIONS.num_files
    assert set(paths) == {path.relative_to(written.folder).as_posix() for path in written.folder.rglob("*.wav")}


def test_every_speaker_both_speaks_and_whispers(written):
    said = {(row["speaker"], row["label"]) for row in rows(written)}
    assert said == {(f"speaker_{i:02d}", label) for i in range(3) for label in ("voiced", "whispered")}


def test_recordings_are_mono_pcm16_within_the_durations_asked_for(written):
    for row in rows(written):
        info = soundfile.info(written.folder / row["path"])
        assert (info.samplerate, info.channels, info.subtype) == (OPTIONS.sample_rate, 1, "PCM_16")
        assert OPTIONS.min_duration_s - 1e-4 <= info.duration <= OPTIONS.max_duration_s + 1e-4


def test_intervals_are_whole_samples_and_hold_all_the_energy(written):
    for row in rows(written):
        samples, rate = soundfile.read(written.folder / row["path"])
        silent = np.ones(samples.size, dtype=bool)
        levels = []
        for interval in row["intervals"]:
            start, stop = interval["start_s"] * rate, interval["stop_s"] * rate
            assert [start, stop] == pytest.approx([round(start), round(stop)], abs=1e-6)
            bounds = slice(round(start), round(stop))
            silent[bounds] = False
            levels.append(rms_dbfs(samples[bounds]))
        assert min(levels) > rms_dbfs(samples[silent]) + 40.0
        assert np.abs(samples[silent]).max() < 0.001  # no sample of a burst lies outside its bounds
        assert rms_dbfs(samples[silent]) < -81.0
        assert np.abs(samples).max() < 0.95


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**63 - 1),
    duration_s=st.floats(0.5, 30.0),
    sample_rate=st.sampled_from([8000, 11_025, 48_000]),
)
def test_bursts_are_apart_and_inside(seed, duration_s, sample_rate):
    options = BurstsOptions(num_files=2, min_duration_s=duration_s, max_duration_s=duration_s, sample_rate=sample_rate)
    for take in takes(options, seed):
        edges = [0, *(edge for bounds in take.bounds for edge in bounds), take.frames]
        assert take.frames == round(duration_s * sample_rate)
        assert min(np.diff(edges)) >= 0.04 * sample_rate


def test_a_recording_is_the_same_however_many_there_are():
    few, many = (list(takes(BurstsOptions(num_files=count), 3)) for count in (7, 20))
    assert few == many[:7]
    np.testing.assert_array_equal(*(recording(each[6], seed=3, sample_rate=22_050) for each in (few, many)))


def test_speakers_differ_in_pitch_and_formants():
    found = speakers(BurstsOptions(), 0)
    assert len({speaker.pitch_hz for speaker in found}) == len({speaker.formant_scale for speaker in found}) == 6
    assert all(80.0 < speaker.pitch_hz < 270.0 for speaker in found)


def test_a_voiced_burst_has_a_pitch_and_a_whispered_one_has_none():
    options = BurstsOptions(num_files=3, num_speakers=1)
    strength = []
    for take in takes(options, 1):
        start, stop = take.bounds[0]
        middle = recording(take, seed=1, sample_rate=options.sample_rate)[(start + stop) // 2 :][:1024]
        lags = np.fft.irfft(np.abs(np.fft.rfft(middle * np.hanning(1024), 2048)) ** 2)
        strength.append(lags[60:400].max() / lags[0])  # 55 to 370 Hz at 22.05 kHz
    assert min(strength[:2]) > strength[2]  # with one speaker, the third recording is whispered


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_files": 0}, "num_files is 0"),
        ({"num_speakers": 0}, "num_speakers is 0"),
        ({"min_duration_s": 13.0}, "the shorter first"),
        ({"min_duration_s": 0.1}, "within 0.5"),
        ({"max_duration_s": float("nan")}, "the shorter first"),
        ({"sample_rate": 4000}, "choose one from 8000"),
    ],
)
def test_options_that_cannot_be_made_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        BurstsOptions(**wrong)
