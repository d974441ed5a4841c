"""The same on S3: packed to the same bytes, read as the same sequence, refused at once with wrong credentials."""

import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from shardkit.storage.store import write_bytes
from tests.conftest import S3


@pytest.fixture(scope="module")
def on_s3(datasets: dict[str, Path], s3: S3) -> str:
    manifest = datasets["tracks"].with_name("tracks-in") / "manifest.jsonl"
    inputs = InputOptions(label="label", members={"vocals": "vocals"})
    pack(
        locate(manifest), locate(f"{s3.url}/tracks"), inputs=inputs, options=PackOptions(shard_bytes=400_000, workers=1)
    )
    return f"{s3.url}/tracks"


def test_a_dataset_on_s3_has_the_bytes_of_one_on_disk(datasets: dict[str, Path], on_s3: str, s3: S3) -> None:
    def tree(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert tree(s3.folder / "tracks") == tree(datasets["tracks"])


def test_a_stream_from_s3_equals_the_stream_from_disk(datasets: dict[str, Path], on_s3: str) -> None:
    def batches(view: sk.View) -> list[sk.Batch]:
        return list(islice(sk.Stream(view, crop=sk.SalientCrop(0.5), batch_size=8, fields=["vocals"]), 3))

    for disk, s3 in zip(batches(sk.open(datasets["tracks"])), batches(sk.open(on_s3)), strict=True):
        assert disk.keys == s3.keys
        np.testing.assert_array_equal(disk.audio, s3.audio)
        np.testing.assert_array_equal(disk.fields["vocals"], s3.fields["vocals"])


def test_inputs_may_lie_on_s3_too(on_s3: str, s3: S3, datasets: dict[str, Path], tmp_path: Path) -> None:
    source = datasets["clips"].with_name("clips-in")
    for path in sorted(source.rglob("*.wav"))[:4]:
        write_bytes(locate(f"{s3.url}/raw/{path.name}"), path.read_bytes())
    pack(locate(f"{s3.url}/raw"), locate(tmp_path / "out"), inputs=InputOptions(), options=PackOptions(workers=1))
    assert sorted(sk.open(tmp_path / "out").keys()) == [f"clip00{i}" for i in (0, 3, 6, 9)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"endpoint_url": "http://127.0.0.1:9"}, "127.0.0.1:9"),
        ({"key": "wrong", "secret": "wrong-secret"}, "access key|credentials|denied"),
    ],
)
def test_a_wrong_endpoint_or_key_fails_at_once(on_s3: str, options: dict[str, str], message: str) -> None:
    began = time.monotonic()
    with pytest.raises(sk.StorageError, match=message):
        sk.open(on_s3, storage_options=options)
    assert time.monotonic() - began < 10
