"""What an export consists of: the file of each member, and the manifest that packs them again."""

import io
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shardkit.core.errors import FormatError
from shardkit.format.hashing import member_hash
from shardkit.format.index import PRIMARY, RESERVED
from shardkit.pack.fields import JSON_FIELD
from shardkit.stream.catalog import Catalog

MANIFEST_NAME = "manifest.jsonl"
TYPED_MANIFEST_NAME = "manifest.parquet"
ONTOLOGY_NAME = "ontology.json"
MAX_NAME_BYTES = 255  # of a file's name, on the file systems of Linux; macOS and Windows count characters
_AT_ONCE = 256
_MAX_PATH_CHARS = 4096  # Linux's PATH_MAX, in bytes
# Devices under any extension, drives and streams, other separators and signs that no name has there.
_WINDOWS_RESERVED = re.compile(r'(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*[\\:*?"<>|\x00-\x1f].*', re.DOTALL)
_INTERVAL = pa.struct([("name", pa.string()), ("start_s", pa.float64()), ("stop_s", pa.float64())])
_JSON_TYPES = (pa.string(), pa.bool_(), pa.int64(), pa.float64())


@dataclass(frozen=True, slots=True)
class Member:
    """One file to write: ``name`` below the folder."""

    row: int
    field: str
    name: str
    size: int


def members_of(catalog: Catalog, row: int) -> Iterator[Member]:
    """Yield the members of a sample.

    Raises:
        FormatError: A key or an extension leads out of the folder that is exported to.
    """
    for name, columns in catalog.fields.items():
        if columns.present[row]:
            extension = str(columns.entry(row)["extension"])
            file = _file_name(catalog.key(row), extension)
            if file is None:
                where = catalog.place(name, row)
                raise FormatError(f"{where}: its name is not a path below a folder; nothing was written")
            yield Member(row, name, file, int(columns.size[row]))


def check_names(catalog: Catalog, members: Sequence[Member]) -> None:
    """Raise if two members are one file, or one is a folder of the other."""
    seen: set[str] = {MANIFEST_NAME, TYPED_MANIFEST_NAME}
    seen |= set() if catalog.ontology is None else {ONTOLOGY_NAME}
    for member in members:
        if member.name in seen:
            where = catalog.place(member.field, member.row)
            raise FormatError(f"{where}: there is another file {member.name!r}; nothing was written")
        seen.add(member.name)
    for member in members:
        parent = member.name.rpartition("/")[0]
        while parent:
            if parent in seen:
                where = catalog.place(member.field, member.row)
                raise FormatError(f"{where}: {parent!r} would be a file and a folder; nothing was written")
            parent = parent.rpartition("/")[0]


