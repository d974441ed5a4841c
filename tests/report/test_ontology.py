"""The ontology of a dataset goes where the dataset goes: packed, exported and packed again, featurized."""

import json

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import shardkit as sk
from shardkit.cli.main import app
from shardkit.report.export import export
from tests.stream.events_dataset import ONTOLOGY


def shardkit(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def pets(tmp_path):
    for i, name in enumerate(["Dog", "Bark", "Siren", "Hum"]):
        (tmp_path / "in" / name).mkdir(parents=True)
        soundfile.write(tmp_path / "in" / name / f"{i}.wav", np.zeros(800, np.int16), 8000)
    (tmp_path / "o.json").write_text(json.dumps(ONTOLOGY.dump()))
    shardkit("pack", tmp_path / "in", tmp_path / "pets", "--label", "folder", "--ontology", tmp_path / "o.json")
    return sk.open(tmp_path / "pets")


def test_it_is_packed_exported_and_packed_again(pets, tmp_path) -> None:
    dogs = {"Dog/0", "Bark/1"}
    assert set(pets.having("Dog", descendants=True).keys()) == dogs
    assert set(pets.lacking("Dog").keys()) == {"Siren/2", "Hum/3"}
    shardkit("verify", tmp_path / "pets")
    summary = export(pets, tmp_path / "files")
    shardkit("pack", summary.manifest, tmp_path / "again", *summary.pack_options)
    again = sk.open(tmp_path / "again")
    assert again.catalog.ontology == pets.catalog.ontology == ONTOLOGY
    assert set(again.having("Dog", descendants=True).keys()) == dogs


def test_features_keep_it(pets, tmp_path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "mel.yaml").write_text("kind: LogMel\nsample_rate: 8000\nn_fft: 64\nhop_length: 32\nn_mels: 4\n")
    shardkit("featurize", tmp_path / "pets", tmp_path / "mels", "--config", tmp_path / "mel.yaml", "--workers", 1)
    assert sk.open(tmp_path / "mels").catalog.ontology == ONTOLOGY


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_what_is_no_ontology_stops_before_anything_is_written(tmp_path, content) -> None:
    (tmp_path / "o.json").write_text(content)
    soundfile.write(tmp_path / "0.wav", np.zeros(800, np.int16), 8000)
    with pytest.raises(sk.InputError, match=r"o\.json: "):
        shardkit("pack", tmp_path / "0.wav", tmp_path / "out", "--ontology", tmp_path / "o.json")
    assert not (tmp_path / "out").exists()
