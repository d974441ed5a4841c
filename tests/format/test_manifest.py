"""The manifest and the index: round trips, and refusals that say where."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from shardkit.core.errors import CorruptDataError, FormatError
from shardkit.format.arrays import ArrayLayout
from shardkit.format.hashing import file_hash
from shardkit.format.index import AudioEntry, IndexRow, MemberEntry, dump_index, index_schema, load_index
from shardkit.format.manifest import FieldInfo, Manifest, ShardInfo, dump_manifest, load_manifest, totals
from tools.write_schemas import SCHEMAS, schema_text

SHARD = ShardInfo(
    split="train",
    path="train/000000.tar",
    bytes=10,
    hash=file_hash(b"tar"),
    index="train/000000.parquet",
    index_hash=file_hash(b"index"),
    samples=2,
    duration_s=1.5,
)
MANIFEST = Manifest(
    name="späte Daten",
    splits={"train": totals([SHARD])},
    shards=(SHARD,),
    labels=("a", "b"),
    interval_names=("speech",),
    fields={"audio": FieldInfo(kind="audio", extensions=("flac",))},
    columns={"lang": "string"},
    options={"codec": "auto"},
    totals=totals([SHARD]),
)
AUDIO = AudioEntry(
    codec="flac",
    sample_format="",
    sample_rate=8000,
    channels=1,
    frames=4000,
    bit_depth=16,
    data_offset=42,
    peak=0.5,
    loudness_lufs=-23.0,
    seek_table=b"\1",
    loudness_track=b"\5",
)


def test_manifest_round_trip() -> None:
    assert load_manifest(dump_manifest(MANIFEST), where="x") == MANIFEST


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas_are_those_of_the_models(name: str) -> None:
    path = Path(__file__).parents[2] / "schemas" / name
    assert path.read_text() == schema_text(SCHEMAS[name]), "run 'make schemas'"


def changed(**changes: object) -> bytes:
    return json.dumps(json.loads(dump_manifest(MANIFEST)) | changes).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "x/shardkit.json: not JSON"),
        (b"[]", "not a shardkit manifest: at the top level"),
        (changed(version=2), "format version 2, this shardkit reads up to 1; upgrade"),
        (changed(shards=[{"split": "train"}]), r"at shards\.0\.path: Field required"),
        (changed(extra=1), "at extra: Extra inputs are not permitted"),
    ],
)
def test_what_is_no_manifest_is_refused_with_the_place(data: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        load_manifest(data, where="x/shardkit.json")


def index_bytes() -> bytes:
    row = IndexRow(
        key="a",
        members={
            "audio": MemberEntry(extension="flac", offset=512, size=9, xxh3=2**64 - 1, audio=AUDIO),
            "frames": MemberEntry(
                extension="frames.npy", offset=1536, size=5, xxh3=0, hop_s=0.01, array=ArrayLayout("<f4", (3, 2), 128)
            ),
        },
        labels=["dog"],
        intervals=[("speech", 10, 20)],
        metadata={"lang": "en"},
    )
    schema = index_schema({"audio": "audio", "frames": "array"}, {"lang": pa.string()})
    return dump_index([row], schema, note={"tar": "x.tar"})


def test_index_round_trip() -> None:
    table, note = load_index(index_bytes(), where="x", expected_hash=file_hash(index_bytes()))
    (row,) = table.to_pylist()
    assert note == {"tar": "x.tar"}
    assert (row["key"], row["lang"], row["duration_s"], row["codec"], row["frames"]) == ("a", "en", 0.5, "flac", 4000)
    assert row["fields"]["audio"]["xxh3"] == 2**64 - 1
    assert row["fields"]["frames"] == {
        "extension": "frames.npy",
        "offset": 1536,
        "size": 5,
        "xxh3": 0,
        "hop_s": 0.01,
        "dtype": "<f4",
        "shape": [3, 2],
        "data_offset": 128,
    }
    assert row["intervals"] == [{"name": "speech", "start": 10, "stop": 20}]


def test_index_with_another_hash_is_refused() -> None:
    with pytest.raises(CorruptDataError, match="the manifest says"):
        load_index(index_bytes(), where="x.parquet", expected_hash=file_hash(b"other"))


def test_what_is_no_index_is_refused() -> None:
    with pytest.raises(FormatError, match="not a shardkit index"):
        load_index(b"PAR1 nothing", where="x.parquet")
