"""From a plan to a batch: allocates the arrays, has them filled, adds labels, masks and the rest."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardkit.audio.resample import num_resampled
from shardkit.core.errors import InputError, ShardkitError
from shardkit.format.index import PRIMARY
from shardkit.stream.batch import Batch
from shardkit.stream.faults import FaultLog
from shardkit.stream.fetch import Fetcher
from shardkit.stream.fields import AudioType, check_fields, check_int16, row_shapes
from shardkit.stream.loudness import loudness_of
from shardkit.stream.neighbours import NeighbourReads
from shardkit.stream.plan import BatchPlan, Draw, Planner
from shardkit.stream.pool import ArrayPool, Empty
from shardkit.stream.reader import Buffers, Faults, start_reading
from shardkit.stream.sources import Source, interval_names
from shardkit.stream.targets import IntervalRows, LabelNames, label_rows
from shardkit.stream.watchdog import Sight, Watch, shardkit_threads, sight_of
from shardkit.stream.workers import Workers, has_ended

MAX_ATTEMPTS = 16  # substitutes that fail in turn: then it is not the sample


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """What a batch holds.

    Attributes:
        sample_rate: Of the delivered audio, in Hz.
        channels: Of the delivered audio.
        global_batch_size: Samples of all ranks' batches together.
        dtype: Of the delivered audio.
        crop_s: Seconds of each sample; None: whole samples, padded to the longest of the batch.
        mask_hop: Samples of delivered audio in one frame of the masks; None: no masks.
        mask_names: Interval names to deliver masks of; None: all.
        fields: Further fields.
        metadata: Columns.
        loudness: Whether to tell the loudness of each crop.
        label_names: Whether labels of one name are one class, or one of each source.
    """

    sample_rate: int
    channels: int
    global_batch_size: int
    dtype: AudioType
    crop_s: float | None
    mask_hop: int | None
    mask_names: Sequence[str] | None
    fields: Sequence[str]
    metadata: Sequence[str]
    loudness: bool
    label_names: LabelNames


@dataclass(slots=True)
class Pending:
    """A batch under way."""

    plan: BatchPlan
    buffers: Buffers
    workers: Workers
    watch: Watch
    jobs: list[Future[Faults]]

    def cancel(self) -> None:
        """Drop the reads that have not begun."""
        for job in self.jobs:
            job.cancel()


class Assembler:
    """Makes batches of what plans ask for.

    Args:
        sources: What the plans' draws refer to.
        options: What a batch holds.
        planner: Says what takes the place of a sample that can't be read.
        faults: Where those are noted.
        fetcher: Fetches bytes.
    """

    def __init__(
        self, sources: Sequence[Source], options: BatchOptions, planner: Planner, faults: FaultLog, fetcher: Fetcher
    ) -> None:
        self.planner = planner
        self.sources = sources
        self._options = options
        self._faults = faults
        self.fetcher = fetcher
        self._pool = ArrayPool()
        self.labels, self._label_rows = label_rows(
            {source.name: source.catalog for source in sources},
            [source.view.labels for source in sources],
            options.label_names,
        )
        masks = options.mask_names
        self.mask_names = () if masks == () else interval_names(sources, masks or (), "mask_names")
        self.audio_fields, self._other_fields = check_fields(sources, options.fields)
        self._has_audio = sources[0].view.manifest.has_audio
        if options.dtype == "int16" and self._has_audio:
            names = (PRIMARY, *self.audio_fields)
            check_int16(sources, names, sample_rate=options.sample_rate, channels=options.channels)
        self._row_shapes = row_shapes(sources, self._other_fields, options.crop_s)
        self._metadata = {name: _metadata_columns(sources, name) for name in options.metadata}
        self._interval_rows = [IntervalRows(source.catalog, self.mask_names) for source in sources]

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that are read, the primary audio first, if there is any."""
        return (*self._audio_read, *self._other_fields)

    @property
    def _audio_read(self) -> tuple[str, ...]:
        return (PRIMARY, *self.audio_fields) if self._has_audio else ()

    def begin(
        self,
        plan: BatchPlan,
        workers: Workers,
        watch: Watch,
        *,
        neighbours: NeighbourReads | None,
        empty: Empty | None,
    ) -> Pending:
        """Allocate a batch, by ``empty`` or from memory of this process, and start to read it."""
        pending = Pending(plan, self._buffers(plan, empty), workers, watch, [])
        self._start(pending, range(len(plan.draws)), neighbours)
        return pending

    def look(self) -> Sight:
        """Return what is seen of the reading and decoding."""
        return sight_of(self.fetcher.activity.look(), shardkit_threads())

    def finish(self, pending: Pending) -> Batch:
        """Wait until a batch is read and return it.

        Raises:
            AudioError, CorruptDataError, StorageError: More samples than allowed can't be read, or the storage
                fails; the message says where.
        """
        invalid = self._read(pending)
        plan, buffers = pending.plan, pending.buffers
        given, draws = {**buffers.audio, **buffers.arrays, **buffers.values}, plan.draws
        audio = buffers.audio.get(PRIMARY)
        if audio is None:
            audio = np.empty((len(draws), self._options.channels, 0), self._options.dtype)
        return Batch(
            audio=audio,
            lengths=buffers.lengths,
            sample_rate=self._options.sample_rate,
            keys=["" if draw is None else self.sources[draw.source].catalog.key(draw.row) for draw in draws],
            sources=["" if draw is None else self.sources[draw.source].name for draw in draws],
            positions=plan.positions,
            passes=plan.passes,
            starts=np.array([0 if draw is None else draw.start for draw in draws], dtype=np.int64),
            labels=self._labels(draws),
            masks=self._masks(draws, buffers.longest),
            fields={name: given[name] for name in self._options.fields},
            present={name: self._present(draws, name) for name in self._options.fields},
            metadata={
                name: [None if draw is None else columns[draw.source](draw.row) for draw in draws]
                for name, columns in self._metadata.items()
            },
            valid=np.array([draw is not None and index not in invalid for index, draw in enumerate(draws)]),
            loudness=loudness_of(self.sources, draws) if self._options.loudness else None,
            views=self.planner.views.count,
            global_batch_size=self._options.global_batch_size,
            position=plan.next_position,
        )

    def _start(self, pending: Pending, indices: Iterable[int], neighbours: NeighbourReads | None) -> None:
        """Start to read some of a batch's draws."""
        indices, plan = list(indices), pending.plan
        if neighbours is not None:
            neighbours.plan([int(plan.positions[index]) for index in indices if plan.draws[index] is not None])
        pending.jobs = start_reading(
            plan,
            indices,
            pending.buffers,
            self.sources,
            self.fields,
            workers=pending.workers,
            fetcher=self.fetcher,
            neighbours=neighbours,
        )

    def _read(self, pending: Pending) -> set[int]:
        """Wait for a batch; return which samples were given up."""
        plan, attempt, invalid = pending.plan, 0, set[int]()
        while failed := self._wait(pending):
            for index, error in failed.items():
                draw = plan.draws[index]
                assert draw is not None  # noqa: S101  for the type checker: what is not drawn can't fail
                self._faults.note(error, int(plan.positions[index]), self.sources[draw.source].name)
            samples = [first + view for first in failed for view in range(self.planner.views.count)]
            for index in samples:
                pending.buffers.clear(index)
            attempt += 1
            if self.planner.num_positions is not None:  # one pass: nothing may come twice
                invalid.update(samples)
                return invalid
            if attempt > MAX_ATTEMPTS:
                raise next(iter(failed.values()))
            self._substitute(pending, list(failed), attempt)
        return invalid

    def _wait(self, pending: Pending) -> dict[int, ShardkitError]:
        """Wait for what is being read; return what failed, by the place of the sample's first view in the batch."""
        failed: dict[int, ShardkitError] = {}
        for job in pending.jobs:
            if not job.done():
                pending.watch.wait(partial(has_ended, job))
            for index, error in job.result():
                failed.setdefault(index - index % self.planner.views.count, error)
        pending.jobs = []
        return dict(sorted(failed.items()))

    def _substitute(self, pending: Pending, firsts: Sequence[int], attempt: int) -> None:
        """Start to read what takes the place of samples that can't be read; ``firsts`` are those of their views."""
        plan, count = pending.plan, self.planner.views.count
        failed = [draw for index in firsts if (draw := plan.draws[index]) is not None]
        places = np.array(firsts)
        drawn = self.planner.substitutes(plan.positions[places], plan.passes[places], failed, attempt=attempt)
        indices = [first + view for first in firsts for view in range(count)]
        for index, draw in zip(indices, drawn, strict=True):
            plan.draws[index] = draw
            length = self._length(draw)
            if self._options.crop_s is None:
                pending.buffers.extend(length)
            pending.buffers.lengths[index] = min(length, pending.buffers.longest)
        self._start(pending, indices, None)

    def _buffers(self, plan: BatchPlan, empty: Empty | None) -> Buffers:
        rate, count = self._options.sample_rate, len(plan.draws)
        lengths = np.array([self._length(draw) for draw in plan.draws], dtype=np.int64)
        crop_s = self._options.crop_s
        longest = int(lengths.max()) if crop_s is None else round(crop_s * rate)
        shape = (count, self._options.channels, longest)
        # Not cleared: each part is written once, by what is read into it or as the silence beside that.
        empty = empty or self._pool.empty
        return Buffers(
            audio={name: empty(shape, self._options.dtype) for name in self._audio_read},
            arrays={name: empty((count, *rows.shape), rows.dtype) for name, rows in self._row_shapes.items()},
            paddings={name: rows.padding for name, rows in self._row_shapes.items()},
            values={name: [None] * count for name in self._other_fields if name not in self._row_shapes},
            lengths=np.minimum(lengths, longest),
            longest=longest,
            sample_rate=rate,
        )

    def _length(self, draw: Draw | None) -> int:
        """Return the samples that a draw delivers."""
        if draw is None:
            return 0
        length, rate = draw.stop - draw.start, self._rate(draw)
        return length if rate == self._options.sample_rate else num_resampled(length, rate, self._options.sample_rate)

    def _labels(self, draws: Sequence[Draw | None]) -> NDArray[np.float32]:
        labels = np.zeros((len(draws), len(self.labels)), dtype=np.float32)
        for index, draw in enumerate(draws):
            if draw is not None and self.labels:
                self._label_rows[draw.source].fill(draw.row, draw.event, labels[index])
        return labels

    def _masks(self, draws: Sequence[Draw | None], num_samples: int) -> dict[str, NDArray[np.float32]]:
        hop = self._options.mask_hop
        if hop is None:
            return {}
        masks = np.zeros((len(self.mask_names), len(draws), -(-num_samples // hop)), dtype=np.float32)
        for index, draw in enumerate(draws):
            if draw is not None:
                self._interval_rows[draw.source].fill(
                    draw.row,
                    draw.start,
                    draw.stop,
                    hop=(self._rate(draw) * hop, self._options.sample_rate),
                    target=masks[:, index],
                )
        return dict(zip(self.mask_names, masks, strict=True))

    def _present(self, draws: Sequence[Draw | None], name: str) -> NDArray[np.bool_]:
        present = np.zeros(len(draws), dtype=bool)
        for index, draw in enumerate(draws):
            columns = None if draw is None else self.sources[draw.source].catalog.fields.get(name)
            if columns is not None and draw is not None:
                present[index] = columns.present[draw.row]
        return present

    def _rate(self, draw: Draw) -> int:
        return self.sources[draw.source].catalog.fields[PRIMARY].rate(draw.row)


def _metadata_columns(sources: Sequence[Source], name: str) -> list[Any]:
    """Return for each source a function from row to value; a source without the column gives None."""
    have = [name in source.view.manifest.columns for source in sources]
    if not any(have):
        known = dict.fromkeys(column for source in sources for column in source.view.manifest.columns)
        raise InputError(f"metadata: no source has a column {name!r}; there is {', '.join(known) or 'none'}")
    return [
        _value_reader(source.catalog.table.column(name)) if has else _no_value
        for source, has in zip(sources, have, strict=True)
    ]


def _value_reader(column: Any) -> Any:
    return partial(_value, column)  # not a lambda: a stream is pickled for worker processes that are spawned


def _value(column: Any, row: int) -> Any:
    return column[row].as_py()


def _no_value(_row: int) -> None:
    return None
