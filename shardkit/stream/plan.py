"""From positions to what is to be read: pure arithmetic over the index, no bytes touched."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardkit.core.crops import NO_EVENTS, Crop, Recording
from shardkit.core.distinct import distinct
from shardkit.core.errors import AudioError, ShardkitError
from shardkit.core.order import MixedOrder, OnePassOrder, substitute_rows
from shardkit.core.random import hash_int, key_of, uniform
from shardkit.format.index import PRIMARY
from shardkit.stream.catalog import located
from shardkit.stream.sources import Source
from shardkit.stream.targets import IntervalRows

if TYPE_CHECKING:
    from shardkit.stream.mined import Mined

_Ints = NDArray[np.int64]
# Recordings that may be passed over for one draw. Where fewer than one in a thousand has a place for a crop, a view
# should choose them, and not the luck of the draw.
MAX_SKIPS = 1000
_DRAWS_AT_ONCE = 1024


class Draw(NamedTuple):
    """One sample to deliver: which source, which row of its catalog, samples [start, stop) at the stored rate.

    ``event`` is the interval of the catalog whose name is the sample's label; -1: its labels are the recording's.
    """

    source: int
    row: int
    start: int
    stop: int
    event: int = -1


class Drawn(NamedTuple):
    """What is drawn at some positions, before it is cropped; all arrays are (position,).

    ``rows`` are those of the sources' catalogs, ``starts`` where the rows' sections begin, ``events`` as in ``Draw``.
    """

    sources: _Ints
    rows: _Ints
    starts: _Ints
    events: _Ints


@dataclass(slots=True, kw_only=True)
class BatchPlan:
    """What one rank delivers as one batch; where a position has several views, they stand side by side.

    Attributes:
        positions: Of the draws, (batch,).
        passes: Of the draws, (batch,).
        draws: None for positions past the end of a one-pass stream, and for recordings that its crop skips.
        next_position: Where the next global batch begins.
    """

    positions: _Ints
    passes: _Ints
    draws: list[Draw | None]
    next_position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """How many crops are taken of each sample, and how far the others may lie from the first.

    Attributes:
        count: Crops of each sample.
        distance_s: Most seconds from the start of the first to the start of another; None: anywhere.
    """

    count: int = 1
    distance_s: float | None = None


class Planner:
    """Plans batches: a pure function of the position."""

    def __init__(
        self,
        sources: Sequence[Source],
        order: MixedOrder | OnePassOrder,
        crop: Crop | None,
        *,
        seed: int,
        views: Views = Views(),
        mined: "Mined | None" = None,
    ) -> None:
        self.views = views
        self.mined = mined
        self._sources = sources
        self._order = order
        self._crop = crop
        self._seed = seed
        self._num_rows = np.array([len(source.view) for source in sources], dtype=np.int64)
        self._keys = [hash_int(seed, key_of("repeat"), key_of(source.name)) for source in sources]
        self._events = [_events_of(source, crop) for source in sources]
        self.num_positions = order.num_rows if isinstance(order, OnePassOrder) else None

    def plans(
        self, position: int, *, step: int, end: int | None, rank: int, world_size: int, batch_size: int
    ) -> Iterator[BatchPlan]:
        """Yield the plans of a rank's batches.

        Several batches are planned at once, since most of what that costs does not depend on how many draws they have;
        the first alone, so that it can be read.

        Args:
            position: Where the first global batch begins.
            step: Every how many-th of them is planned.
            end: No batch begins here or later; None: endless.
            rank: Whose share of the global batches.
            world_size: Number of ranks.
            batch_size: Samples of a batch of one rank.

        Raises:
            AudioError, FormatError: A draw can't be placed; the plans of the batches before it have been yielded.
        """
        stride, count = step * world_size * batch_size, 1
        while end is None or position < end:
            firsts = [
                first for first in range(position, position + count * stride, stride) if end is None or first < end
            ]
            share = {"rank": rank, "world_size": world_size, "batch_size": batch_size}
            try:
                planned: Iterable[BatchPlan] = self._plans(firsts, **share)
            except ShardkitError:  # of one of them: those before it are sound
                planned = (self.plan(first, **share) for first in firsts)
            yield from planned
            position += count * stride
            count = min(2 * count, max(1, _DRAWS_AT_ONCE // (batch_size * self.views.count)))

    def plan(self, position: int, *, rank: int, world_size: int, batch_size: int) -> BatchPlan:
        """Return the plan of this rank's share of the global batch that begins at ``position``.

        A rank's positions are those that leave its number when divided by the world size, wherever the batch begins.
        """
        return self._plans([position], rank=rank, world_size=world_size, batch_size=batch_size)[0]

    def _plans(self, firsts: Sequence[int], *, rank: int, world_size: int, batch_size: int) -> list[BatchPlan]:
        """Return the plans of the global batches that begin at some positions."""
        begins = np.array([first + (rank - first) % world_size for first in firsts], dtype=np.int64)
        positions = (begins[:, None] + world_size * np.arange(batch_size, dtype=np.int64)).ravel()
        # Positions past the end of a one-pass stream come last: those of one rank increase.
        valid = positions if self.num_positions is None else positions[positions < self.num_positions]
        draws, passes = self.draws(valid)
        count, missing = self.views.count, len(positions) - len(valid)
        draws += [None] * (missing * count)
        positions = np.repeat(positions, count)
        passes = np.repeat(np.concatenate([passes, np.zeros(missing, dtype=np.int64)]), count)
        plans = []
        for number, first in enumerate(firsts):
            mine = slice(number * batch_size * count, (number + 1) * batch_size * count)
            plans.append(
                BatchPlan(
                    positions=positions[mine],
                    passes=passes[mine],
                    draws=draws[mine],
                    next_position=first + world_size * batch_size,
                )
            )
        return plans

    def draws(self, positions: _Ints) -> tuple[list[Draw | None], _Ints]:
        """Return what is drawn at some positions, the views of each side by side, and the pass of each position."""
        drawn = self._order.draws(positions)
        placed = self._placed(positions, drawn.sources, drawn.rows, drawn.passes, attempt=0)
        if self.mined is not None:
            self._replace(placed, positions, *self.mined.taken(positions, drawn.sources))
        return placed, drawn.passes

    def recordings(self, positions: _Ints) -> Drawn:
        """Return what is drawn at some positions; what a crop skips is among it, and not what takes its place."""
        found = self._drawn(positions)
        if self.mined is not None:
            kept, (places, numbers) = self.mined.kept, self.mined.taken(positions, found.sources)
            found.rows[places], found.starts[places] = kept.rows[numbers], kept.starts[numbers]
            found.events[places] = -1
            again = kept.origins[numbers] >= 0
            found.events[places[again]] = self._drawn(kept.origins[numbers[again]]).events
        return found

    def _drawn(self, positions: _Ints) -> Drawn:
        """Return what the order draws at some positions."""
        drawn = self._order.draws(positions)
        rows, starts, events = (np.empty_like(drawn.rows) for _ in range(3))
        for source in distinct(drawn.sources):
            mine = np.flatnonzero(drawn.sources == source)
            view = self._sources[source].view
            found = view.sections(drawn.rows[mine], passes=drawn.passes[mine], key=self._keys[source])
            rows[mine], starts[mine], events[mine] = found.rows, found.starts, found.events
        return Drawn(drawn.sources, rows, starts, events)

    def _replace(self, placed: list[Draw | None], positions: _Ints, places: _Ints, numbers: _Ints) -> None:
        """Put hard examples in the places of draws: as they were drawn first or, named by key, with a crop of now."""
        if self.mined is None or not len(places):
            return
        kept, count = self.mined.kept.at(numbers), self.views.count
        again = np.flatnonzero(kept.origins >= 0)
        origins = kept.origins[again]
        first = self._order.draws(origins)
        replays = self._placed(origins, first.sources, first.rows, first.passes, attempt=0)
        for number, index in enumerate(again.tolist()):
            start = int(places[index]) * count
            draws = replays[number * count : (number + 1) * count]
            placed[start : start + count] = [draw and draw._replace(source=self.mined.source) for draw in draws]
        for index in np.flatnonzero(kept.origins < 0).tolist():
            place = int(places[index])
            draws = self._anew(int(positions[place]), int(kept.rows[index]))
            placed[place * count : (place + 1) * count] = draws or placed[place * count : (place + 1) * count]

    def _anew(self, position: int, row: int) -> list[Draw | None]:
        """Return the crops of a recording of the mined source at a position; none where the crop skips it."""
        source = 0 if self.mined is None else self.mined.source
        section = (0, int(self._sources[source].catalog.fields[PRIMARY].frames[row]))
        if self._crop is None:
            return [Draw(source, row, *section)] * self.views.count
        at = np.array([position])
        chances = [float(uniform(self._seed, at, "crop", view * 2**16)[0]) for view in range(self.views.count)]
        bounds = self._crops_of(self._crop, source, row, section, chances)
        return [Draw(source, row, start, stop) for start, stop in bounds or ()]

    def neighbours(self, position: int) -> _Ints:
        """Return the positions whose rows lie near this one's because the shuffle kept them so."""
        return self._order.neighbours(position)

    def substitutes(
        self, positions: _Ints, passes: _Ints, failed: Sequence[Draw], *, attempt: int
    ) -> list[Draw | None]:
        """Return what takes the place of samples that can't be read: of the same sources, by position and attempt.

        Args:
            positions: Of the samples, (sample,).
            passes: Of the samples, (sample,).
            failed: One draw of each.
            attempt: 1 for the first substitute, 2 for what takes its place in turn.
        """
        sources = np.array([draw.source for draw in failed], dtype=np.int64)
        rows = substitute_rows(self._seed, positions, self._num_rows[sources], attempt=attempt)
        return self._placed(positions, sources, rows, passes, attempt=attempt)

    def _placed(
        self, positions: _Ints, sources: _Ints, rows: _Ints, passes: _Ints, *, attempt: int
    ) -> list[Draw | None]:
        """Return the draws of rows of the sources; a row that the crop skips gives way to another, by position."""
        placed: list[tuple[Draw, ...] | None] = [None] * len(rows)
        left = np.arange(len(rows))
        for skip in range(MAX_SKIPS + 1):
            found = self._cropped(positions[left], sources[left], rows, passes[left], attempt=attempt + skip * 2**32)
            for index, draws in zip(left.tolist(), found, strict=True):
                placed[index] = draws
            left = np.array([index for index in left.tolist() if placed[index] is None], dtype=np.int64)
            if not len(left) or self.num_positions is not None:  # one pass: nothing may come twice
                break
            num_rows = self._num_rows[sources[left]]
            rows = substitute_rows(self._seed, positions[left], num_rows, attempt=attempt + (skip + 1) * 2**32)
        else:
            name = self._sources[sources[left[0]]].name
            raise AudioError(
                f"source {name!r}: {MAX_SKIPS} recordings in turn have no place for {self._crop}; choose those that "
                "have with where(), or fallback='keep'"
            )
        return [draw for draws in placed for draw in (draws or [None] * self.views.count)]

    def _cropped(
        self, positions: _Ints, sources: _Ints, rows: _Ints, passes: _Ints, *, attempt: int
    ) -> list[tuple[Draw, ...] | None]:
        """Return the crops of rows of the sources; None for those that the crop skips."""
        views = range(self.views.count)
        chances = np.array([uniform(self._seed, positions, "crop", attempt + view * 2**16) for view in views]).T
        placed: list[tuple[Draw, ...] | None] = [None] * len(rows)
        for source in distinct(sources):
            mine = np.flatnonzero(sources == source)
            found = self._sources[source].view.sections(rows[mine], passes=passes[mine], key=self._keys[source])
            columns = (
                array.tolist() for array in (mine, found.rows, found.starts, found.stops, found.events, chances[mine])
            )
            for index, row, start, stop, event, chance in zip(*columns, strict=True):
                if self._crop is None:
                    placed[index] = (Draw(source, row, start, stop, event),) * len(chance)
                    continue
                bounds = self._crops_of(self._crop, source, row, (start, stop), chance)
                if bounds is not None:
                    placed[index] = tuple([Draw(source, row, first, last, event) for first, last in bounds])
        return placed

    def _crops_of(
        self, crop: Crop, source: int, row: int, section: tuple[int, int], chances: Sequence[float]
    ) -> list[tuple[int, int]] | None:
        """Return the bounds of the views of one row; None: it is skipped."""
        catalog, events = self._sources[source].catalog, self._events[source]
        audio = catalog.fields[PRIMARY]
        with located(catalog, PRIMARY, row):
            recording = Recording(
                int(audio.frames[row]),
                int(audio.sample_rate[row]),
                section=section,
                energies=audio.energies(row) if crop.needs_loudness else None,
                events=NO_EVENTS if events is None else events.bounds(row),
            )
            first = crop.place(recording, chances[0])
            if first is None:
                return None
            near = self._near(recording, first)
            return [first, *(crop.place(near, chance) or first for chance in chances[1:])]

    def _near(self, recording: Recording, first: tuple[int, int]) -> Recording:
        """Return the recording as the views after the first may see it."""
        if self.views.distance_s is None:
            return recording
        distance = round(self.views.distance_s * recording.sample_rate)
        low, high = recording.bounds
        return replace(recording, section=(max(low, first[0] - distance), min(high, first[1] + distance)))


def _events_of(source: Source, crop: Crop | None) -> IntervalRows | None:
    """Return the intervals of a source that a crop asks for."""
    if crop is None or crop.interval_names is None:
        return None
    return IntervalRows(source.catalog, crop.interval_names or source.view.manifest.interval_names)
