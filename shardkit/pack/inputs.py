"""What is to be packed: a folder or a manifest becomes a list of inputs, checked before any work starts."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from shardkit.core.errors import InputError
from shardkit.core.sizes import count
from shardkit.format.index import RESERVED
from shardkit.format.manifest import MANIFEST_NAME
from shardkit.pack.bounds import Interval
from shardkit.pack.cells import cell_text, intervals_of_cell, key_of_cell, key_of_path, labels_of_cell, shown
from shardkit.pack.columns import column_name
from shardkit.pack.files import Files
from shardkit.pack.manifests import Row, Table, is_manifest, read_manifest
from shardkit.pack.members import Member
from shardkit.pack.places import placed
from shardkit.storage.location import Location, locate
from shardkit.storage.store import exists, is_folder, list_files, list_irregular

AUDIO_EXTENSIONS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc")
FOLDER_LABEL = "folder"
PATH_COLUMN = "path"
INTERVALS_COLUMN = "intervals"
_EXPORT_FIRST = "to pack it anew, 'shardkit export' it first"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackInput:
    """One sample to be: where its recording lies and what is known of it.

    ``size`` is the bytes of all its files; interval bounds are in seconds; ``where`` is for messages. Intervals that
    lead out of the recording are an error unless ``cut_intervals``; so is a recording shorter or longer than
    ``duration_s`` says.
    """

    key: str
    location: Location
    path: str
    size: int
    where: str
    labels: tuple[str, ...] = ()
    intervals: tuple[Interval, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    members: Mapping[str, Member] = field(default_factory=dict)
    split: str | None = None
    cut_intervals: bool = False
    duration_s: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """An input that is not in the dataset, and why: one line of ``report.jsonl``."""

    path: str
    where: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InputOptions:
    """How to read INPUT.

    Attributes:
        root: Folder that the manifest's paths are relative to; None takes the manifest's own.
        path_column: The manifest's column with the recording's path; None: ``path``.
        key_column: The manifest's column with the sample's key; None derives the key from the path.
        label: Column with a sample's label or labels, or ``folder`` for the name of the parent folder.
        label_separator: Splits a cell of text into several labels.
        intervals_column: Column with [[name, start_s, stop_s], ...]; None: ``intervals``, if the manifest has it.
        members: Field name to the column with the path of a further member: a stem, a paired target, an array.
        split_column: Column with the name of each sample's split.
        importer: A known layout, or ``package.module:function``; None: a folder or a manifest.
        importer_options: Values of the importer's own options, as text.
        ontology: The ``ontology.json`` that says how labels are related; None: what the importer knows, if anything.
    """

    root: Location | None = None
    path_column: str | None = None
    key_column: str | None = None
    label: str | None = None
    label_separator: str | None = None
    intervals_column: str | None = None
    members: Mapping[str, str] = field(default_factory=dict)
    split_column: str | None = None
    importer: str | None = None
    importer_options: Mapping[str, str] = field(default_factory=dict)
    ontology: Location | None = None

    def __post_init__(self) -> None:
        """Refuse what would be passed over."""
        if self.label_separator is not None and not (self.label and self.label_separator):
            raise InputError("a label separator needs characters, and a column of labels to split; see --label")
        if self.importer_options and not self.importer:
            raise InputError("options of an importer are given, and no importer; name it with --from KIND")

    def recorded(self) -> dict[str, object]:
        """Return what the manifest keeps beside the packing options: the importer, its options, no credentials."""
        if self.importer is None:
            return {}
        options = {name: str(locate(text)) if "://" in text else text for name, text in self.importer_options.items()}
        return {"from": self.importer, "from_options": options}


class Found(NamedTuple):
    """What is to be packed, what of the source is not, and the types of the columns that the source itself types."""

    inputs: list[PackInput]
    unpacked: list[Unpacked]
    types: Mapping[str, pa.DataType]


def read_inputs(source: Location, options: InputOptions) -> Found:
    """Return the inputs of a folder or a manifest, and what of it is no input.

    Raises:
        InputError: Nothing to pack, a column is missing, a file is missing, two rows have one key, ...
        StorageError: A file can't be looked at; the message names its row.
    """
    if is_manifest(source):
        found = _from_table(read_manifest(source), source, options)
    elif is_folder(source):
        found = _from_folder(source, options)
    elif source.name == MANIFEST_NAME:
        raise InputError(f"{source}: the manifest of a dataset, which lists no recordings; {_EXPORT_FIRST}")
    elif exists(source):
        raise InputError(f"{source}: not a folder, and not a manifest (.csv, .tsv, .jsonl, .parquet)")
    else:
        raise InputError(f"{source}: there is no such folder or manifest")
    check_keys(found.inputs)
    return found


def _from_folder(folder: Location, options: InputOptions) -> Found:
    _check_folder_options(folder, options)
    files = list_files(folder)
    inputs = []
    unpacked = [
        Unpacked(path=printable(path), where=str(folder), reason="a pipe, a socket or a device, not a file")
        for path in list_irregular(folder)
    ]
    for path, num_bytes in files:
        reason = why_not_packed(path)
        if reason is not None:
            unpacked.append(Unpacked(path=printable(path), where=str(folder), reason=reason))
            continue
        parent = path.rpartition("/")[0].rpartition("/")[2] or folder.name
        location = folder / path
        inputs.append(
            PackInput(
                key=key_of_path(path),
                location=location,
                path=path,
                size=num_bytes,
                where=str(location),  # the same text, kept once
                labels=(parent,) if options.label else (),
                metadata={"path": path},
            )
        )
    if not inputs:
        if any(path == MANIFEST_NAME for path, _ in files):
            raise InputError(f"{folder}: a dataset, with no audio files beside its tars; {_EXPORT_FIRST}")
        found = count(len(files), "other file") if files else "nothing"
        raise InputError(f"{folder}: no audio files ({', '.join(AUDIO_EXTENSIONS)}) below it, found {found}")
    return Found(inputs, unpacked, {})


def _check_folder_options(folder: Location, options: InputOptions) -> None:
    """Raise if an option speaks of columns."""
    given = {
        "--root": options.root,
        "--path": options.path_column,
        "--key": options.key_column,
        "--label": None if options.label == FOLDER_LABEL else options.label,
        "--label-separator": options.label_separator,
        "--intervals": options.intervals_column,
        "--field": options.members,
        "--split": options.split_column,
    }
    if not any(given.values()):
        return
    if options.split_column:
        raise InputError(
            f"{folder}: --split {options.split_column} names a column, and a folder has none; write fractions such as "
            f"{options.split_column}=1, or pack a manifest"
        )
    flags = ", ".join(flag for flag, value in given.items() if value)
    raise InputError(f"{folder}: {flags} is for manifests: a folder has no columns; only --label {FOLDER_LABEL} works")


def why_not_packed(path: str) -> str | None:
    """Return why a file of a folder is no input, or None if it is one."""
    if path.rpartition("/")[2].startswith("."):
        return (
            "a hidden file"  # such as the ._NAME.wav that macOS leaves beside recordings; a key can't begin so either
        )
    if not path.lower().endswith(AUDIO_EXTENSIONS):
        return "not an audio file by its extension"
    return None if path == printable(path) else "its name is not UTF-8; rename it"


def printable(path: str) -> str:
    """Return a path without what is not UTF-8 in it, which Python keeps as lone surrogates (PEP 383)."""
    return path.encode(errors="replace").decode()


def _from_table(table: Table, manifest: Location, options: InputOptions) -> Found:
    if not table.rows:
        raise InputError(f"{manifest}: no rows to pack")
    columns = {name: None for row in table.rows for name in row.values}
    needed = [options.path_column or PATH_COLUMN, *options.members.values()]
    optional = (options.key_column, options.label, options.split_column, options.intervals_column)
    needed += [name for name in optional if name and name != FOLDER_LABEL]
    for name in needed:
        check_column(name, columns, manifest)
    _check_names(columns, manifest)
    reader = _RowReader(manifest, options, has_label=options.label in columns)
    inputs = []
    for row in table.rows:
        with placed(row.place):
            inputs.append(reader.read(row))
    return Found(inputs, [], {column_name(name): kind for name, kind in table.types.items()})


class _RowReader:
    """Makes an input of each row of a manifest; errors are without the row's place, which ``placed`` adds."""

    def __init__(self, manifest: Location, options: InputOptions, *, has_label: bool) -> None:
        self._options = options
        self._path = options.path_column or PATH_COLUMN
        self._intervals = options.intervals_column or INTERVALS_COLUMN
        self._has_label = has_label
        self._files = Files(options.root or manifest.parent)
        self._used = {self._path, options.key_column, self._intervals, *options.members.values()}
        if options.label in RESERVED:  # what export writes as labels comes back as labels, not as a column too
            self._used.add(options.label)

    def read(self, row: Row) -> PackInput:
        options, cells = self._options, row.text
        path = _path_of(cells, self._path)
        location = self._files.at(path)
        members = {
            name: self._files.at(_path_of(cells, column))
            for name, column in options.members.items()
            if cells.get(column) not in (None, "")
        }
        num_bytes = sum(self._size(file) for file in (location, *members.values()))
        return PackInput(
            key=_key_of_row(cells, path, self._files.root, options.key_column),
            location=location,
            path=path,
            size=num_bytes,
            where=row.place,
            labels=self._labels(cells, location),
            intervals=intervals_of_cell(cells.get(self._intervals), self._intervals),
            metadata={PATH_COLUMN: path} | _metadata(row, self._used),
            members=members,
            split=self._split(cells),
        )

    def _size(self, file: Location) -> int:
        num_bytes = self._files.size(file)
        if num_bytes is None:
            raise InputError(f"no file at {file}; mend the path, give --root, or take the row out")
        return num_bytes

    def _labels(self, cells: Mapping[str, Any], location: Location) -> tuple[str, ...]:
        label = self._options.label
        if label == FOLDER_LABEL and not self._has_label:
            return (location.parent.name,)
        return labels_of_cell(cells.get(label), label, self._options.label_separator) if label else ()

    def _split(self, cells: Mapping[str, Any]) -> str | None:
        column = self._options.split_column
        return None if column is None else cell_text(cells.get(column), column)


