"""What is to be packed: a folder or a manifest becomes a list of inputs, checked before any work starts."""

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shardkit.core.errors import InputError
from shardkit.format.index import RESERVED
from shardkit.pack.columns import column_name
from shardkit.pack.manifests import Row, Rows, is_manifest, read_manifest
from shardkit.storage.location import Location
from shardkit.storage.reference import resolve
from shardkit.storage.store import exists, is_folder, list_files, size

AUDIO_EXTENSIONS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc")
FOLDER_LABEL = "folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackInput:
    """One sample to be: where its recording lies and what is known of it.

    ``size`` is the bytes of all its files; interval bounds are in seconds; ``where`` is for messages.
    """

    key: str
    location: Location
    path: str
    size: int
    where: str
    labels: tuple[str, ...] = ()
    intervals: tuple[tuple[str, float, float], ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    members: Mapping[str, Location] = field(default_factory=dict)
    split: str | None = None


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
        path_column: The manifest's column with the recording's path.
        key_column: The manifest's column with the sample's key; None derives the key from the path.
        label: Column with a sample's label or labels, or ``folder`` for the name of the parent folder.
        label_separator: Splits a cell of text into several labels.
        intervals_column: Column with [[name, start_s, stop_s], ...]; used if the manifest has it.
        members: Field name to the column with the path of a further member: a stem, a paired target, an array.
        split_column: Column with the name of each sample's split.
    """

    root: Location | None = None
    path_column: str = "path"
    key_column: str | None = None
    label: str | None = None
    label_separator: str | None = None
    intervals_column: str = "intervals"
    members: Mapping[str, str] = field(default_factory=dict)
    split_column: str | None = None


def read_inputs(source: Location, options: InputOptions) -> tuple[list[PackInput], list[Unpacked]]:
    """Return the inputs of a folder or a manifest, and what of it is no input.

    Raises:
        InputError: Nothing to pack, a column is missing, a file is missing, two rows have one key, ...
    """
    inputs: list[PackInput]
    unpacked: list[Unpacked] = []
    if is_manifest(source):
        inputs = _from_rows(read_manifest(source), source, options)
    elif is_folder(source):
        inputs, unpacked = _from_folder(source, options)
    elif exists(source):
        raise InputError(f"{source}: not a folder, and not a manifest (.csv, .tsv, .jsonl, .parquet)")
    else:
        raise InputError(f"{source}: there is no such folder or manifest")
    _check_keys(inputs)
    return inputs, unpacked


def _from_folder(folder: Location, options: InputOptions) -> tuple[list[PackInput], list[Unpacked]]:
    of_columns = (options.members, options.key_column, options.split_column, options.root)
    if any(of_columns) or options.label not in (None, FOLDER_LABEL):
        raise InputError(f"{folder}: a folder has no columns; only --label {FOLDER_LABEL} works, or pack a manifest")
    files = list_files(folder)
    inputs, unpacked = [], []
    for path, num_bytes in files:
        reason = _why_not(path)
        if reason is not None:
            unpacked.append(Unpacked(path=_printable(path), where=str(folder), reason=reason))
            continue
        parent = path.rpartition("/")[0].rpartition("/")[2] or folder.name
        inputs.append(
            PackInput(
                key=key_of_path(path),
                location=folder / path,
                path=path,
                size=num_bytes,
                where=str(folder / path),
                labels=(parent,) if options.label else (),
                metadata={"path": path},
            )
        )
    if not inputs:
        found = f"{len(files)} other files" if files else "nothing"
        raise InputError(f"{folder}: no audio files ({', '.join(AUDIO_EXTENSIONS)}) below it, found {found}")
    return inputs, unpacked


def _why_not(path: str) -> str | None:
    """Return why a file of a folder is no input, or None if it is one."""
    if path.rpartition("/")[2].startswith("."):
        return (
            "a hidden file"  # such as the ._NAME.wav that macOS leaves beside recordings; a key can't begin so either
        )
    if not path.lower().endswith(AUDIO_EXTENSIONS):
        return "not an audio file by its extension"
    return None if path == _printable(path) else "its name is not UTF-8; rename it"


def _printable(path: str) -> str:
    """Return a path without what is not UTF-8 in it, which Python keeps as lone surrogates (PEP 383)."""
    return path.encode(errors="replace").decode()


def _from_rows(rows: Rows, manifest: Location, options: InputOptions) -> list[PackInput]:
    if not rows:
        raise InputError(f"{manifest}: no rows to pack")
    columns = {name: None for row in rows for name in row.values}
    needed = [options.path_column, *options.members.values()]
    optional = (options.key_column, options.label, options.split_column)
    needed += [name for name in optional if name and name != FOLDER_LABEL]
    for name in needed:
        _check_column(name, columns, manifest)
    sizes = _Sizes(options.root or manifest.parent)
    _check_names(columns, manifest)
    return [_from_row(row, sizes, options, has_label=options.label in columns) for row in rows]


def _from_row(given: Row, sizes: "_Sizes", options: InputOptions, *, has_label: bool) -> PackInput:
    place, row = given.place, given.text
    path = row.get(options.path_column)
    if not isinstance(path, str) or not path:
        raise InputError(f"{place}: {options.path_column!r} is {path!r}; it must name a file")
    location = resolve(sizes.root, path)
    members = {
        name: resolve(sizes.root, str(row[column])) for name, column in options.members.items() if row.get(column)
    }
    used = {options.path_column, options.key_column, options.intervals_column, *options.members.values()}
    if options.label in RESERVED:  # what export writes as labels comes back as labels, not as a column too
        used.add(options.label)
    label = row.get(options.label) if options.label and has_label else None
    if options.label == FOLDER_LABEL and not has_label:
        label = location.parent.name
    split = row.get(options.split_column) if options.split_column else None
    if options.split_column and split is None:
        raise InputError(f"{place}: no value in the split column {options.split_column!r}")
    num_bytes = sizes.of(location, place)
    num_bytes += sum(sizes.of(member, place) for member in members.values())
    return PackInput(
        key=_key_of_row(row, path, sizes.root, place, options.key_column),
        location=location,
        path=path,
        size=num_bytes,
        where=place,
        labels=_labels(label, options.label_separator),
        intervals=_intervals(row.get(options.intervals_column), place),
        metadata={"path": path} | _metadata(given, used),
        members=members,
        split=None if split is None else str(split),
    )


class _Sizes:
    """Tells the sizes of a manifest's files; a remote root is listed once."""

    def __init__(self, root: Location) -> None:
        self.root = root
        listed = [] if root.is_local else list_files(root)
        self._listed = {str(root / name): num_bytes for name, num_bytes in listed}

    def of(self, location: Location, place: str) -> int:
        listed = self._listed.get(str(location))
        if listed is not None:
            return listed
        try:
            return size(location)
        except FileNotFoundError:
            raise InputError(
                f"{place}: no file at {location}; mend the path, give --root, or take the row out"
            ) from None


def key_of_path(path: str) -> str:
    """Return the key of a recording: its path without the extension, further dots as underscores.

    WebDataset ends a key at the first dot of the last path component.

    >>> key_of_path("win/take 1.5.wav")
    'win/take 1_5'
    """
    folder, slash, base = path.rpartition("/")
    stem = base.rpartition(".")[0] or base
    return folder + slash + stem.replace(".", "_")


def _key_of_row(row: Mapping[str, Any], path: str, root: Location, place: str, column: str | None) -> str:
    if column is not None:
        key = str(row.get(column) or "")
        if (
            not key
            or key.startswith("/")
            or key.endswith("/")
            or ".." in key.split("/")
            or "." in key.rpartition("/")[2]
            or "\0" in key
        ):
            raise InputError(
                f"{place}: {key!r} can't be a key: it must not be empty, begin or end with '/', or have a dot in its "
                "last part"
            )
        return key
    prefix = str(root).rstrip("/") + "/"
    relative = path.removeprefix(prefix)
    outside = "://" in relative or relative.startswith("/") or ".." in relative.split("/")
    return key_of_path(relative.rpartition("/")[2] if outside else relative.removeprefix("./"))


def _metadata(row: Row, used: set[str | None]) -> dict[str, Any]:
    """Return a row's metadata columns under the names they are kept by."""
    for name, value in row.values.items():
        if isinstance(value, str) and value != _printable(value):
            raise InputError(f"{row.place}: {name!r} holds half of a surrogate pair, which is no text; mend it")
    return {column_name(name): value for name, value in row.values.items() if name not in used}


def _check_names(columns: Mapping[str, None], manifest: Location) -> None:
    kept: dict[str, str] = {}
    for name in columns:
        other = kept.setdefault(column_name(name), name)
        if other != name:
            raise InputError(
                f"{manifest}: the columns {other!r} and {name!r} would both be kept as {column_name(name)!r}"
            )


def _check_keys(inputs: Iterable[PackInput]) -> None:
    seen: dict[str, PackInput] = {}
    for item in inputs:
        first = seen.setdefault(item.key, item)
        if first is not item:
            raise InputError(
                f"{item.where}: {item.path!r} and {first.path!r} ({first.where}) share the key {item.key!r}; "
                "keys must be unique: rename one, or name a column of keys with --key"
            )


def _check_column(name: str, columns: Mapping[str, None], manifest: Location) -> None:
    if name in columns:
        return
    near = difflib.get_close_matches(name, columns, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(f"{manifest}: no column {name!r}; it has {', '.join(map(repr, columns))}{hint}")


def _labels(value: Any, separator: str | None) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        parts = value.split(separator) if separator else [value]
        return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if isinstance(value, list | tuple):
        return tuple(dict.fromkeys(str(part) for part in value if part is not None))
    return (str(value),)


def _intervals(value: Any, place: str) -> tuple[tuple[str, float, float], ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as err:
            raise InputError(f'{place}: intervals are not JSON: {err}; write [["name", start_s, stop_s], ...]') from err
    if not isinstance(value, list | tuple):
        raise InputError(f'{place}: intervals are {value!r}; write [["name", start_s, stop_s], ...]')
    return tuple(_interval(item, place) for item in value)


def _interval(item: Any, place: str) -> tuple[str, float, float]:
    if isinstance(item, Mapping):
        item = (item.get("name"), item.get("start_s"), item.get("stop_s"))
    try:
        name, start_s, stop_s = item
        bounds = (str(name), float(start_s), float(stop_s))
    except (TypeError, ValueError):
        raise InputError(f"{place}: {item!r} is not an interval; write [name, start_s, stop_s]") from None
    if not 0.0 <= bounds[1] < bounds[2] < float("inf"):
        raise InputError(f"{place}: interval {bounds}: start must be at least 0 and before stop, in seconds")
    return bounds
