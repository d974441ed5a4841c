"""``--from framed``: a list of recordings, each with a CSV of timestamps and features.

a.wav,a.csv          the recording lies in in/ or beside the list, the CSV beside it, in in/ or in out/

time,dog,rain        a.csv: its timestamps are honoured and resampled to the hop that --hop frames=SECONDS gives
0.00,0,1
0.31,1,1
"""

import numpy as np

from shardkit.core.errors import FormatError, InputError
from shardkit.pack.importers.contract import File, Imported, Recording, Request
from shardkit.pack.importers.frames import METHODS, FrameTable, Method, Resampled, read_frames
from shardkit.pack.importers.lists import Line, input_file, names_audio, read_list
from shardkit.pack.inputs import key_below
from shardkit.storage.store import read_bytes

FRAMES = "frames"


def framed(request: Request, *, method: str = "hold", unit_s: float = 1.0) -> Imported:
    """Return the recordings of a list, their features as the array field ``frames``.

    Args:
        request: Its hop of ``frames`` is the time from row to row.
        method: ``hold``, ``nearest`` or ``linear``; see ``FrameTable.at``.
        unit_s: Seconds that one unit of a timestamp is.

    Raises:
        InputError: The list is no list of pairs, no hop is given, or the first CSV is none.
    """
    chosen = next((known for known in METHODS if known == method), None)
    if chosen is None:
        raise InputError(f"--from-option method={method}: choose {', '.join(METHODS)}")
    if not unit_s > 0:
        raise InputError(f"--from-option unit_s={unit_s:g}: one unit of a timestamp must be more than no time")
    found = read_list(request.source, is_header=lambda cells: not names_audio(cells[0]))
    for where, cells in found.lines:
        if len(cells) != 2:
            raise InputError(f"{where}: {len(cells)} cells; a recording and its CSV are needed")
    table = _first_table(request, found.lines)
    recipe = _recipe(request, table, chosen, unit_s)
    return Imported(
        recordings=[
            Recording(
                file=input_file(cells[0]),
                where=where,
                key=key_below(cells[0], request.files.root),
                members={FRAMES: File(_tables(cells[1]), recipe)},
                metadata={f"{FRAMES}_columns": list(recipe.columns)},
            )
            for where, cells in found.lines
        ]
    )


def _tables(name: str) -> tuple[str, ...]:
    return name, f"in/{name}", f"out/{name}"


def _first_table(request: Request, lines: list[Line]) -> FrameTable | None:
    """Return the first table that is there: its features are those of all."""
    for line in lines:
        for name in _tables(line.cells[1]):
            location = request.files.at(name)
            if request.files.size(location) is None:
                continue
            try:
                return read_frames(read_bytes(location))
            except FormatError as err:
                raise InputError(f"{line.where}: {location}: {err}") from err
    return None


def _recipe(request: Request, table: FrameTable | None, method: Method, unit_s: float) -> Resampled:
    columns = table.columns if table is not None else ()
    hop_s = request.hops_s.get(FRAMES)
    if hop_s is not None and hop_s > 0:
        return Resampled(hop_s=hop_s, method=method, unit_s=unit_s, columns=columns)
    if hop_s is not None:
        raise InputError(f"hop of {FRAMES!r} is {hop_s:g} s; it must be positive")
    hint = ""
    if table is not None and len(table.times) > 1:
        hint = f"; the first table's rows are {float(np.median(np.diff(table.times))) * unit_s:g} s apart"
    raise InputError(f"{request.source}: give the time from row to row, --hop {FRAMES}=SECONDS{hint}")
