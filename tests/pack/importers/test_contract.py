"""The contract: what a user's own importer gives is packed like any other input; what is missing is told."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from shardkit.core.errors import InputError
from shardkit.pack.importers import KINDS, importer_of
from tests.pack.importers.conftest import spans

OWN = """
from fractions import Fraction

import numpy as np

from shardkit.pack.importers import File, Imported, Recording, Request
from shardkit.pack.manifests import read_records
from shardkit.storage.location import Location


def birds(request: Request, *, score: float = 0.5, loud: bool = False, notes: Location | None = None) -> Imported:
    recordings = [
        Recording(
            file=File((f"audio/{name}.flac", f"{name}.wav")),
            where=f"{request.source}:{line}",
            labels=(species,),
            intervals=(("call", 0.1, Fraction(1, 5)),),
            metadata={"score": float(value), "loud": loud, "key": species},
        )
        for line, (name, species, value) in read_records(request.source)
        if float(value) >= score
    ]
    return Imported(recordings=recordings, labels=("wren", "owl"), notes=("from the wood",))


not_a_function = 3
"""


@pytest.fixture
def wood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sound) -> Path:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "forest.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    folder = tmp_path / "wood"
    sound(folder / "audio" / "a.flac")
    sound(folder / "b.wav")
    (folder / "birds.csv").write_text("a,owl,0.9\nb,tit,0.8\nc,wren,0.1\n")
    return folder


def test_an_importer_of_ones_own_is_packed_like_any_other_input(wood, packed) -> None:
    dataset, summary = packed(wood / "birds.csv", "forest:birds", importer_options={"loud": "yes"})
    assert list(dataset.keys()) == ["audio/a", "b"]
    assert dataset.labels == ("wren", "owl", "tit")  # its vocabulary first, also what never occurs
    sample = dataset["audio/a"]
    assert (sample.labels, sample.metadata["score"], sample.metadata["loud"]) == (("owl",), 0.9, True)
    assert sample.metadata["input_key"] == "owl"
    assert spans(sample) == [("call", 800, 1600)]
    samples, _ = soundfile.read(wood / "audio" / "a.flac", dtype="float32")
    np.testing.assert_array_equal(sample.audio[0], samples)
    assert summary.missing == 0
    assert "from the wood" in summary.notes


def test_the_manifest_says_what_was_imported_and_tells_no_password(wood, packed) -> None:
    notes = "s3://key:word@bucket/notes.txt"
    dataset, _ = packed(wood / "birds.csv", "forest:birds", importer_options={"score": "0.3", "notes": notes})
    assert dataset.manifest.options["from"] == "forest:birds"
    assert dataset.manifest.options["from_options"] == {"score": "0.3", "notes": "s3://bucket/notes.txt"}


def test_columns_of_its_metadata_serve_as_keys_labels_and_splits(wood, packed) -> None:
    dataset, _ = packed(wood / "birds.csv", "forest:birds", key_column="key", split_column="key")
    assert sorted(dataset.keys()) == ["owl", "tit"]
    with pytest.raises(InputError, match=r"birds\.csv:1: --label key: .*gives labels already, 'owl'"):
        packed(wood / "birds.csv", "forest:birds", label="key", output="other")
    with pytest.raises(InputError, match="no column 'keys'.*did you mean 'key'"):
        packed(wood / "birds.csv", "forest:birds", split_column="keys", output="other")


def test_a_file_that_is_missing_stops_the_run_or_is_listed(wood, packed, tmp_path) -> None:
    options = {"importer_options": {"score": "0"}}
    with pytest.raises(
        InputError, match=r"birds\.csv:3: no file at .*audio/c\.flac or .*c\.wav.*--on-error skip"
    ) as err:
        packed(wood / "birds.csv", "forest:birds", **options)
    assert "\n" not in str(err.value)
    assert not (tmp_path / "packed").exists()
    dataset, summary = packed(wood / "birds.csv", "forest:birds", on_error="skip", **options)
    assert (len(dataset), summary.missing, summary.as_json()["missing"]) == (2, 1, 1)
    (line,) = (tmp_path / "packed" / "missing.jsonl").read_text().splitlines()
    tried = [str(wood / "audio" / "c.flac"), str(wood / "c.wav")]
    assert json.loads(line) == {"file": "c.wav", "where": f"{wood / 'birds.csv'}:3", "tried": tried}


def test_nothing_there_is_an_error_that_says_where_it_looked(wood, packed, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"none of 2 files .* looked below .*empty, for the first .*audio/a\.flac.*--root"
    ):
        packed(wood / "birds.csv", "forest:birds", root=tmp_path / "empty", on_error="skip")
    with pytest.raises(InputError, match=r"there is no folder .*nowhere.*--root"):
        packed(wood / "birds.csv", "forest:birds", root=tmp_path / "nowhere")
    with pytest.raises(InputError, match="it names no recordings"):
        packed(wood / "birds.csv", "forest:birds", importer_options={"score": "2"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": "1"}, "--from-option scores: forest:birds has no such option; it has score, loud, notes"),
        ({"score": "much"}, "--from-option score=much: not a number"),
        ({"loud": "2"}, "--from-option loud=2: write true or false"),
    ],
)
def test_options_are_checked(wood, packed, options, message) -> None:
    with pytest.raises(InputError, match=message):
        packed(wood / "birds.csv", "forest:birds", importer_options=options)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("audioste", "no such kind; choose labels, pairs, framed, spg, audioset, groups, stems, or name a function"),
        ("no_such_module:f", "can't import 'no_such_module'"),
        (":f", "can't import ''"),
        ("json:no_such", "'json' has no function 'no_such'"),
        ("forest:not_a_function", "has no function 'not_a_function'"),
    ],
)
def test_what_is_no_importer_is_refused(wood, packed, kind, message) -> None:
    with pytest.raises(InputError, match=message):
        packed(wood / "birds.csv", kind)


def test_each_kind_is_there() -> None:
    assert [importer_of(kind).__name__ for kind in KINDS] == list(KINDS)


def test_options_of_columns_belong_to_manifests(wood, packed) -> None:
    with pytest.raises(InputError, match="--field is for manifests; --from forest:birds knows"):
        packed(wood / "birds.csv", "forest:birds", members={"x": "y"})
    with pytest.raises(InputError, match="there is no such file or folder"):
        packed(wood / "none.csv", "forest:birds")