def _path_of(cells: Mapping[str, Any], column: str) -> str:
    path = cells.get(column)
    if not isinstance(path, str) or not path:
        raise InputError(f"column {column!r} holds {shown(path)}; it must name a file")
    return path


def _key_of_row(row: Mapping[str, Any], path: str, root: Location, column: str | None) -> str:
    if column is not None:
        return key_of_cell(row.get(column), column)
    return key_below(path, root)


def key_below(path: str, root: Location) -> str:
    """Return the key of a recording by its path from ``root``; of one that lies elsewhere, by its file name."""
    relative = path.removeprefix(str(root).rstrip("/") + "/")
    outside = "://" in relative or relative.startswith("/") or ".." in relative.split("/")
    return key_of_path(relative.rpartition("/")[2] if outside else relative)


def _metadata(row: Row, used: set[str | None]) -> dict[str, Any]:
    """Return a row's metadata columns under the names they are kept by."""
    return {column_name(name): value for name, value in row.values.items() if name not in used}


def _check_names(columns: Mapping[str, None], manifest: Location) -> None:
    kept: dict[str, str] = {}
    for name in columns:
        other = kept.setdefault(column_name(name), name)
        if other != name:
            raise InputError(
                f"{manifest}: the columns {other!r} and {name!r} would both be kept as {column_name(name)!r}"
            )


def check_keys(inputs: Iterable[PackInput]) -> None:
    """Raise if two inputs have one key."""
    seen: dict[str, PackInput] = {}
    for item in inputs:
        first = seen.setdefault(item.key, item)
        if first is not item:
            raise InputError(
                f"{item.where}: {item.path!r} and {first.path!r} ({first.where}) share the key {item.key!r}; "
                "keys must be unique: rename one, or name a column of keys with --key"
            )


def check_column(name: str, columns: Iterable[str], manifest: Location) -> None:
    """Raise if there is no such column."""
    if name in columns:
        return
    near = difflib.get_close_matches(name, list(columns), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(f"{manifest}: no column {name!r}; it has {', '.join(map(repr, columns))}{hint}")
