"""What the threads of a stream are doing at this moment, for whoever wonders why nothing comes.

    thread 1   storage  s3://bucket/speech/train/000004.tar, bytes 1,024 to 190,000   since 0.02 s
    thread 2   decode   key '17/a', field 'audio'                                     since 0.001 s

Each thread notes it in a place of its own, without a lock: two stores into a dict for each read and each piece.
"""

import sys
from collections.abc import Sequence
from threading import get_ident
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from shardkit.stream.fetch import Join
    from shardkit.stream.piece import Piece

Kind = Literal["storage", "decode"]
_Entry = tuple[Kind, "Join | Sequence[Join] | Piece", float]


class Doing(NamedTuple):
    """What one thread is doing.

    Attributes:
        kind: Reading from the storage, or decoding.
        place: What and where, in words.
        since_s: For how long.
        fields: The same as values, for a log record: shard, start and stop, or shard, key and field.
    """

    kind: Kind
    place: str
    since_s: float
    fields: dict[str, Any]


class Activity:
    """Notes what threads do; give back what ``begin`` returned to ``end``."""

    def __init__(self) -> None:
        self._now: dict[int, _Entry] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what threads of this process do."""
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        del state
        self._now = {}

    def begin(self, kind: Kind, what: "Join | Sequence[Join] | Piece") -> _Entry | None:
        """Note what this thread does from now on, and return what it did before."""
        thread = get_ident()
        before = self._now.get(thread)
        self._now[thread] = (kind, what, perf_counter())
        return before

    def end(self, before: _Entry | None) -> None:
        """Note that this thread goes on with what it did before, or with nothing."""
        if before is None:
            self._now.pop(get_ident(), None)
        else:
            self._now[get_ident()] = before

    def count(self, kind: Kind) -> int:
        """Return how many threads are at it."""
        return sum(entry[0] == kind for entry in list(self._now.values()))

    def look(self) -> list[Doing]:
        """Return what the threads of this process do, what has taken longest first."""
        alive, now = set(sys._current_frames()), perf_counter()  # of a forked copy's threads most have stayed behind
        entries = [entry for thread, entry in list(self._now.items()) if thread in alive]
        return [_told(*entry, now) for entry in sorted(entries, key=lambda entry: entry[2])]


def _told(kind: Kind, what: Any, since: float, now: float) -> Doing:
    if kind == "storage":
        joins = what if isinstance(what, Sequence) else [what]
        tar, start, stop = str(joins[0].tar), joins[0].lo, joins[-1].hi
        place = f"{tar}, bytes {start:,} to {stop:,}"
        return Doing(kind, place, now - since, {"shard": tar, "start": start, "stop": stop})
    key, tar = what.catalog.key(what.row), str(what.tar)
    place = f"key {key!r}, field {what.field!r}, of {tar}"
    return Doing(kind, place, now - since, {"shard": tar, "key": key, "field": what.field})
