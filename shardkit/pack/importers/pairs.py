"""``--from pairs``: a list of recordings X and what a network should make of them, Y, as a further audio field.

a.wav,b.wav          X lies in in/, Y in out/, or both beside the list; a header, such as x,y, is optional
"""

from collections import Counter

from shardkit.core.errors import InputError
from shardkit.pack.importers.contract import Imported, Recording, Request
from shardkit.pack.importers.lists import input_file, names_audio, output_file, read_list
from shardkit.pack.inputs import key_below

TARGET = "target"


def pairs(request: Request, *, field: str = TARGET) -> Imported:
    """Return one sample a pair, Y as the field ``field``; keys are X's, or ``X+Y`` where X has several.

    Raises:
        InputError: A line is no pair, or is there twice.
    """
    found = read_list(request.source, is_header=lambda cells: not any(names_audio(cell) for cell in cells))
    recordings = []
    seen: dict[tuple[str, str], str] = {}
    times = Counter(line.cells[0] for line in found.lines)
    for where, cells in found.lines:
        if len(cells) != 2:
            raise InputError(f"{where}: {len(cells)} cells; a pair is the file of X and the file of Y")
        x, y = cells
        first = seen.setdefault((x, y), where)
        if first != where:
            raise InputError(f"{where}: the pair {x!r}, {y!r} is also in {first}; take one of them out")
        root = request.files.root
        key = key_below(x, root) if times[x] == 1 else f"{key_below(x, root)}+{key_below(y, root).rpartition('/')[2]}"
        recordings.append(Recording(file=input_file(x), where=where, key=key, members={field: output_file(y)}))
    return Imported(recordings=recordings)
