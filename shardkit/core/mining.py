"""Hard examples: what was fed back, bounded and without repeats, and which of it a position draws again.

    epoch          0                        1                        2
    fed back       ── score, score … ──┐    ── score … ─────────┐
    kept                               └─►  c a d b             └─►  b e f         hardest first, each delivered once
    hard source    f0 f1 f2 f3              c  a  d  f7              b  e  f  f11       and then its own draws

What is fed back during an epoch is kept from the start of the next one on, never earlier: batches of this one are read
ahead already, and how many of them depends on timing. So a draw is a function of the position and of what was fed back
in the epochs before, on any number of ranks that were all given the same.
"""

import hashlib
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardkit.core.checks import checked_whole, is_number
from shardkit.core.errors import InputError, StateError

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]
_MOST = 2**62  # of positions and rows


@dataclass(frozen=True, slots=True)
class Mining:
    """Which source delivers what was fed back, and how much of it is kept.

    Args:
        source: The source; samples of its view can be fed back, whichever source of the stream drew them.
        size: Most samples that are kept; those of the lowest scores go first.
        above: Only scores above this are kept.

    Raises:
        InputError: An option is out of range.
    """

    source: str
    _: KW_ONLY
    size: int = 50_000
    above: float = 0.5

    def __post_init__(self) -> None:
        if not isinstance(self.source, str):
            raise InputError(f"mining source {self.source!r} is no name; give that of a source")
        object.__setattr__(self, "size", checked_whole(self.size, "mining size", most=2**24))
        if not is_number(self.above):
            raise InputError(f"mining above {self.above!r} is not a number; 0.5 is usual for probabilities")
        object.__setattr__(self, "above", float(self.above))


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Some samples and their scores, hardest first; all arrays are (example,).

    Attributes:
        rows: Row in the catalog.
        starts: Where the row's section begins; -1 where it was named by key. With ``rows`` it says which example it is.
        origins: Position that drew it first, whose crop is delivered again; -1: a crop is placed anew.
        scores: How hard it is.
    """

    rows: _Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    starts: _Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    origins: _Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    scores: _Floats = field(default_factory=lambda: np.empty(0, dtype=np.float64))

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, index: _Ints | slice | NDArray[np.bool_]) -> "Examples":
        """Return some of them."""
        return Examples(self.rows[index], self.starts[index], self.origins[index], self.scores[index])

    def hardest(self, size: int) -> "Examples":
        """Return each example once, with its highest score, and of all at most ``size``."""
        # Ties go by origin, not by who came first: ranks may be gathered in any order.
        found = self.at(np.lexsort((self.origins, -self.scores)))
        _, first = np.unique(np.stack([found.rows, found.starts]), axis=1, return_index=True)
        return found.at(np.sort(first)[:size])

    def without(self, others: "Examples") -> "Examples":
        """Return those that are not among others."""
        known = set(zip(others.rows.tolist(), others.starts.tolist(), strict=True))
        pairs = zip(self.rows.tolist(), self.starts.tolist(), strict=True)
        return self.at(np.array([pair not in known for pair in pairs], dtype=bool))

    def joined(self, others: "Examples") -> "Examples":
        """Return both, one after the other."""
        return Examples(
            np.concatenate([self.rows, others.rows]),
            np.concatenate([self.starts, others.starts]),
            np.concatenate([self.origins, others.origins]),
            np.concatenate([self.scores, others.scores]),
        )

    def dump(self) -> list[list[Any]]:
        """Return plain JSON values."""
        columns = (self.rows, self.starts, self.origins, self.scores)
        return [list(entry) for entry in zip(*(column.tolist() for column in columns), strict=True)]

    @classmethod
    def load(cls, entries: object) -> "Examples":
        """Return what ``dump`` returned.

        Raises:
            StateError: It is something else.
        """
        listed = entries if isinstance(entries, list) and all(map(_is_example, entries)) else None
        if listed is None:
            raise StateError(f"not what feedback_state() returned: {str(entries)[:80]!r}")
        rows, starts, origins = np.array([entry[:3] for entry in listed], dtype=np.int64).reshape(-1, 3).T
        return cls(rows, starts, origins, np.array([entry[3] for entry in listed], dtype=np.float64))


def _is_example(entry: object) -> bool:
    """Tell whether an entry is [row, start, origin, score], of numbers that they can be."""
    if not isinstance(entry, list) or len(entry) != 4 or not is_number(entry[3]):
        return False
    row, *others = entry[:3]
    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in entry[:3])
    return whole and 0 <= row < _MOST and all(-1 <= value < _MOST for value in others)


@dataclass(frozen=True, slots=True, eq=False)
class HardExamples:
    """What is drawn again, and what was fed back since.

    Attributes:
        since: Position from which ``kept`` holds.
        kept: The first draws of the source from there on, in this order.
        pending: Fed back since; it joins ``kept`` where the next epoch begins.
    """

    since: int = 0
    kept: Examples = field(default_factory=Examples)
    pending: Examples = field(default_factory=Examples)

    def fed(self, found: Examples, *, size: int) -> "HardExamples":
        """Return these with more that was fed back."""
        return HardExamples(self.since, self.kept, self.pending.joined(found).hardest(size))

    def begun(self, position: int, *, num_used: int, size: int) -> "HardExamples":
        """Return these where an epoch begins, and ``num_used`` of those kept have been delivered.

        What was fed back in the last epoch counts, not what was said of the same example before.
        """
        left = self.kept.at(slice(num_used, None)).without(self.pending)
        return HardExamples(position, left.joined(self.pending).hardest(size))

    def dump(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"since": self.since, "kept": self.kept.dump(), "pending": self.pending.dump()}

    @classmethod
    def load(cls, state: object) -> "HardExamples":
        """Return what ``dump`` returned.

        Raises:
            StateError: It is something else.
        """
        if not isinstance(state, dict) or state.keys() != {"since", "kept", "pending"}:
            raise StateError(f"not what feedback_state() returned: {str(state)[:80]!r}")
        since = state["since"]
        if isinstance(since, bool) or not isinstance(since, int) or not 0 <= since < _MOST:
            raise StateError(f"not what feedback_state() returned: since {str(since)[:80]!r}")
        return cls(since, Examples.load(state["kept"]), Examples.load(state["pending"]))

    def digest(self) -> str:
        """Return a short hash, for the state of a stream."""
        found = hashlib.blake2b(f"{self.since} {len(self.kept)}".encode(), digest_size=8)
        for examples in (self.kept, self.pending):
            for column in (examples.rows, examples.starts, examples.origins):
                found.update(np.ascontiguousarray(column, dtype="<i8").tobytes())
            found.update(np.ascontiguousarray(examples.scores, dtype="<f8").tobytes())
        return found.hexdigest()
