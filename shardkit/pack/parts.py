"""``--part 3/16``: a sixteenth of the shards of one plan, for jobs on machines that know nothing of each other."""

import re
from dataclasses import dataclass

from shardkit.core.errors import InputError

_TEXT = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Part:
    """Part ``number`` of ``count``, counted from 1: every ``count``-th shard, from the ``number``-th on."""

    number: int
    count: int

    def __post_init__(self) -> None:
        """Refuse a part that there is not."""
        if not 1 <= self.number <= self.count:
            raise InputError(f"part {self}: parts are counted from 1: 1/{self.count} to {self.count}/{self.count}")

    def has(self, shard: int) -> bool:
        """Return whether a shard, by its number from 0, belongs to the part.

        >>> [shard for shard in range(7) if Part(2, 3).has(shard)]
        [1, 4]
        """
        return shard % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


WHOLE = Part(1, 1)


def parse_part(text: str) -> Part:
    """Return the part of a ``--part`` value.

    >>> parse_part("3/16")
    Part(number=3, count=16)
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        raise InputError(f"part {text!r} is not NUMBER/COUNT; write 3/16 for the third of sixteen")
    if int(found[2]) < 1:
        raise InputError(f"part {text!r}: there must be at least one part")
    return Part(int(found[1]), int(found[2]))
