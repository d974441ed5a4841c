"""spgdataset's metadata.json: both forms, its intervals exact at any stored rate, without its defects."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import shardkit as sk
from shardkit.core.errors import AudioError, InputError
from shardkit.pack.bounds import bounds_in_samples
from tests.pack.importers.conftest import spans

ENTRIES = {
    "a.b.wav": {
        "length": 16000,
        "intervals": {"speech": [[160, 8001], [4000, 16000]], "cough": []},
        "metadata": {"speaker": "zoe", "age": 31},
    },
    "deep/a.c.wav": {"length": 16000, "intervals": None, "metadata": None},
    "bare.wav": {"length": None, "intervals": {"cough": [[8000.0, 9600.0]]}, "metadata": {"speaker": "abe"}},
    "plain.wav": {},
}


@pytest.fixture(params=[8000, 16000, 44100])
def audio(tmp_path: Path, sound, request) -> Path:
    for path in ENTRIES:
        sound(tmp_path / "audio" / path, request.param, request.param)
    return tmp_path / "audio"


def forms() -> dict[str, object]:
    return {
        "dict": ENTRIES,
        "list": [{path: entry} for path, entry in ENTRIES.items()],
        "paths": [{"path": path, **entry} for path, entry in ENTRIES.items()],
    }


@pytest.mark.parametrize("form", list(forms()))
def test_each_form_gives_labels_metadata_and_exact_intervals(audio, packed, tmp_path, form) -> None:
    """[B] Metadata or intervals that are null, empty beside filled intervals, a length left out: each crashed."""
    (tmp_path / "metadata.json").write_text(json.dumps(forms()[form]))
    dataset, summary = packed(tmp_path / "metadata.json", "spg", root=audio, label="speaker")
    assert summary.missing == 0
    # [B] The cache cut names at the first dot and looked for them at the last.
    assert sorted(dataset.keys()) == ["a_b", "bare", "deep/a_c", "plain"]
    assert dataset.labels == ("abe", "zoe")  # sorted, as it enumerated them
    assert {key: dataset[key].labels for key in dataset.keys()}["plain"] == ()  # [B] the default was a type object
    sample = dataset["a_b"]
    rate = sample.sample_rate
    expected = [
        ("speech", round(Fraction(start * rate, 16000)), round(Fraction(stop * rate, 16000)))
        for start, stop in [(160, 8001), (4000, 16000)]
    ]
    assert spans(sample) == expected
    assert (sample.metadata["age"], sample.metadata["speaker"]) == (31, "zoe")
    assert spans(dataset["bare"]) == [("cough", rate // 2, rate * 6 // 10)]


def test_a_bound_between_two_samples_is_rounded_from_its_exact_value() -> None:
    for start in range(80, 80 * 200, 160):  # at 44.1 kHz each lies half-way between two samples
        exact = Fraction(start, 16000)
        (interval,) = bounds_in_samples(
            [("x", exact, exact + 1)], rate=44100, frames=10**6, cut=False, where="x"
        ).samples
        assert interval == ("x", round(Fraction(start * 441, 160)), round(Fraction((start + 16000) * 441, 160)))


def test_audio_and_mask_of_a_window_are_those_of_its_own_place(tmp_path, packed, sound) -> None:
    """[B] Where windows were dropped, the audio was another window's; centre padding shifted frames against masks."""
    samples = sound(tmp_path / "a.wav", 32000, 16000)
    marks = [[1700, 9000], [20000, 20001], [30000, 32000]]
    (tmp_path / "m.json").write_text(json.dumps({"a.wav": {"length": 32000, "intervals": {"speech": marks}}}))
    dataset, _ = packed(tmp_path / "m.json", "spg")
    window, hop = 8000, 160
    view = dataset.windows(window / 16000, hop_s=0.25)
    stream = sk.Stream({"x": view}, batch_size=2, passes=1, mask_hop=hop, rank=0, world_size=1)
    num_seen = 0
    for batch in stream:
        for row in np.flatnonzero(batch.valid):
            start = int(batch.starts[row])
            expected = np.zeros(window // hop)
            for first, last in marks:  # its formula, with the mask's frames where the audio is
                low, high = max(first, start) - start, min(last, start + window) - start
                if low < high:
                    expected[low // hop : -(-high // hop)] = 1
            np.testing.assert_array_equal(batch.masks["speech"][row], expected)
            audio = np.rint(batch.audio[row, 0] * 32768).astype(np.int16)
            np.testing.assert_array_equal(audio, samples[start : start + window])
            num_seen += 1
    assert num_seen == (32000 - window) // 4000 + 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "item 1 of the list is 1; an object is needed"),
        ('"x"', "an object with a path for each recording"),
        ('{"a.wav": 3}', "'a.wav': holds 3; an object with length, intervals, metadata"),
        ('{"a.wav": {"interval": {}}}', "holds 'interval', which is none of"),
        ('{"a.wav": {"length": 1.5}}', "its length is 1.5; samples at 16000 Hz"),
        ('{"a.wav": {"length": true}}', "its length is True"),
        ('{"a.wav": {"intervals": [[1, 2]]}}', r"its intervals are \[\[1, 2\]\]; an object"),
        ('{"a.wav": {"intervals": {"x": [1, 2]}}}', "an interval 'x' is 1; write"),
        ('{"a.wav": {"intervals": {"x": [[1, 2.5]]}}}', r"an interval 'x' is \[1, 2.5\]; write \[start, stop\]"),
        ('{"a.wav": {"intervals": {"x": [[5, 5]]}}}', "start must be at least 0 and before stop"),
        ('{"a.wav": {"metadata": 3}}', "its metadata are 3; an object"),
        ('{"a.wav": {}, "a.wav": {}}', "names 'a.wav' twice"),
        ('{"": {}}', "the path is empty"),
        ("{", "not JSON"),
        ("[]", "it names no recordings"),
    ],
)
def test_what_is_no_metadata_is_refused_by_its_place(tmp_path, packed, content, message) -> None:
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(InputError, match=message) as err:
        packed(tmp_path / "m.json", "spg")
    assert str(tmp_path / "m.json") in str(err.value)


