"""Laws of the pieces of music."""

import csv

import numpy as np
import pytest
import soundfile

from shardkit.core.errors import InputError
from shardkit.synth.music import COLUMNS, PEAK, MusicOptions, perform, pieces, write_music
from shardkit.synth.score import BEATS_A_BAR, STYLES, compose

OPTIONS = MusicOptions(num_pieces=3, min_duration_s=12.0, max_duration_s=15.0)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_music(tmp_path_factory.mktemp("synth"), OPTIONS, seed=2)


def rows(written):
    with written.manifest.open(newline="") as file:
        return list(csv.DictReader(file))


def test_manifest_names_every_file_once_in_the_folder_of_its_style(written):
    listed = rows(written)
    assert tuple(listed[0]) == COLUMNS
    assert [row["path"] for row in listed] == ["calm/Piece 01.flac", "bright/Piece 02.flac", "calm/Piece 03.flac"]
    assert all(row["path"].startswith(row["style"] + "/") for row in listed)
    assert {row["path"] for row in listed} == {
        path.relative_to(written.folder).as_posix() for path in written.folder.rglob("*.flac")
    }


def test_pieces_are_stereo_pcm16_within_the_durations_asked_for(written):
    for row in rows(written):
        info = soundfile.info(written.folder / row["path"])
        assert (info.samplerate, info.channels, info.subtype) == (OPTIONS.sample_rate, 2, "PCM_16")
        assert OPTIONS.min_duration_s <= info.duration <= OPTIONS.max_duration_s
    assert written.audio_s == pytest.approx(
        sum(soundfile.info(path).duration for path in written.folder.rglob("*.flac"))
    )


def test_the_body_is_loud_and_the_ends_are_quiet(written):
    for row in rows(written):
        samples, rate = soundfile.read(written.folder / row["path"])
        start, stop = (round(float(row[column]) * rate) for column in ("body_start_s", "body_stop_s"))
        power = [np.mean(part**2) for part in np.split(samples, [start // 2, start, stop, stop + start // 2])]
        assert power[2] > 1000.0 * power[0] > 0.0
        assert power[2] > 1000.0 * power[4] > 0.0
        assert np.abs(samples).max() == pytest.approx(PEAK, abs=1e-3)


def test_the_two_channels_differ_a_little(written):
    for row in rows(written):
        samples, _ = soundfile.read(written.folder / row["path"])
        assert 0.5 < np.corrcoef(samples.T)[0, 1] < 0.99


def test_wav_and_flac_hold_the_same_samples(tmp_path, written):
    wav = write_music(
        tmp_path, MusicOptions(num_pieces=1, min_duration_s=12.0, max_duration_s=15.0, container="wav"), seed=2
    )
    assert rows(wav)[0]["path"] == "calm/Piece 01.wav"
    as_wav, as_flac = (soundfile.read(each.folder / rows(each)[0]["path"], dtype="int16")[0] for each in (wav, written))
    np.testing.assert_array_equal(as_wav, as_flac)


@pytest.mark.parametrize("style", STYLES)
def test_notes_of_a_score_are_in_its_key_and_inside_its_bars(style):
    for note in compose(STYLES[style], key=3, num_bars=8, rng=np.random.default_rng(0)):
        assert 0.0 <= note.start < 8 * BEATS_A_BAR
        assert note.part == "hat" or (note.pitch - 3) % 12 in {0, 2, 4, 5, 7, 9, 11}


def test_the_shortest_piece_can_be_played():
    options = MusicOptions(num_pieces=2, min_duration_s=2.0, max_duration_s=2.0, sample_rate=16_000)
    for piece in pieces(options, 0):
        assert perform(piece, seed=0, sample_rate=16_000).shape == (32_000, 2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_pieces": 0}, "num_pieces is 0"),
        ({"styles": ("loud",)}, "choose from calm, bright"),
        ({"min_duration_s": 1.0}, "within 2"),
        ({"sample_rate": 8000}, "choose one from 16000"),
        ({"container": "mp3"}, "choose flac or wav"),
    ],
)
def test_options_that_cannot_be_made_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        MusicOptions(**wrong)