class Layout:
    """The manifest of an export: its columns, its bytes, and what ``pack`` must be told of it."""

    def __init__(self, catalog: Catalog, rows: Sequence[int], members: Sequence[Member]) -> None:
        self._catalog = catalog
        self._rows = rows
        self._names: dict[int, dict[str, str]] = {}
        for member in members:
            self._names.setdefault(member.row, {})[member.field] = member.name
        further = dict.fromkeys(member.field for member in members if member.field not in (PRIMARY, JSON_FIELD))
        self._fields = {name: f"{name}_file" for name in further}
        shards = np.unique(catalog.shard_of_row[np.array(rows, dtype=np.int64)])
        self._with_split = len({catalog.shards[shard].split for shard in shards}) > 1
        ours = {"path", "key", "labels", "intervals", *self._fields.values()}
        ours |= {"split"} if self._with_split else set()
        self._columns: dict[str, str] = {}
        user = [name for name in catalog.table.column_names if name not in RESERVED]
        for name in user:
            column = name
            while column in ours or (column != name and column in user):
                column = f"source_{column}"
            self._columns[name] = column
        self._user = catalog.table.select(user).take(pa.array(rows, pa.int64()))
        self.name = MANIFEST_NAME if all(map(_fits_json, self._user.columns)) else TYPED_MANIFEST_NAME

    def manifest(self) -> bytes:
        """Return the manifest: JSON lines where these keep every column's type, else Parquet."""
        return self._parquet() if self.name == TYPED_MANIFEST_NAME else "".join(self._lines()).encode()

    def pack_options(self) -> tuple[str, ...]:
        """Return the arguments that make ``shardkit pack`` read the manifest as it is meant."""
        options = ["--codec", "keep", "--key", "key", "--label", "labels"]
        options += ["--split", "split"] if self._with_split else []
        for name, column in self._fields.items():
            options += ["--field", f"{name}={column}"]
            columns = self._catalog.fields[name]
            first = next(row for row in self._rows if columns.present[row])
            hop_s = None if columns.is_audio else columns.entry(first).get("hop_s")
            options += [] if hop_s is None else ["--hop", f"{name}={hop_s!r}"]
        return tuple(options)

    def _lines(self) -> Iterator[str]:
        records = self._records()
        for start in range(0, len(self._rows), _AT_ONCE):
            part = self._user.slice(start, _AT_ONCE).to_pylist() if self._columns else repeat({})
            # Arrow takes a table without columns for one of any number of rows.
            for line, values in zip(islice(records, _AT_ONCE), part, strict=False):
                line["intervals"] = [list(interval.values()) for interval in line["intervals"]]
                line |= {column: _finite(values[name]) for name, column in self._columns.items()}
                yield json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n"

    def _parquet(self) -> bytes:
        schema = {"path": pa.string(), "key": pa.string(), "labels": pa.list_(pa.string())}
        schema |= {"split": pa.string()} if self._with_split else {}
        schema |= {"intervals": pa.list_(_INTERVAL), **dict.fromkeys(self._fields.values(), pa.string())}
        table = pa.Table.from_pylist(list(self._records()), schema=pa.schema(list(schema.items())))
        for name, column in self._columns.items():
            values = self._user.column(name)
            if pa.types.is_floating(values.type):
                values = pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))
            table = table.append_column(column, values)
        sink = io.BytesIO()
        pq.write_table(table, sink)
        return sink.getvalue()

    def _records(self) -> Iterator[dict[str, Any]]:
        """Yield the manifest's own columns of each sample."""
        light = self._catalog.table.select(["key", "labels", "intervals", "sample_rate"])
        for start in range(0, len(self._rows), _AT_ONCE):
            part = self._rows[start : start + _AT_ONCE]
            for row, record in zip(part, light.take(pa.array(part)).to_pylist(), strict=True):
                yield self._record(row, record)

    def _record(self, row: int, record: Mapping[str, Any]) -> dict[str, Any]:
        names, rate = self._names[row], record["sample_rate"] or 1
        found: dict[str, Any] = {
            "path": names.get(PRIMARY),
            "key": "/".join(_parts(record["key"])),
            "labels": record["labels"] or [],
        }
        if self._with_split:
            found["split"] = self._catalog.shards[self._catalog.shard_of_row[row]].split
        found["intervals"] = [
            {"name": item["name"], "start_s": item["start"] / rate, "stop_s": item["stop"] / rate}
            for item in record["intervals"] or ()
        ]
        return found | {column: names.get(name) for name, column in self._fields.items()}


def _file_name(key: str, extension: str, *, windows: bool = os.name == "nt") -> str | None:
    """Return the file of a member, or None for one that would lie outside the folder.

    It is KEY.EXTENSION, without a ``./`` that tar put in front, and with names that file systems find too long cut.

    >>> _file_name("./win/a", "vocals.flac"), _file_name("../a", "wav")
    ('win/a.vocals.flac', None)
    >>> len(_file_name("a" * 300, "flac"))
    255
    >>> [_file_name(key, "wav", windows=True) for key in ("con", "a/nul", "c:x", "a?b", "fine")]
    [None, None, None, None, 'fine.wav']
    """
    name = f"{key}.{extension}"
    if name.startswith("/") or "\0" in name or ".." in name.split("/") or len(name) > _MAX_PATH_CHARS:
        return None
    if windows and any(_WINDOWS_RESERVED.fullmatch(part) or part[-1:] in (" ", ".") for part in _parts(name)):
        return None
    *folders, last = _parts(name)
    stem, dot, ending = last.partition(f".{extension}") if last.endswith(f".{extension}") else (last, "", "")
    ending = dot + ending
    stem = _cut(stem, MAX_NAME_BYTES - len(ending.encode()))
    return "/".join([*(_cut(folder, MAX_NAME_BYTES) for folder in folders), stem + ending])


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in ("", ".")]


def _cut(name: str, max_bytes: int) -> str:
    """Return a name of no more bytes; a hash in place of what is cut off keeps names apart."""
    data = name.encode()
    if len(data) <= max_bytes:
        return name
    mark = f"~{member_hash(data):016x}"
    return data[: max(0, max_bytes - len(mark))].decode(errors="ignore") + mark


def _fits_json(column: pa.ChunkedArray) -> bool:
    """Tell whether a column read from JSON has the type that it has here; one without values has none there."""
    return column.type == pa.string() or (column.null_count < len(column) and _is_json_type(column.type))


def _is_json_type(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return all(_is_json_type(part.type) for part in kind)
    return _is_json_type(kind.value_type) if pa.types.is_list(kind) else kind in _JSON_TYPES


def _finite(value: Any) -> Any:
    """Return a value that JSON holds; it has no NaN and no infinities."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
