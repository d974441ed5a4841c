"""``shardkit export``: samples back to plain files, byte for byte, with a manifest that packs them again.

    FOLDER/KEY.EXTENSION      each member of each sample
    FOLDER/manifest.jsonl     one line a sample; written last, so a folder without it is not whole

Keys come from a dataset that somebody else may have made, and are used as paths here: one that leads out of the
folder is refused before anything is written.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from shardkit.core.errors import FormatError, InputError, StorageError
from shardkit.core.sizes import format_size
from shardkit.format.index import PRIMARY, RESERVED
from shardkit.pack.fields import JSON_FIELD
from shardkit.report.clip import write_audio
from shardkit.stream.catalog import Catalog
from shardkit.stream.piece import read_member
from shardkit.stream.view import View

__all__ = ["ExportSummary", "export", "write_audio"]

MANIFEST_NAME = "manifest.jsonl"
_READERS = 8  # members in flight: what remote storage needs, and local storage can take
_AT_ONCE = 256  # so that a million samples don't become a million queued reads


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSummary:
    """What ``export`` wrote.

    Attributes:
        folder: Where.
        manifest: The file that packs it again.
        samples: How many samples.
        files: How many members they had; each is a file.
        bytes: Size of these files.
        pack_options: What ``shardkit pack`` needs to be told to pack ``manifest`` again.
    """

    folder: Path
    manifest: Path
    samples: int
    files: int
    bytes: int
    pack_options: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.folder}: {self.samples:,} samples, {self.files:,} files, {format_size(self.bytes)}; "
            f"to pack it again: shardkit pack {self.manifest} OUTPUT {' '.join(self.pack_options)}"
        )


@dataclass(frozen=True, slots=True)
class _Member:
    """One file to write: ``name`` below the folder."""

    row: int
    field: str
    name: str
    size: int


def export(
    view: View, folder: Path, *, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> ExportSummary:
    """Write the members of a view's samples as files, and a manifest for ``shardkit pack --codec keep``.

    ``KEY.json`` is written like any other member, but left out of the manifest: packing makes it anew from the
    columns. A metadata column with the name of one of the manifest's own is written as ``source_NAME``.

    Args:
        view: What to write; a sample that it lists twice is written once.
        folder: New or empty.
        progress: Called with (bytes written, bytes in all) after each member.

    Raises:
        InputError: The folder is not empty.
        FormatError: A key or an extension would lead out of the folder, or two members to one file.
        CorruptDataError: A member's bytes are not those that were packed; the message says where.
        StorageError: The dataset can't be read or the folder can't be written.
    """
    catalog = view.catalog
    rows = list(dict.fromkeys(view.rows.tolist()))
    members = [member for row in rows for member in _members(catalog, row)]
    _check_names(catalog, members)
    _make_folder(folder)
    total, done = sum(member.size for member in members), 0
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(members), _AT_ONCE):
            for written in pool.map(
                lambda member: _write(folder / member.name, read_member(catalog, member.field, member.row)),
                members[start : start + _AT_ONCE],
            ):
                done += written
                progress(done, total)
    layout = _Layout(catalog, rows, members)
    _write(folder / MANIFEST_NAME, "".join(layout.lines()).encode())
    return ExportSummary(
        folder=folder,
        manifest=folder / MANIFEST_NAME,
        samples=len(rows),
        files=len(members),
        bytes=done,
        pack_options=layout.pack_options(),
    )


class _Layout:
    """The manifest: which columns it has, and its lines."""

    def __init__(self, catalog: Catalog, rows: Sequence[int], members: Sequence[_Member]) -> None:
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

    def lines(self) -> Iterator[str]:
        """Yield one line a sample."""
        light = self._catalog.table.drop_columns(["fields", "duration_s"])
        for start in range(0, len(self._rows), _AT_ONCE):
            part = self._rows[start : start + _AT_ONCE]
            for row, record in zip(part, light.take(pa.array(part)).to_pylist(), strict=True):
                yield json.dumps(self._line(row, record), ensure_ascii=False, default=str, allow_nan=False) + "\n"

    def pack_options(self) -> tuple[str, ...]:
        """Return the options that make ``shardkit pack`` read the manifest as it is meant."""
        options = ["--codec keep", "--key key", "--label labels"]
        options += ["--split split"] if self._with_split else []
        for name, column in self._fields.items():
            options.append(f"--field {name}={column}")
            columns = self._catalog.fields[name]
            first = next(row for row in self._rows if columns.present[row])
            hop_s = None if columns.is_audio else columns.entry(first).get("hop_s")
            options += [] if hop_s is None else [f"--hop {name}={hop_s!r}"]
        return tuple(options)

    def _line(self, row: int, record: Mapping[str, Any]) -> dict[str, Any]:
        names, rate = self._names[row], record["sample_rate"] or 1
        line: dict[str, Any] = {"path": names.get(PRIMARY), "key": record["key"], "labels": record["labels"] or []}
        if self._with_split:
            line["split"] = self._catalog.shards[self._catalog.shard_of_row[row]].split
        line["intervals"] = [
            [item["name"], item["start"] / rate, item["stop"] / rate] for item in record["intervals"] or ()
        ]
        line |= {column: names.get(name) for name, column in self._fields.items()}
        return line | {column: _plain(record[name]) for name, column in self._columns.items()}


def _members(catalog: Catalog, row: int) -> Iterator[_Member]:
    for name, columns in catalog.fields.items():
        if columns.present[row]:
            extension = columns.entry(row)["extension"]
            yield _Member(row, name, f"{catalog.key(row)}.{extension}", int(columns.size[row]))


def _check_names(catalog: Catalog, members: Sequence[_Member]) -> None:
    """Raise unless every name is a path below the folder, and no two are one file, or one the other's folder."""
    seen: set[str] = {MANIFEST_NAME}
    for member in members:
        where = catalog.place(member.field, member.row)
        if "\0" in member.name or not {"", ".", ".."}.isdisjoint(member.name.split("/")):
            raise FormatError(f"{where}: {member.name!r} is not a path below a folder; nothing was written")
        if member.name in seen:
            raise FormatError(f"{where}: there is another file {member.name!r}; nothing was written")
        seen.add(member.name)
    for member in members:
        parent = member.name.rpartition("/")[0]
        while parent:
            if parent in seen:
                where = catalog.place(member.field, member.row)
                raise FormatError(f"{where}: {parent!r} would be a file and a folder; nothing was written")
            parent = parent.rpartition("/")[0]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = next(folder.iterdir(), None)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{folder}: it or a folder above it is a file; name a new or an empty folder") from None
    except OSError as err:
        raise StorageError(f"{folder}: can't be made: {err.strerror}; choose a folder you may write to") from err
    if found is not None:
        raise InputError(f"{folder}: not empty, it holds {found.name!r}; name a new or an empty folder")


def _write(path: Path, data: bytes) -> int:
    """Write a new file and return its size; what exists is never overwritten."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            return file.write(data)
    except OSError as err:
        raise StorageError(f"{path}: can't be written: {err.strerror}; empty the folder and try again") from err


def _plain(value: Any) -> Any:
    """Return a value that JSON holds; it has no NaN and no infinities."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
