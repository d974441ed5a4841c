"""Hard examples in a stream: which draws of a source they take the place of, and what may become one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shardkit.core.errors import InputError, StateError
from shardkit.core.mining import Examples, HardExamples, Mining
from shardkit.core.order import MixedOrder
from shardkit.stream.catalog import Catalog, one_chunk
from shardkit.stream.plan import Planner
from shardkit.stream.sources import Source

_Ints = NDArray[np.int64]


class Mined:
    """The draws of one source that hard examples take the place of: its first ones since an epoch began.

    Args:
        source: Number of the source.
        order: Of the stream.
        examples: What is kept, and since when.

    Attributes:
        source: As given.
        kept: The examples, in the order of the draws they take.
        since: The position from which they do.
    """

    def __init__(self, source: int, order: MixedOrder, examples: HardExamples) -> None:
        self.source = source
        self.kept, self.since = examples.kept, examples.since
        self._order = order
        self._before = int(order.num_drawn(source, np.array([self.since]))[0])

    def num_used(self, position: int) -> int:
        """Return how many have been delivered before a position."""
        drawn = int(self._order.num_drawn(self.source, np.array([position]))[0])
        return min(drawn - self._before, len(self.kept))

    def taken(self, positions: _Ints, sources: _Ints) -> tuple[_Ints, _Ints]:
        """Return which of some positions deliver examples, and which ones: places in both, (taken,) each."""
        places = np.flatnonzero((sources == self.source) & (positions >= self.since))
        numbers = self._order.num_drawn(self.source, positions[places]) - self._before
        mine = numbers < len(self.kept)
        return places[mine], numbers[mine]


def mined_source(sources: Sequence[Source], mining: Mining, epoch: int | None) -> int:
    """Return the number of the source that delivers hard examples.

    Raises:
        InputError: There is no such source, or the stream has no epochs.
    """
    if not isinstance(mining, Mining):
        raise InputError(f"mining is {mining!r}; give shardkit.Mining('name of a source')")
    names = [source.name for source in sources]
    if mining.source not in names:
        raise InputError(f"mining: no source is named {mining.source!r}; there is {', '.join(names)}")
    if epoch is None:
        raise InputError(
            "mining needs epoch_samples: what is fed back during an epoch is drawn again from the start of the next"
        )
    return names.index(mining.source)


def examples_of(
    samples: object, scores: object, *, sources: Sequence[Source], mined: Mined, planner: Planner, position: int
) -> Examples:
    """Return the examples among what is fed back: those that the mined source's view has.

    Args:
        samples: Positions that were delivered, or keys, (sample,).
        scores: How hard each was, (sample,).
        sources: Of the stream.
        mined: What is drawn again at present.
        planner: Of the stream.
        position: Of the stream.

    Raises:
        InputError: Something in the above can't be; the message says which sample.
    """
    found, values = np.asarray(samples), np.asarray(scores)
    if found.ndim != 1 or found.shape != values.shape or values.dtype.kind not in "fiub":
        raise InputError(
            f"feedback: {found.shape} samples of {found.dtype} and {values.shape} scores of {values.dtype}; give one "
            "number for each position or key"
        )
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(f"feedback: score {place} is {values[place]}; scores are finite numbers")
    if not len(found):
        return Examples()
    if found.dtype.kind in "OU":
        return _by_key(found.tolist(), values, sources[mined.source])
    if found.dtype.kind not in "iu":
        raise InputError(f"feedback: samples of {found.dtype}; give positions (batch.positions) or keys (batch.keys)")
    if found.min() < 0 or found.max() >= position:
        wrong = int(found.min() if found.min() < 0 else found.max())
        raise InputError(f"feedback: position {wrong} has not been delivered; the stream is at {position}")
    return _by_position(found.astype(np.int64), values, sources, mined, planner)


def load_examples(feedback: object, digest: object) -> HardExamples:
    """Return what ``feedback_state`` returned, if it is what a state tells of.

    Raises:
        StateError: It is not, or is none.
    """
    if feedback is None:
        found = HardExamples()
        if digest != found.digest():
            raise StateError(
                "the state was taken after feedback; save feedback_state() beside it, and give "
                "load_state_dict(state, feedback=...)"
            )
        return found
    found = HardExamples.load(feedback)
    if found.digest() != digest:
        raise StateError("feedback: not what had been fed back when the state was taken; give what was saved with it")
    return found


def _by_key(keys: list[Any], scores: NDArray[np.float64], source: Source) -> Examples:
    if source.view.of_events:
        raise InputError(
            f"feedback: keys name recordings, and the rows of source {source.name!r} are events; give positions"
        )
    known = one_chunk(source.catalog.table.column("key"))
    places = pc.index_in(pa.array(keys, type=known.type), value_set=known)
    if places.null_count:
        missing = keys[np.flatnonzero(np.asarray(places.is_null()))[0]]
        raise InputError(f"feedback: no key {missing!r} in {source.catalog.location}, of source {source.name!r}")
    rows = np.asarray(places, dtype=np.int64)
    none = np.full(len(rows), -1)
    return Examples(rows, none, none, scores).at(source.view.has(rows, none))


def _by_position(
    positions: _Ints, scores: NDArray[np.float64], sources: Sequence[Source], mined: Mined, planner: Planner
) -> Examples:
    drawn, rows, starts, events = planner.recordings(positions)
    early = np.flatnonzero((drawn == mined.source) & (positions < mined.since))
    if len(early) and mined.since:
        raise InputError(
            f"feedback: position {positions[early[0]]} lies before {mined.since}, where this epoch's hard examples "
            "begin; feed back what an epoch delivered before the next one begins, or feed back keys"
        )
    origins = positions.copy()
    places, numbers = mined.taken(positions, drawn)
    origins[places] = mined.kept.origins[numbers]
    hard = sources[mined.source]
    same = np.array([_same_rows(source.catalog, hard.catalog) for source in sources])
    mine = same[drawn]
    return Examples(rows, starts, origins, scores).at(
        mine & hard.view.has(np.where(mine, rows, 0), np.where(mine, events, -1))
    )


def _same_rows(one: Catalog, other: Catalog) -> bool:
    """Return whether two catalogs number the same rows alike."""
    return one is other or (one.location == other.location and list(one.content) == list(other.content))
