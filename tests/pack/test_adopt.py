"""Existing WebDataset tars become a dataset where they lie."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webdataset

import shardkit as sk
from shardkit.core.errors import FormatError, InputError
from shardkit.pack.adopt import AdoptOptions, adopt
from shardkit.report.verify import verify
from shardkit.storage.location import locate
from shardkit.storage.store import write_bytes
from tests.conftest import S3


def encoded(samples: np.ndarray, container: str) -> bytes:
    sink = io.BytesIO()
    soundfile.write(sink, samples, 16000, format=container)
    return sink.getvalue()


def audio(i: int) -> np.ndarray:
    return (np.random.default_rng(i).uniform(-0.5, 0.5, 16000 + i) * 32767).astype(np.int16)


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tars as the webdataset package writes them."""
    folder = tmp_path_factory.mktemp("tars")
    for shard in range(3):
        with webdataset.TarWriter(str(folder / f"wds-{shard}.tar")) as writer:
            for i in range(shard * 4, shard * 4 + 4):
                writer.write(
                    {
                        "__key__": f"sample{i:03d}",
                        "flac": encoded(audio(i), "FLAC"),
                        "stem.wav": encoded(audio(i) // 2, "WAV"),
                        "cls": f"class{i % 2}",
                        "json": {"speaker": f"s{i % 3}", "age": 20 + i, "nested": {"x": 1}},
                    }
                )
    return folder


@pytest.fixture(scope="module")
def adopted(tars: Path, tmp_path_factory: pytest.TempPathFactory) -> sk.Dataset:
    before = {path: path.read_bytes() for path in tars.iterdir()}
    output = tmp_path_factory.mktemp("adopted") / "index"
    summary = adopt([locate(tars)], locate(output), options=AdoptOptions(label="cls"))
    assert summary.totals.samples == 12
    assert {path: path.read_bytes() for path in tars.iterdir()} == before
    return sk.open(output)


def test_every_sample_is_there_with_labels_and_columns(adopted: sk.Dataset) -> None:
    assert adopted.labels == ("class0", "class1")
    for i in range(12):
        sample = adopted[f"sample{i:03d}"]
        np.testing.assert_array_equal(sample.audio[0], audio(i) / np.float32(32768))
        np.testing.assert_array_equal(sample.fields["stem"].samples[0], (audio(i) // 2) / np.float32(32768))
        assert (sample.labels, sample.metadata) == ((f"class{i % 2}",), {"speaker": f"s{i % 3}", "age": 20 + i})
        assert sample.fields["json"]["nested"] == {"x": 1}


def test_crops_and_streams_read_ranges(adopted: sk.Dataset) -> None:
    crop = adopted.read("sample005", start_s=0.3, duration_s=0.2)
    np.testing.assert_array_equal(crop.audio[0], audio(5)[4800:8000] / np.float32(32768))
    stream = sk.Stream(adopted, crop=sk.SalientCrop(0.3), batch_size=6, passes=1)
    assert sorted(key for batch in stream for key in batch.keys) == sorted(adopted.keys())


def test_the_index_may_lie_beside_the_tars(tars: Path, tmp_path: Path) -> None:
    for path in tars.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    adopt([locate(tmp_path)], locate(tmp_path), options=AdoptOptions())
    manifest = json.loads((tmp_path / "shardkit.json").read_text())
    assert [shard["path"] for shard in manifest["shards"]] == ["wds-0.tar", "wds-1.tar", "wds-2.tar"]
    assert len(sk.open(tmp_path)) == 12


def test_tars_on_s3(tars: Path, s3: S3, tmp_path: Path) -> None:
    write_bytes(locate(f"{s3.url}/wds/a.tar"), (tars / "wds-0.tar").read_bytes())
    adopt([locate(f"{s3.url}/wds/a.tar")], locate(tmp_path / "out"), options=AdoptOptions())
    sample = sk.open(tmp_path / "out").read("sample002", start_s=0.5, duration_s=0.1)
    np.testing.assert_array_equal(sample.audio[0], audio(2)[8000:9600] / np.float32(32768))


def test_equal_keys_are_refused_or_prefixed(tars: Path, tmp_path: Path) -> None:
    (tmp_path / "again.tar").write_bytes((tars / "wds-0.tar").read_bytes())
    both = [locate(tars / "wds-0.tar"), locate(tmp_path / "again.tar")]
    with pytest.raises(InputError, match=r"again\.tar: key 'sample000' occurs in .*wds-0\.tar too.*--prefix-keys"):
        adopt(both, locate(tmp_path / "out"), options=AdoptOptions())
    adopt(both, locate(tmp_path / "out"), options=AdoptOptions(prefix_keys=True))
    assert sk.open(tmp_path / "out").keys()[::4] == ["wds-0/sample000", "again/sample000"]
    assert sk.open(tmp_path / "out")["again/sample001"].audio.shape == (1, 16001)


def test_damage_is_refused_or_reported(tars: Path, tmp_path: Path) -> None:
    data = (tars / "wds-0.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(data[: len(data) // 2])
    with pytest.raises(FormatError, match=r"cut\.tar: (cut off|not a whole)"):
        adopt([locate(tmp_path / "cut.tar")], locate(tmp_path / "out"), options=AdoptOptions())
    broken = data.replace(b"fLaC", b"fLaX", 1)
    (tmp_path / "broken.tar").write_bytes(broken)
    with pytest.raises(sk.AudioError, match=r"broken\.tar: key 'sample000', member 'flac' at byte"):
        adopt([locate(tmp_path / "broken.tar")], locate(tmp_path / "out"), options=AdoptOptions())
    summary = adopt([locate(tmp_path / "broken.tar")], locate(tmp_path / "out"), options=AdoptOptions(on_error="skip"))
    assert (summary.totals.samples, len(summary.unpacked)) == (3, 1)


def tar_of(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


ODD_SAMPLES = [
    ({"/a.wav": b""}, "key '/a' begins with '/' or has a '..'"),
    ({"../a.wav": b""}, r"key '\.\./a' begins with '/' or has a '..'"),
    ({"a.wav": b"", "a.json": b"[" * 100_000}, "key 'a', member 'json' at byte .*: not JSON"),
    ({"a.wav": b"", "a.json": b'{"x": "\\ud800"}'}, "key 'a': its JSON holds half of a surrogate pair"),
    ({"a.wav": b"", "a.json": b'{"\\ud800": 1}'}, "key 'a': its JSON holds half of a surrogate pair"),
    ({"a.wav": b"", "a.json": b'{"labels": ["\\ud800"]}'}, "key 'a': its JSON holds half of a surrogate pair"),
    ({"a.wav": b"", "a.json": b'{"tag": {"x": 1}}'}, "key 'a': column 'tag' holds a dict"),
]


@pytest.mark.parametrize(("members", "message"), ODD_SAMPLES)
def test_a_sample_that_can_not_be_kept_is_refused_or_reported(
    tmp_path: Path, members: dict[str, bytes], message: str
) -> None:
    recording = encoded(audio(0), "WAV")
    filled = {name: recording if name.endswith(".wav") else data for name, data in members.items()}
    tar = tar_of(tmp_path / "odd.tar", filled | {"b.wav": recording, "b.json": b'{"tag": "x"}'})
    label = "tag" if "tag" in message else None
    with pytest.raises(FormatError, match=rf"odd\.tar: {message}"):
        adopt([locate(tar)], locate(tmp_path / "out"), options=AdoptOptions(label=label))
    options = AdoptOptions(label=label, on_error="skip")
    summary = adopt([locate(tar)], locate(tmp_path / "out"), options=options)
    assert (sk.open(tmp_path / "out").keys(), len(summary.unpacked)) == (["b"], 1)
    assert verify(locate(tmp_path / "out")).problems == ()


def test_labels_that_nobody_asked_for_may_have_any_shape(tmp_path: Path) -> None:
    members = {"a.wav": encoded(audio(0), "WAV"), "a.json": b'{"labels": [{"start": 1}], "n": 1}'}
    adopt([locate(tar_of(tmp_path / "x.tar", members))], locate(tmp_path / "out"), options=AdoptOptions())
    sample = sk.open(tmp_path / "out")["a"]
    assert (sample.labels, sample.metadata, sample.fields["json"]["labels"]) == ((), {"n": 1}, [{"start": 1}])
