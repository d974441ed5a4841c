"""What the members of a sample that are no audio hold, checked before they are packed.

Whatever passes here is what ``shardkit.stream.sample`` reads back: a member that nobody can read is better refused
while its file is at hand.
"""

import json

from shardkit.core.errors import FormatError
from shardkit.format.arrays import ArrayLayout, check_rows, read_array
from shardkit.format.manifest import FieldKind


def check_content(kind: FieldKind, data: bytes, *, hop_s: float | None, where: str) -> ArrayLayout | None:
    """Raise unless the bytes of a member are what its kind says; of an array, return where its rows lie.

    Args:
        kind: Kind of its field; audio is checked as it is encoded, binary members hold anything.
        data: The member.
        hop_s: Seconds from row to row, for an array with a time axis.
        where: The field and its file, for messages.

    Raises:
        FormatError: Not a plain ``.npy`` array, no rows for its hop, not JSON, or not text in UTF-8.
    """
    if kind == "array":
        return _check_array(data, hop_s, where)
    if kind == "json":
        try:
            json.loads(data)
        except (ValueError, RecursionError) as err:
            raise FormatError(f"{where}: not JSON: {err}; mend the file") from err
    elif kind == "text":
        try:
            data.decode()
        except UnicodeDecodeError as err:
            raise FormatError(f"{where}: not UTF-8 at byte {err.start}; save it as UTF-8") from err
    return None


def _check_array(data: bytes, hop_s: float | None, where: str) -> ArrayLayout | None:
    try:
        array, layout = read_array(data)
        check_rows(array, hop_s)
    except FormatError as err:
        raise FormatError(f"{where}: {err}") from err
    return layout
