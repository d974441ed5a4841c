"""``Watch``: says what a stream waits for when no batch comes, in time that is spent waiting anyway.

    asked for a batch        stall_s        2 · stall_s              4 · stall_s        it is there
    |───── waiting ─────────────|─────────────────|───────────────────────|─────────────────|
                                warning           warning                 warning           "after 300 s"

There is no thread that watches. Who waits for a batch does so with a time limit, and looks around when it passes: at
what the reading threads have noted (``activity``), at the process that the batch should come from, at the stacks of
both. So nothing is spent while batches come, nothing is left behind, and a consumer that takes its time over a batch
is no stall, because then nobody waits.

What can't be told this way: a decoder that holds the interpreter's lock in this very process. Python's own
``faulthandler.dump_traceback_later`` can.
"""

import logging
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from shardkit.core.checks import checked_seconds
from shardkit.stream.activity import Doing

_LOG = logging.getLogger(__name__)
STALL_S = 60.0  # longer than most outages that the storage waits for: what it mends by itself is worth no warning
ASKING = "shardkit-asking"  # name of the thread of a reading process that tells what the others do
_LONGEST_S = 1e6  # locks take no more than some hundred years
_MAX_TOLD = 8  # reads and decodes that a warning lists


@dataclass(frozen=True, slots=True)
class Sight:
    """What somebody who waits sees.

    Attributes:
        waits_for: ``storage``, ``decode``, ``process``, ``transfer``, ``transform``, or ``threads`` if none of them do
            any of this.
        message: The same in words, with where.
        stacks: Of the threads that are involved, as tracebacks; may be empty.
        fields: Values for a log record.
    """

    waits_for: str
    message: str
    stacks: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


Look = Callable[[], Sight]


def nothing_seen() -> Sight:
    """Return what is seen before anybody waits for anything."""
    return Sight("threads", "the reading to begin")


class Watch:
    """Watches over the waits for batches of one iteration, one at a time.

    Args:
        stall_s: Seconds without a batch after which it is told; None: never.
        note: Called for each batch that is late, before it is told.

    Attributes:
        look: Sees what is waited for, or was last; may be called in any thread. Where somebody else waits for what
            this one waits for in turn, as a loader for its thread, it is for him to tell.
    """

    def __init__(self, stall_s: float | None, note: Callable[[], None] | None = None) -> None:
        self._stall_s = stall_s
        self._note = note
        self.look: Look = nothing_seen
        self._began = 0.0
        self._told = 0  # warnings about the batch that is waited for

    def begin(self) -> None:
        """Note that a batch is asked for."""
        self._began, self._told = monotonic(), 0

    def wait(self, ended: Callable[[float | None], bool]) -> None:
        """Wait until ``ended`` returns True, which is called with the seconds that it may take; None: any."""
        if self._stall_s is None:
            ended(None)
            return
        while not ended(self._left_s(self._stall_s)):
            if self._left_s(self._stall_s):
                continue
            if not self._told and self._note is not None:
                self._note()
            self._warn(self.look())
            while not self._left_s(self._stall_s):  # looking may take long, too
                self._told += 1

    def end(self) -> None:
        """Note that the batch is there."""
        if self._told:
            waited_s = monotonic() - self._began
            _LOG.warning(
                "the batch has come after %.0f s; it goes on",
                waited_s,
                extra={"event": "stall_over", "waited_s": round(waited_s, 3)},
            )

    def _left_s(self, stall_s: float) -> float:
        """Return the seconds until there is something to tell."""
        return min(_LONGEST_S, max(0.0, self._began + stall_s * 2.0**self._told - monotonic()))

    def _warn(self, sight: Sight) -> None:
        waited_s = monotonic() - self._began
        _LOG.warning(
            "no batch for %.0f s, waiting for %s%s",
            waited_s,
            sight.message,
            f"\n{sight.stacks}" if sight.stacks else "",
            extra={
                "event": "stall",
                "waited_s": round(waited_s, 3),
                "waits_for": sight.waits_for,
                "stacks": sight.stacks,
                **sight.fields,
            },
        )


def checked_stall(stall_s: float | None) -> float | None:
    """Return the seconds after which a stall is told, if it is."""
    return None if stall_s is None else checked_seconds(stall_s, "stall_s")


def sight_of(doing: Sequence[Doing], threads: Sequence[threading.Thread]) -> Sight:
    """Return what is seen where threads read and decode.

    Args:
        doing: What they do, what has taken longest first.
        threads: Whose stacks to tell.
    """
    stacks = stacks_of(threads)
    if not doing:
        return Sight("threads", "threads that neither read nor decode", stacks)
    counts = {kind: sum(one.kind == kind for one in doing) for kind in ("storage", "decode")}
    told = "; ".join(f"{one.kind}: {one.place}, for {one.since_s:.1f} s" for one in doing[:_MAX_TOLD])
    more = f"; and {len(doing) - _MAX_TOLD} more" if len(doing) > _MAX_TOLD else ""
    oldest = doing[0]
    fields = oldest.fields | {
        "since_s": round(oldest.since_s, 3),
        "num_requests": counts["storage"],
        "num_decodes": counts["decode"],
    }
    message = f"{oldest.kind} ({counts['storage']} requests, {counts['decode']} decodes under way): {told}{more}"
    return Sight(oldest.kind, message, stacks, fields)


def stacks_of(threads: Sequence[threading.Thread]) -> str:
    """Return where some threads, the main one and the one that asks are; without values, so without secrets."""
    frames = sys._current_frames()
    names: dict[str, list[str]] = {}  # by stack: of many idle threads one is enough
    for thread in dict.fromkeys([threading.main_thread(), threading.current_thread(), *threads]):
        frame = frames.get(thread.ident or 0)
        if frame is not None and thread.name != ASKING:
            names.setdefault("".join(traceback.format_stack(frame)), []).append(thread.name)
    frames.clear()  # this function's own frame is among them: a cycle, which would keep what all of them hold
    frame = None
    return "".join(f"{', '.join(same)}:\n{stack}" for stack, same in names.items())


def shardkit_threads() -> list[threading.Thread]:
    """Return the threads of this process that read for streams and loaders."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("shardkit")]
