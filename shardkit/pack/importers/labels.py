"""``--from labels``: a list of recordings, each with a 0 or 1 for every class.

file,dog,rain        names of the classes; without a header they are 0, 1, 2 …
a.wav,1,0            the recording lies in in/, or beside the list
b.wav,1,1
"""

from shardkit.core.errors import InputError
from shardkit.pack.importers.contract import Imported, Recording, Request
from shardkit.pack.importers.lists import Line, input_file, read_list
from shardkit.pack.inputs import key_below


def labels(request: Request) -> Imported:
    """Return the recordings of a list with their labels; the vocabulary is the columns in their order.

    Raises:
        InputError: A cell is neither 0 nor 1, a class is named twice, ...
    """
    found = read_list(request.source, is_header=_is_header)
    width = len(found.header or found.lines[0].cells)
    if width < 2:
        raise InputError(f"{request.source}: one cell a line; a file and at least one class are needed")
    classes = tuple(found.header[1:]) or tuple(str(index) for index in range(width - 1))
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise InputError(f"{request.source}: the header names {', '.join(map(repr, twice))} twice; rename one of them")
    return Imported(recordings=[_recording(line, classes, request) for line in found.lines], labels=classes)


def _is_header(cells: list[str]) -> bool:
    return len(cells) > 1 and not all(_is_number(cell) for cell in cells[1:] if cell)


def _recording(line: Line, classes: tuple[str, ...], request: Request) -> Recording:
    name, *marks = line.cells
    chosen = tuple(label for label, mark in zip(classes, marks, strict=True) if _is_set(mark, label, line.where))
    key = key_below(name, request.files.root)
    return Recording(file=input_file(name), where=line.where, key=key, labels=chosen)


def _is_set(mark: str, label: str, where: str) -> bool:
    value = float(mark) if _is_number(mark) else None
    if value not in (0.0, 1.0):
        raise InputError(
            f"{where}: {mark!r} for {label!r}; a label is 0 or 1, and other values are metadata: use a manifest"
        )
    return value == 1.0


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
