"""``--from pairs``: a list of recordings X and what a network should make of them, Y, as a further audio field.

a.wav,b.wav          X lies in in/, Y in out/, or both beside the list; a header, such as x,y, is optional,
                     and names what further cells are: metadata
"""

from collections import Counter
from typing import Any

from shardkit.core.errors import InputError
from shardkit.pack.columns import typed_text
from shardkit.pack.importers.contract import Imported, Recording, Request
from shardkit.pack.importers.lists import Lines, input_file, names_audio, output_file, read_list
from shardkit.pack.inputs import key_below

TARGET = "target"


def pairs(request: Request, *, field: str = TARGET) -> Imported:
    """Return one sample a pair, Y as the field ``field``; keys are X's, or ``X+Y`` where X has several.

    Further cells, which a header must name, are metadata: numbers where all of a column are.

    Raises:
        InputError: A line is no pair, or is there twice.
    """
    found = read_list(request.source, is_header=lambda cells: not any(names_audio(cell) for cell in cells))
    metadata = _metadata(found)
    recordings = []
    seen: dict[tuple[str, str], str] = {}
    times = Counter(line.cells[0] for line in found.lines)
    for (where, cells), values in zip(found.lines, metadata, strict=True):
        x, y = cells[:2]
        first = seen.setdefault((x, y), where)
        if first != where:
            raise InputError(f"{where}: the pair {x!r}, {y!r} is also in {first}; take one of them out")
        root = request.files.root
        key = key_below(x, root) if times[x] == 1 else f"{key_below(x, root)}+{key_below(y, root).rpartition('/')[2]}"
        recordings.append(
            Recording(file=input_file(x), where=where, key=key, members={field: output_file(y)}, metadata=values)
        )
    return Imported(recordings=recordings)


def _metadata(found: Lines) -> list[dict[str, Any]]:
    """Return what the cells behind each pair say, by the header's names."""
    where, cells = found.lines[0]
    if len(cells) < 2 or (len(cells) > 2 and not found.header):
        hint = "; a header must name further cells, as in x,y,speaker" if len(cells) > 2 else ""
        raise InputError(f"{where}: {len(cells)} cells; a pair is the file of X and the file of Y{hint}")
    columns = [typed_text([line.cells[place] for line in found.lines]) for place in range(2, len(cells))]
    return [dict(zip(found.header[2:], values, strict=True)) for values in zip(*columns, strict=True)] or [
        {} for _ in found.lines
    ]