def test_a_length_or_an_interval_that_is_not_the_recordings_is_refused(tmp_path, packed, sound) -> None:
    sound(tmp_path / "a.wav", 8000, 16000)
    (tmp_path / "m.json").write_text('{"a.wav": {"length": 16000}}')
    with pytest.raises(
        AudioError, match=r"'a\.wav': .*a\.wav has 0\.5 s, shorter than the metadata says: at least 0\.9 s"
    ):
        packed(tmp_path / "m.json", "spg")
    (tmp_path / "m.json").write_text('{"a.wav": {"intervals": {"x": [[0, 16000]]}}}')
    with pytest.raises(AudioError, match="interval 'x' from 0 s to 1 s lies outside the recording of 0.5 s"):
        packed(tmp_path / "m.json", "spg", output="other")
    _, summary = packed(tmp_path / "m.json", "spg", importer_options={"rate": "32000"}, output="right")
    assert not summary.unpacked


def test_windows_of_one_recording_are_never_in_two_splits(tmp_path, packed, sound) -> None:
    """[B] Overlapping windows were split at random, unseeded: 95 % of a validation window was trained on."""
    for i in range(8):
        sound(tmp_path / f"{i}.wav", 16000, 16000)
    (tmp_path / "m.json").write_text(json.dumps({f"{i}.wav": {"length": 16000} for i in range(8)}))
    packed(tmp_path / "m.json", "spg", splits={"train": 0.5, "val": 0.5})
    rows = {split: sk.open(tmp_path / "packed", split=split) for split in ("train", "val")}
    windows = {split: set(view.windows(0.5, hop_s=0.05).keys()) for split, view in rows.items()}
    assert not windows["train"] & windows["val"]
    assert set(rows["train"].keys()) | set(rows["val"].keys()) == {str(i) for i in range(8)}
