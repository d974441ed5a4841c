"""What a row says of a sample: its key, labels and intervals, from the cells of the columns that hold them."""

from collections.abc import Mapping, Sequence
from typing import Any

from shardkit.core.errors import InputError
from shardkit.pack.jsontext import parse_json

MAX_KEY_BYTES = 1024  # what S3 takes for the name of an object
_SHOWN = 80  # characters of a value that a message repeats
_INTERVALS = 'write [["name", start_s, stop_s], ...]'


def cell_text(value: Any, column: str) -> str:
    """Return a value that names something: text as it stands, whole numbers in digits, true and false as in JSON.

    Raises:
        InputError: It is anything else, whose spelling would be Python's.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int):
        return str(value)
    found = "nothing" if value is None else f"a {type(value).__name__}: {shown(value)}"
    raise InputError(f"column {column!r} holds {found}; text or a whole number is needed")


def shown(value: Any) -> str:
    """Return a value as a message repeats it, in one line that is not too long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def key_of_path(path: str) -> str:
    """Return the key of a recording: its path without the extension, further dots as underscores.

    WebDataset ends a key at the first dot of the last path component.

    >>> key_of_path("win/take 1.5.wav"), key_of_path("./win//a.wav")
    ('win/take 1_5', 'win/a')
    """
    *folders, base = [part for part in path.split("/") if part not in ("", ".")]
    stem = base.rpartition(".")[0] or base
    return "/".join([*folders, stem.replace(".", "_")])


def key_of_cell(value: Any, column: str) -> str:
    """Return the key that a column holds.

    Raises:
        InputError: It can't be one: the names of members, and so of files, begin with it.
    """
    key = "" if value is None else cell_text(value, column)
    *folders, last = key.split("/")
    if not key:
        fault = "it is empty"
    elif not {"", ".", ".."}.isdisjoint([*folders, last]):
        fault = "it has a part between slashes that is empty, '.' or '..'"
    elif "." in last:
        fault = "it has a dot in its last part, where WebDataset ends a key"
    elif "\0" in key:
        fault = "it has a NUL character"
    elif len(key.encode()) > MAX_KEY_BYTES:
        fault = f"it has {len(key.encode()):,} bytes, {MAX_KEY_BYTES:,} are the most"
    else:
        return key
    raise InputError(f"{shown(key)} can't be a key: {fault}; mend column {column!r}")


def labels_of_cell(value: Any, column: str, separator: str | None) -> tuple[str, ...]:
    """Return the labels of a cell: text, which the separator splits, a whole number, or a list of these.

    Raises:
        InputError: It is nothing of that.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        parts = value.split(separator) if separator else [value]
        return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    items = value if isinstance(value, list | tuple) else [value]
    return tuple(dict.fromkeys(cell_text(item, column) for item in items if item is not None))


def intervals_of_cell(value: Any, column: str) -> tuple[tuple[str, float, float], ...]:
    """Return the intervals of a cell, in seconds: a list, or the JSON of one.

    Raises:
        InputError: It is no list of intervals, or one of them ends before it starts.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except InputError as err:
            raise InputError(f"intervals are {err}; {_INTERVALS}") from err
    if not isinstance(value, list | tuple):
        raise InputError(f"intervals are {shown(value)}; {_INTERVALS}")
    return tuple(_interval(item, column) for item in value)


def _interval(item: Any, column: str) -> tuple[str, float, float]:
    parts: Sequence[Any] = item if isinstance(item, list | tuple) else ()
    if isinstance(item, Mapping):
        parts = (item.get("name"), item.get("start_s"), item.get("stop_s"))
    try:
        name, start_s, stop_s = parts
        bounds = (float(start_s), float(stop_s))
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{shown(item)} is not an interval; write [name, start_s, stop_s]") from None
    if not 0.0 <= bounds[0] < bounds[1] < float("inf"):
        raise InputError(f"interval {shown(item)}: start must be at least 0 and before stop, in seconds")
    return cell_text(name, column), *bounds
