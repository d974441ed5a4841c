"""From a plan to a batch: allocates the arrays, has them filled, adds labels, masks and the rest."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardkit.audio.resample import num_resampled
from shardkit.core.errors import InputError, ShardkitError
from shardkit.format.index import PRIMARY
from shardkit.storage.traffic import Traffic
from shardkit.stream.batch import Batch
from shardkit.stream.faults import FaultLog
from shardkit.stream.fields import check_fields, read_other_field
from shardkit.stream.neighbours import NeighbourReads
from shardkit.stream.plan import BatchPlan, Draw, Planner, Source
from shardkit.stream.reader import SAMPLE_FAULTS, AudioBuffers, Faults, start_reading
from shardkit.stream.targets import IntervalRows, LabelRows

MAX_ATTEMPTS = 16  # substitutes that fail in turn: then it is not the sample


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """What a batch holds.

    Attributes:
        sample_rate: Of the delivered audio, in Hz.
        channels: Of the delivered audio.
        crop_s: Seconds of each sample; None: whole samples, padded to the longest of the batch.
        mask_hop: Samples of delivered audio in one frame of the masks; None: no masks.
        mask_names: Interval names to deliver masks of; None: all.
        fields: Further fields.
        metadata: Columns.
    """

    sample_rate: int
    channels: int
    crop_s: float | None
    mask_hop: int | None
    mask_names: Sequence[str] | None
    fields: Sequence[str]
    metadata: Sequence[str]


@dataclass(slots=True)
class Pending:
    """A batch under way. ``others`` holds the fields that are not audio, by name and place in the batch."""

    plan: BatchPlan
    buffers: AudioBuffers
    executor: Executor
    audio: list[Future[Faults]]
    others: dict[str, list[Future[Any] | None]]

    def cancel(self) -> None:
        """Drop the reads that have not begun."""
        for future in self.audio:
            future.cancel()
        for listed in self.others.values():
            for item in listed:
                if item is not None:
                    item.cancel()


class Assembler:
    """Makes batches of what plans ask for.

    Args:
        sources: What the plans' draws refer to.
        options: What a batch holds.
        planner: Says what takes the place of a sample that can't be read.
        faults: Where those are noted.
        traffic: Counts requests and bytes.
    """

    def __init__(
        self, sources: Sequence[Source], options: BatchOptions, planner: Planner, faults: FaultLog, traffic: Traffic
    ) -> None:
        self.planner = planner
        self._sources = sources
        self._options = options
        self._faults = faults
        self._traffic = traffic
        self.labels = tuple(dict.fromkeys(label for source in sources for label in source.view.labels))
        self.mask_names = _mask_names(sources, options.mask_names)
        self._audio_fields, self._other_fields = check_fields(sources, options.fields)
        self._metadata = {name: _metadata_columns(sources, name) for name in options.metadata}
        self._label_rows = [LabelRows(source.catalog, self.labels) for source in sources]
        self._interval_rows = [IntervalRows(source.catalog, self.mask_names) for source in sources]

    @property
    def audio_fields(self) -> tuple[str, ...]:
        """The audio fields that are delivered."""
        return (PRIMARY, *self._audio_fields)

    def begin(self, plan: BatchPlan, executor: Executor, neighbours: NeighbourReads | None) -> Pending:
        """Allocate a batch and start to read it."""
        pending = Pending(plan, self._buffers(plan), executor, [], {})
        pending.others = {name: [None] * len(plan.draws) for name in self._other_fields}
        self._start(pending, range(len(plan.draws)), neighbours)
        return pending

    def finish(self, pending: Pending) -> Batch:
        """Wait until a batch is read and return it.

        Raises:
            AudioError, CorruptDataError, StorageError: More samples than allowed can't be read, or the storage
                fails; the message says where.
        """
        others, invalid = self._read(pending)
        plan, audio = pending.plan, pending.buffers.fields[PRIMARY]
        draws = plan.draws
        return Batch(
            audio=audio,
            lengths=pending.buffers.lengths,
            sample_rate=self._options.sample_rate,
            keys=["" if draw is None else self._sources[draw.source].catalog.key(draw.row) for draw in draws],
            sources=["" if draw is None else self._sources[draw.source].name for draw in draws],
            positions=plan.positions,
            passes=plan.passes,
            starts=np.array([0 if draw is None else draw.start for draw in draws], dtype=np.int64),
            labels=self._labels(draws),
            masks=self._masks(draws, audio.shape[-1]),
            fields={name: pending.buffers.fields[name] for name in self._audio_fields} | others,
            present={name: self._present(draws, name) for name in self._options.fields},
            metadata={
                name: [None if draw is None else columns[draw.source](draw.row) for draw in draws]
                for name, columns in self._metadata.items()
            },
            valid=np.array([draw is not None and index not in invalid for index, draw in enumerate(draws)]),
            position=plan.next_position,
        )

    def _start(self, pending: Pending, indices: Iterable[int], neighbours: NeighbourReads | None) -> None:
        """Start to read some of a batch's draws."""
        indices, plan = list(indices), pending.plan
        if neighbours is not None:
            neighbours.plan([int(plan.positions[index]) for index in indices if plan.draws[index] is not None])
        for name, listed in pending.others.items():
            for index in indices:
                draw = plan.draws[index]
                if draw is not None:
                    source = self._sources[draw.source]
                    listed[index] = pending.executor.submit(read_other_field, source, name, draw, self._traffic)
        pending.audio = start_reading(
            plan,
            indices,
            pending.buffers,
            self._sources,
            self.audio_fields,
            executor=pending.executor,
            traffic=self._traffic,
            neighbours=neighbours,
        )

    def _read(self, pending: Pending) -> tuple[dict[str, list[Any]], set[int]]:
        """Wait for a batch; return its fields that are not audio and which samples were given up."""
        plan, attempt, invalid = pending.plan, 0, set[int]()
        others: dict[str, list[Any]] = {name: [None] * len(plan.draws) for name in pending.others}
        while failed := self._wait(pending, others):
            for index, error in failed.items():
                draw = plan.draws[index]
                assert draw is not None  # noqa: S101  for the type checker: what is not drawn can't fail
                self._faults.note(error, int(plan.positions[index]), self._sources[draw.source].name)
                pending.buffers.clear(index)
            attempt += 1
            if self.planner.num_positions is not None:  # one pass: nothing may come twice
                invalid |= failed.keys()
                return others, invalid
            if attempt > MAX_ATTEMPTS:
                raise next(iter(failed.values()))
            self._substitute(pending, sorted(failed), attempt)
        return others, invalid

    def _wait(self, pending: Pending, others: dict[str, list[Any]]) -> dict[int, ShardkitError]:
        """Wait for what is being read; return what failed, by place in the batch."""
        failed: dict[int, ShardkitError] = {}
        for future in pending.audio:
            for index, error in future.result():
                failed.setdefault(index, error)
        for name, listed in pending.others.items():
            for index, item in enumerate(listed):
                if item is not None:
                    try:
                        others[name][index] = item.result()
                    except SAMPLE_FAULTS as err:
                        failed.setdefault(index, err)
                    listed[index] = None
        return dict(sorted(failed.items()))

    def _substitute(self, pending: Pending, indices: Sequence[int], attempt: int) -> None:
        """Start to read what takes the place of samples that can't be read."""
        plan = pending.plan
        failed = [draw for index in indices if (draw := plan.draws[index]) is not None]
        places = np.array(indices)
        drawn = self.planner.substitutes(plan.positions[places], plan.passes[places], failed, attempt=attempt)
        for index, draw in zip(indices, drawn, strict=True):
            plan.draws[index] = draw
            length = num_resampled(draw.stop - draw.start, self._rate(draw), self._options.sample_rate)
            if self._options.crop_s is None:
                pending.buffers.extend(length)
            pending.buffers.lengths[index] = min(length, pending.buffers.fields[PRIMARY].shape[-1])
        self._start(pending, indices, None)

    def _buffers(self, plan: BatchPlan) -> AudioBuffers:
        rate = self._options.sample_rate
        lengths = np.array(
            [
                0 if draw is None else num_resampled(draw.stop - draw.start, self._rate(draw), rate)
                for draw in plan.draws
            ],
            dtype=np.int64,
        )
        crop_s = self._options.crop_s
        longest = int(lengths.max()) if crop_s is None else round(crop_s * rate)
        shape = (len(plan.draws), self._options.channels, longest)
        return AudioBuffers(
            fields={name: np.zeros(shape, dtype=np.float32) for name in self.audio_fields},
            lengths=np.minimum(lengths, longest),
            sample_rate=rate,
        )

    def _labels(self, draws: Sequence[Draw | None]) -> NDArray[np.float32]:
        labels = np.zeros((len(draws), len(self.labels)), dtype=np.float32)
        for index, draw in enumerate(draws):
            if draw is not None:
                self._label_rows[draw.source].fill(draw.row, labels[index])
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
            columns = None if draw is None else self._sources[draw.source].catalog.fields.get(name)
            if columns is not None and draw is not None:
                present[index] = columns.present[draw.row]
        return present

    def _rate(self, draw: Draw) -> int:
        return int(self._sources[draw.source].catalog.fields[PRIMARY].sample_rate[draw.row])


def _mask_names(sources: Sequence[Source], names: Sequence[str] | None) -> tuple[str, ...]:
    known = tuple(dict.fromkeys(name for source in sources for name in source.view.manifest.interval_names))
    for name in names or ():
        if name not in known:
            raise InputError(f"mask_names: no interval is called {name!r}; there is {', '.join(known) or 'none'}")
    return known if names is None else tuple(dict.fromkeys(names))


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
