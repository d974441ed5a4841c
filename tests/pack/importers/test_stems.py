"""``--from stems``: the tracks of one instant are one sample, however the folders lie and whatever is missing."""

import json

import numpy as np
import pytest
import soundfile

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate

STEMS = ("mixture", "vocals", "drums")
TRACKS = ("album/song 1.5", "song_2", "-3")
RATE = 8000


def samples(track, stem):
    seed = 10 * TRACKS.index(track) + STEMS.index(stem)
    return np.random.default_rng(seed).integers(-2000, 2000, RATE).astype(np.int16)


def write(folder, by, without=()):
    for track in TRACKS:
        for stem in STEMS:
            if (track, stem) not in without:
                place = folder / (f"{track}/{stem}.wav" if by == "track" else f"{stem}/{track}.wav")
                place.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(place, samples(track, stem), RATE)
    return folder


def packed(folder, output, *, on_error="fail", **options):
    inputs = InputOptions(importer="stems", importer_options=options)
    pack(locate(folder), locate(output), inputs=inputs, options=PackOptions(workers=1, on_error=on_error))
    return sk.open(output)


@pytest.mark.parametrize("by", ["track", "stem"])
def test_all_stems_of_a_crop_begin_at_one_sample_and_a_missing_one_is_silence_with_a_flag(tmp_path, by):
    write(tmp_path / "in", by, without=[("song_2", "vocals")])
    dataset = packed(tmp_path / "in", tmp_path / "out", by=by)
    track_of = {"album/song 1_5": TRACKS[0], "song_2": TRACKS[1], "-3": TRACKS[2]}
    assert sorted(dataset.keys()) == sorted(track_of)
    stream = sk.Stream(dataset, crop=sk.RandomCrop(0.25), fields=["vocals", "drums"], batch_size=8)
    for batch, _ in zip(stream, range(3), strict=False):
        for i, key in enumerate(batch.keys):
            start, track = int(batch.starts[i]), track_of[key]
            for stem, audio in (("mixture", batch.audio), *batch.fields.items()):
                missing = (track, stem) == ("song_2", "vocals")
                expected = samples(track, stem)[start : start + RATE // 4] / 2**15
                assert np.array_equal(audio[i, 0], np.zeros(RATE // 4) if missing else expected)
                assert stem == "mixture" or batch.present[stem][i] == (not missing)


def test_a_track_without_its_primary_stem_is_missing_and_told(tmp_path):
    write(tmp_path / "in", "track", without=[("song_2", "mixture")])
    with pytest.raises(sk.InputError, match=r"in/song_2: no file at .*in/song_2/mixture\.\*"):
        packed(tmp_path / "in", tmp_path / "out")
    assert len(packed(tmp_path / "in", tmp_path / "out", on_error="skip")) == 2
    (line,) = map(json.loads, (tmp_path / "out/missing.jsonl").read_text().splitlines())
    assert line["file"] == "song_2/mixture"


def test_another_stem_can_be_the_primary_one(tmp_path):
    write(tmp_path / "in", "track", without=[(track, "mixture") for track in TRACKS])
    with pytest.raises(sk.InputError, match="no track has a stem 'mixture'; there is drums, vocals; .*primary=NAME"):
        packed(tmp_path / "in", tmp_path / "out")
    dataset = packed(tmp_path / "in", tmp_path / "out", primary="drums")
    assert {"audio", "vocals"} <= dataset.manifest.fields.keys()


def test_names_that_no_field_can_have_and_files_that_are_no_stems(tmp_path):
    write(tmp_path / "in", "track")
    for name in ("01 bass gtr.wav", "audio.wav", "cover.jpg"):
        soundfile.write(tmp_path / "in/song_2/x.wav", samples("song_2", "drums"), RATE)
        (tmp_path / "in/song_2/x.wav").rename(tmp_path / "in/song_2" / name)
    soundfile.write(tmp_path / "in/alone.wav", samples("song_2", "drums"), RATE)
    dataset = packed(tmp_path / "in", tmp_path / "out")
    assert {"_01_bass_gtr", "audio_", "vocals"} <= dataset.manifest.fields.keys()
    report = (tmp_path / "out/report.jsonl").read_text().splitlines()
    reasons = {line["path"]: line["reason"] for line in map(json.loads, report)}
    assert reasons["alone.wav"] == "not in a folder of its track"
    assert "song_2/cover.jpg" in reasons


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("song_2/drums.flac", r"'song_2/drums.flac' and 'song_2/drums.wav' are both the stem 'drums' of 'song_2'"),
        ("song_2/a b.wav", r"the stem 'a_b' would be fields of one name with 'a b'"),
        (f"song_2/{'x' * 101}.wav", r"has more than 100 characters"),
    ],
)
def test_stems_that_can_not_be_told_apart(tmp_path, name, message):
    write(tmp_path / "in", "track")
    soundfile.write(tmp_path / "in/song_2/a_b.wav", samples("song_2", "drums"), RATE)
    soundfile.write(tmp_path / "in" / name, samples("song_2", "drums"), RATE)
    with pytest.raises(sk.InputError, match=message):
        packed(tmp_path / "in", tmp_path / "out")


def test_options_are_checked(tmp_path):
    write(tmp_path / "in", "track")
    with pytest.raises(sk.InputError, match="by=song: choose track or stem"):
        packed(tmp_path / "in", tmp_path / "out", by="song")
    (tmp_path / "file").write_text("")
    with pytest.raises(sk.InputError, match="not a folder"):
        packed(tmp_path / "file", tmp_path / "out")
