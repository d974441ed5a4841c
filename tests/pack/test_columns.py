"""Metadata columns: kept in the types that a manifest gives them, or refused where the row is named."""

import datetime
import decimal
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

import shardkit as sk
from shardkit.core.errors import InputError
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.report.verify import verify
from shardkit.storage.location import locate

NAMES = ("a.wav", "b.wav", "c.wav")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        soundfile.write(tmp_path / name, np.zeros(80, np.int16), 8000)
    return tmp_path


def packed(manifest: Path) -> sk.Dataset:
    output = manifest.parent / "out"
    pack(locate(manifest), locate(output), inputs=InputOptions(), options=PackOptions(workers=1, shuffle=False))
    return sk.open(output)


def jsonl(folder: Path, values: list[Any]) -> Path:
    rows = [{"path": name, "x": value} for name, value in zip(NAMES, values, strict=False)]
    (folder / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "m.jsonl"


NOON = datetime.datetime(2024, 2, 29, 12, 0, 0, 7, tzinfo=datetime.UTC)
PLAIN: dict[str, tuple[pa.DataType, list[Any]]] = {
    "int8": (pa.int8(), [1, None, -3]),
    "uint64": (pa.uint64(), [2**64 - 1, 0, None]),
    "float32": (pa.float32(), [0.5, None, 2.0]),
    "bool": (pa.bool_(), [True, False, None]),
    "date": (pa.date32(), [NOON.date(), None, None]),
    "time": (pa.time64("us"), [NOON.time(), None, None]),
    "moment": (pa.timestamp("us", "UTC"), [NOON, None, NOON]),
    "decimal": (pa.decimal128(9, 2), [decimal.Decimal("1.10"), None, None]),
    "bytes": (pa.binary(), [b"\xff\x00", None, b""]),
    "map": (pa.map_(pa.string(), pa.int16()), [[("k", 1)], [], None]),
    "list": (pa.list_(pa.float32()), [[0.5], [], None]),
    "struct": (pa.struct([("a", pa.int8()), ("b", pa.string())]), [{"a": 1, "b": None}, None, None]),
    "nothing": (pa.int32(), [None, None, None]),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_parquet_column_keeps_its_type_and_its_values(folder: Path, name: str) -> None:
    kind, values = PLAIN[name]
    pq.write_table(pa.table({"path": NAMES, "x": pa.array(values, kind)}), folder / "m.parquet")
    dataset = packed(folder / "m.parquet")
    column = dataset.table().column("x")
    assert column.type == kind
    assert column.to_pylist() == values
    assert dataset.manifest.columns["x"] == str(kind)
    assert [sample.metadata["x"] for sample in dataset] == values
    assert verify(locate(folder / "out"), deep=True).problems == ()


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (pa.array([NOON, None, None], pa.timestamp("ns", "UTC")), pa.timestamp("us", "UTC")),
        (pa.array(["x", "y", "x"]).dictionary_encode(), pa.string()),
        (pa.array(["x", "y", None], pa.large_string()), pa.string()),
        (pa.array([["x"], [], None], pa.large_list(pa.large_string())), pa.list_(pa.string())),
        (pa.nulls(3), pa.string()),
    ],
)
def test_what_only_differs_in_how_it_is_stored_is_kept_plainly(folder: Path, written: pa.Array, kept: Any) -> None:
    pq.write_table(pa.table({"path": NAMES, "x": written}), folder / "m.parquet")
    column = packed(folder / "m.parquet").table().column("x")
    assert column.type == kept
    assert column.to_pylist() == written.to_pylist()


def test_bytes_are_base64_in_the_json_member(folder: Path) -> None:
    pq.write_table(pa.table({"path": NAMES[:1], "x": [[b"\xff\x00"]], "d": [NOON.date()]}), folder / "m.parquet")
    packed(folder / "m.parquet")
    with tarfile.open(folder / "out" / "train" / "000000.tar") as archive:
        content = json.load(archive.extractfile("a.json"))
    assert (content["x"], content["d"]) == (["/wA="], "2024-02-29")


def test_large_whole_numbers_are_kept(folder: Path) -> None:
    column = packed(jsonl(folder, [2**64 - 1, None, 1])).table().column("x")
    assert (column.type, column.to_pylist()) == (pa.uint64(), [2**64 - 1, None, 1])


MIXED = [
    ([1, None, "x"], r"m\.jsonl:3: column 'x' holds text, but a number in .*m\.jsonl:1; make its values of one type"),
    ([[1], 2, 3], r"m\.jsonl:2: column 'x' holds a number, but a list in .*m\.jsonl:1"),
    ([True, 1, 2], r"m\.jsonl:2: column 'x' holds a number, but true or false in .*m\.jsonl:1"),
    ([1, 2**64], r"m\.jsonl:2: column 'x' holds an integer of more than 64 bits; make the column text"),
    ([-1, 2**64 - 1], r"m\.jsonl:1: column 'x' holds values of several types"),
    ([{"a": 1}, {"a": "y"}], r"m\.jsonl:1: column 'x' holds values of several types"),
    ([None, {}], r"m\.jsonl:2: 'x' holds objects without keys"),
    ([[], [{"a": {}}]], r"m\.jsonl:1: 'x' holds objects without keys"),
    ([1.0, float("nan")], r"m\.jsonl:2: column 'x' holds nan, which JSON can't hold; leave the cell empty"),
    ([[0.5, float("inf")]], r"m\.jsonl:1: column 'x' holds \[0\.5, inf\], which JSON can't hold"),
]


@pytest.mark.parametrize(("values", "message"), MIXED)
def test_a_column_that_can_not_be_kept_is_refused_with_its_row(folder: Path, values: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        packed(jsonl(folder, values))
    assert not (folder / "out" / "shardkit.json").exists()
