"""``--from spg``: the metadata.json of spgdataset.

    {"a.wav": {"length": 32000, "intervals": {"speech": [[1600, 8000]]}, "metadata": {"speaker": "x"}}}

or a list of such objects, or of objects that have a ``path`` beside these. Paths are relative to ``--root``. Interval
bounds are half-open, in samples at 16 kHz; they become samples of the stored recording, rounded once.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from shardkit.core.errors import InputError
from shardkit.pack.bounds import Interval
from shardkit.pack.cells import shown
from shardkit.pack.importers.contract import File, Imported, Recording, Request
from shardkit.pack.jsontext import parse_json
from shardkit.pack.manifests import read_text
from shardkit.pack.places import placed

_PARTS = ("length", "intervals", "metadata")
_SLACK_S = 0.1  # what decoders of lossy files add at the ends


def spg(request: Request, *, rate: int = 16_000) -> Imported:
    """Return the recordings of a metadata.json; their ``metadata`` become columns, of which ``--label`` may name one.

    Args:
        request: What to read.
        rate: Samples a second that lengths and intervals count in.

    Raises:
        InputError: Not such a file; the message names the recording.
    """
    if rate < 1:
        raise InputError(f"--from-option rate={rate}: it must be at least 1 Hz")
    with placed(str(request.source)):
        content = parse_json(read_text(request.source))
        entries = list(_entries(content))
    recordings = []
    for path, entry in entries:
        where = f"{request.source}: {path!r}"
        with placed(where):
            recordings.append(_recording(path, entry, rate, where))
    return Imported(recordings=recordings)


def _entries(content: Any) -> Iterator[tuple[str, Any]]:
    """Yield (path, what is said of it) of either form."""
    if isinstance(content, Mapping):
        yield from content.items()
        return
    if not isinstance(content, list):
        raise InputError(f"holds {shown(content)}; an object with a path for each recording is needed, or a list")
    for number, item in enumerate(content, 1):
        if not isinstance(item, Mapping):
            raise InputError(f"item {number} of the list is {shown(item)}; an object is needed")
        path = item.get("path")
        if isinstance(path, str):
            yield path, {name: value for name, value in item.items() if name != "path"}
        else:
            yield from item.items()


def _recording(path: str, entry: Any, rate: int, where: str) -> Recording:
    if not path:
        raise InputError("the path is empty; it must name a file")
    if not isinstance(entry, Mapping):
        raise InputError(f"holds {shown(entry)}; an object with {', '.join(_PARTS)} is needed")
    unknown = [name for name in entry if name not in _PARTS]
    if unknown:
        raise InputError(f"holds {unknown[0]!r}, which is none of {', '.join(_PARTS)}; put it into 'metadata'")
    metadata = _object(entry, "metadata")
    length = entry.get("length")
    if length is not None and (not _is_whole(length) or length < 1):
        raise InputError(f"its length is {shown(length)}; samples at {rate} Hz are needed")
    return Recording(
        file=File((path,)),
        where=where,
        intervals=tuple(_intervals(_object(entry, "intervals"), rate)),
        metadata=metadata,
        duration_s=None if length is None else (length / rate - _SLACK_S, length / rate + _SLACK_S),
    )


def _object(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = entry.get(name)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise InputError(f"its {name} are {shown(found)}; an object is needed")
    return found


def _intervals(found: Mapping[str, Any], rate: int) -> Iterator[Interval]:
    for name, pairs in found.items():
        if pairs is not None and not isinstance(pairs, list):
            raise InputError(f"the intervals {name!r} are {shown(pairs)}; write [[start, stop], ...]")
        for pair in pairs or ():
            if not isinstance(pair, list) or len(pair) != 2 or not all(map(_is_whole, pair)):
                raise InputError(f"an interval {name!r} is {shown(pair)}; write [start, stop] in samples")
            start, stop = map(int, pair)
            if not 0 <= start < stop:
                raise InputError(f"an interval {name!r} is {shown(pair)}; start must be at least 0 and before stop")
            yield name, Fraction(start, rate), Fraction(stop, rate)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
