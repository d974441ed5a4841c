"""Lists of the TF2 Audio Dataset: lines of cells, with or without a header, beside folders ``in`` and ``out``.

data/list         a.wav,b.wav          the list needs no ending; with .tsv, its cells are parted by tabs
data/in/a.wav
data/out/b.wav
"""

from collections.abc import Callable
from typing import NamedTuple

from shardkit.core.errors import InputError
from shardkit.pack.importers.contract import File
from shardkit.pack.inputs import AUDIO_EXTENSIONS
from shardkit.pack.manifests import read_records
from shardkit.storage.location import Location


class Line(NamedTuple):
    """One line that names files: its place and its cells."""

    where: str
    cells: list[str]


class Lines(NamedTuple):
    """A list: its header, empty where it has none, and its lines."""

    header: list[str]
    lines: list[Line]


def read_list(source: Location, *, is_header: Callable[[list[str]], bool]) -> Lines:
    """Return the lines of a list, all of as many cells as the first.

    Raises:
        InputError: Not a text, a line of another number of cells, or no line at all.
    """
    delimiter = "\t" if source.name.lower().endswith(".tsv") else ","
    found = [(number, [cell.strip() for cell in cells]) for number, cells in read_records(source, delimiter) if cells]
    header: list[str] = []
    if found and is_header(found[0][1]):
        header = found.pop(0)[1]
    if not found:
        raise InputError(f"{source}: no lines but a header; there is nothing to pack" if header else f"{source}: empty")
    width = len(header or found[0][1])
    for number, cells in found:
        if len(cells) != width:
            raise InputError(f"{source}:{number}: {len(cells)} cells, {width} expected; quote cells that hold commas")
        if "" in cells:
            raise InputError(f"{source}:{number}: cell {cells.index('') + 1} is empty; fill it, or take the line out")
    return Lines(header, [Line(f"{source}:{number}", cells) for number, cells in found])


def names_audio(cell: str) -> bool:
    """Tell whether a cell names a recording, by its ending."""
    return cell.lower().endswith(AUDIO_EXTENSIONS)


def input_file(name: str) -> File:
    """Return the recording that a list names: in the folder ``in`` or beside it."""
    return File((f"in/{name}", name))


def output_file(name: str) -> File:
    """Return the target that a list names: in the folder ``out`` or beside it."""
    return File((f"out/{name}", name))
