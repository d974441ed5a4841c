"""Datasets of features are repaired like recordings; what an index of theirs had is found in the recordings' index."""

import shutil

import pytest

import shardkit as sk
from shardkit.core.errors import InputError
from shardkit.features import FeaturizeOptions, featurize
from shardkit.format.manifest import MANIFEST_NAME
from shardkit.nn import LogMel
from shardkit.repair.run import repair
from shardkit.report.verify import verify
from shardkit.storage.location import locate

from .conftest import RATE, Damageable


@pytest.fixture
def features(packed, tmp_path):
    module = LogMel(sample_rate=RATE, n_fft=512, n_mels=16)
    featurize(sk.open(packed, split="all"), locate(tmp_path / "features"), module, options=FeaturizeOptions(workers=1))
    return Damageable(tmp_path / "features")


def test_a_lost_index_and_a_damaged_tar_of_features(features):
    index = features.manifest["shards"][0]["index"]
    before = (features.folder / index).read_bytes()
    (features.folder / index).unlink()
    last = features.shards[-1]
    features.flip(last, (features.folder / last).stat().st_size // 2)
    done = repair(features.location)
    assert (features.folder / features.manifest["shards"][0]["index"]).read_bytes() == before
    assert verify(features.location, deep=True).problems == ()
    assert {action.shard for action in done.of("quarantined")} <= {last}
    assert done.kept_samples >= 11


def test_features_whose_recordings_have_gone_are_not_given_facts_out_of_the_air(features, packed, tmp_path):
    moved = Damageable(shutil.copytree(features.folder, tmp_path / "moved"))
    moved.edit_manifest(lambda manifest: manifest["features"].update(source=str(tmp_path / "nowhere")))
    (moved.folder / moved.manifest["shards"][0]["index"]).unlink()
    done = repair(moved.location)
    assert all("featurize" in action.reason for action in done.of("quarantined"))
    assert len(done.of("dropped-shard")) == 1
    assert verify(moved.location).problems == ()


def test_a_lost_manifest_of_features_says_what_is_gone_with_it(features):
    (features.folder / MANIFEST_NAME).unlink()
    with pytest.raises(InputError, match="shards hold features, and what these are is gone"):
        repair(features.location)


def test_a_manifest_of_features_that_is_cut_off_is_made_again(features):
    path = features.folder / MANIFEST_NAME
    text = path.read_text()
    path.write_text(text.replace('"totals"', '"totbls"'))
    repair(features.location)
    assert path.read_text() == text
