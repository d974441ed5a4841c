"""Samples that could not be read: noted one by one, and raised when they are too many."""

import logging
from dataclasses import dataclass

from shardkit.core.errors import ShardkitError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fault:
    """A sample that could not be read.

    Attributes:
        position: The position of the stream at which it was due.
        source: The source it was drawn from.
        error: What is wrong, and where: shard, key, byte.
    """

    position: int
    source: str
    error: str


class FaultLog:
    """Notes samples that can't be read, up to an allowed number.

    Args:
        allowed: How many this process may meet in the life of its stream.

    Attributes:
        noted: The samples.
        elsewhere: How many more processes have met of which nothing but their number is known here.
    """

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self.noted: list[Fault] = []
        self.elsewhere = 0

    def note(self, error: ShardkitError, position: int, source: str) -> None:
        """Note one; raise it if it is one too many.

        Raises:
            ShardkitError: The error, which then says how many there were.
        """
        if len(self.noted) >= self.allowed:
            others = f" ({len(self.noted)} other samples failed before; max_failures={self.allowed})"
            raise type(error)(f"{error}{others if self.noted else ''}") from error
        self.noted.append(Fault(position, source, str(error)))
        _LOG.warning(
            "position %d, source %r: sample left out: %s",
            position,
            source,
            error,
            extra={"event": "sample_left_out", "position": position, "source": source, "error": str(error)},
        )
