"""What an importer found, as inputs of the packer: files looked up, keys made, what is missing set apart."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from shardkit.core.errors import InputError
from shardkit.core.ontology import Ontology
from shardkit.core.sizes import count
from shardkit.pack.cells import cell_text, key_of_cell, labels_of_cell
from shardkit.pack.columns import column_name
from shardkit.pack.files import Files
from shardkit.pack.importers import importer_of
from shardkit.pack.importers.contract import File, Missing, Recording, Request
from shardkit.pack.importers.options import checked_options
from shardkit.pack.inputs import (
    FOLDER_LABEL,
    PATH_COLUMN,
    InputOptions,
    PackInput,
    Unpacked,
    check_column,
    check_keys,
    key_below,
)
from shardkit.pack.jsontext import value_fault
from shardkit.pack.members import Derived, Member, file_of
from shardkit.pack.places import placed
from shardkit.storage.location import Location
from shardkit.storage.store import exists, is_folder

MISSING_NAME = "missing.jsonl"
_SHOWN = 3  # names that a message repeats
_NONE: Mapping[str, Member] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """Inputs that an importer found, and what else it says."""

    inputs: list[PackInput]
    unpacked: list[Unpacked]
    missing: list[Missing]
    labels: tuple[str, ...]
    notes: tuple[str, ...]
    ontology: Ontology | None


@dataclass(frozen=True, slots=True)
class _Lookup:
    """Finds files by the names they may have; what is not there is noted once."""

    files: Files
    where: str
    missing: list[Missing] = field(default_factory=list)

    def find(self, file: File) -> tuple[str, Member, int] | None:
        for name in file.names:
            location = self.files.at(name)
            size = self.files.size(location) if file.size is None else file.size
            if size is not None:
                return name, location if file.recipe is None else Derived(location, file.recipe), size
        tried = tuple(str(self.files.at(name)) for name in file.names)
        self.missing.append(Missing(file=file.names[-1], where=self.where, tried=tried))
        return None


def read_imported(source: Location, options: InputOptions, *, hops_s: Mapping[str, float], keep_going: bool) -> Import:
    """Return the inputs that ``options.importer`` finds.

    Args:
        source: What the importer reads.
        options: How; of the options of columns, ``label``, ``key`` and ``split`` name the importer's metadata.
        hops_s: Seconds from row to row of array members, by field.
        keep_going: Whether the rest is packed where some files are missing.

    Raises:
        InputError: The metadata can't be read, names nothing that is there, or some that is not.
        StorageError: A file can't be looked at.
    """
    _check_options(options)
    if not exists(source):
        raise InputError(f"{source}: there is no such file or folder")
    files = Files(options.root or (source if is_folder(source) else source.parent))
    kind = options.importer or ""
    importer = importer_of(kind)
    values = checked_options(importer, options.importer_options, kind=kind, storage=source.options)
    found = importer(Request(source=source, files=files, hops_s=hops_s), **values)
    recordings, found = list(found.recordings), replace(found, recordings=())
    inputs, missing = _inputs(recordings, files, options, source)
    missing = [*found.missing, *missing]
    if not inputs:
        raise InputError(_nothing_there(source, files, missing))
    if missing and not (found.incomplete or keep_going):
        first = missing[0]
        raise InputError(
            f"{first.where}: no file at {' or '.join(first.tried[:_SHOWN])}, as for {len(missing) - 1:,} more; give "
            f"--root, or --on-error skip packs the rest and lists them in {MISSING_NAME}"
        )
    check_keys(inputs)
    return Import(
        inputs=inputs,
        unpacked=[Unpacked(path=path, where=where, reason=reason) for path, where, reason in found.unpacked],
        missing=missing,
        labels=found.labels,
        notes=found.notes,
        ontology=found.ontology,
    )


def missing_lines(missing: Sequence[Missing]) -> bytes:
    """Return the bytes of ``missing.jsonl``."""
    return "".join(json.dumps(line.as_json(), ensure_ascii=False) + "\n" for line in missing).encode()


def _check_options(options: InputOptions) -> None:
    given = {"--path": options.path_column, "--intervals": options.intervals_column, "--field": options.members}
    flags = ", ".join(flag for flag, value in given.items() if value)
    if flags:
        raise InputError(f"{flags} is for manifests; --from {options.importer} knows where to look")


def _inputs(
    recordings: list[Recording], files: Files, options: InputOptions, source: Location
) -> tuple[list[PackInput], list[Missing]]:
    """Return the inputs; ``recordings`` is empty afterwards, so that of millions not everything is held twice."""
    columns = dict.fromkeys(name for recording in recordings for name in recording.metadata)
    label = None if options.label == FOLDER_LABEL and FOLDER_LABEL not in columns else options.label
    for column in (options.key_column, label, options.split_column):
        if column is not None:
            check_column(column, columns, source)
    inputs, missing, shared = [], [], _Shared()
    recordings.reverse()
    while recordings:
        recording = recordings.pop()
        lookup = _Lookup(files, recording.where)
        with placed(recording.where):
            item = _input(recording, lookup, options, shared)
        missing += lookup.missing
        if item is not None:
            inputs.append(item)
    return inputs, missing


class _Shared:
    """Equal values as one object: of millions of clips, most have the labels and the times that others have."""

    def __init__(self) -> None:
        self._tuples: dict[tuple[Any, ...] | None, tuple[Any, ...] | None] = {}
        self._floats: dict[float, float] = {}
        self._names: dict[str, str] = {}

    def tuple(self, value: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        return self._tuples.setdefault(value, value)

    def cell(self, value: Any) -> Any:
        return self._floats.setdefault(value, value) if type(value) is float and value else value  # 0.0 equals -0.0

    def column(self, name: str) -> str:
        """Return the name under which a column is kept."""
        known = self._names.get(name)
        if known is None:
            known = self._names[name] = column_name(_kept(name, name))
        return known


def _input(recording: Recording, lookup: _Lookup, options: InputOptions, shared: _Shared) -> PackInput | None:
    primary = lookup.find(recording.file)
    others = {name: lookup.find(file) for name, file in recording.members.items()}
    if primary is None or None in others.values():
        return None
    path, member, size = primary
    members = {name: (other[1], other[2]) for name, other in others.items() if other is not None}
    metadata = {PATH_COLUMN: path}
    for name, value in recording.metadata.items():
        metadata[shared.column(name)] = shared.cell(_kept(name, value))
    return PackInput(
        key=_key(recording, path, lookup.files.root, options.key_column),
        location=file_of(member),
        path=path,
        size=size + sum(num_bytes for _, num_bytes in members.values()),
        where=recording.where,
        labels=shared.tuple(_labels(recording, member, options)) or (),
        intervals=recording.intervals,
        metadata=metadata,
        members={name: other for name, (other, _) in members.items()} if members else _NONE,
        split=None if options.split_column is None else _of(recording, options.split_column, cell_text),
        cut_intervals=recording.cut_intervals,
        duration_s=shared.tuple(recording.duration_s),
    )


def _key(recording: Recording, path: str, root: Location, column: str | None) -> str:
    if column is not None:
        return _of(recording, column, key_of_cell)
    return key_below(path, root) if recording.key is None else key_of_cell(recording.key, "key")


def _labels(recording: Recording, member: Member, options: InputOptions) -> tuple[str, ...]:
    label = options.label
    if label is None:
        return recording.labels
    if recording.labels:
        raise InputError(f"--label {label}: --from {options.importer} gives labels already, {recording.labels[0]!r}")
    if label == FOLDER_LABEL and label not in recording.metadata:
        return (file_of(member).parent.name,)
    return labels_of_cell(recording.metadata.get(label), label, options.label_separator)


def _of(recording: Recording, column: str, read: Callable[[Any, str], str]) -> str:
    return read(recording.metadata.get(column), column)


def _kept(name: str, value: Any) -> Any:
    fault = value_fault(value)
    if fault is not None:
        raise InputError(f"{name!r} {fault}")
    return value


def _nothing_there(source: Location, files: Files, missing: Sequence[Missing]) -> str:
    if not missing:
        return f"{source}: it names no recordings"
    first = missing[0]
    if files.root.is_local and not files.root.local_path.is_dir():
        return (
            f"{source}: there is no folder {files.root} to look for its {count(len(missing), 'file')} in; give --root"
        )
    names = ", ".join(first.tried[:_SHOWN])
    there = files.example()
    found = f"; {count(there[1], 'file')} there, such as {there[0]}" if there else ""
    return (
        f"{source}: none of {count(len(missing), 'file')} that it names is there; looked below {files.root}, for the "
        f"first ({first.where}) as {names}{found}; give the folder of the recordings with --root"
    )
