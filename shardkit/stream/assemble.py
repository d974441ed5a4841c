"""From a plan to a batch: allocates the arrays, has them filled, adds labels, masks and the rest."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardkit.audio.resample import num_resampled
from shardkit.core.errors import InputError
from shardkit.format.index import PRIMARY
from shardkit.storage.traffic import Traffic
from shardkit.stream.batch import Batch
from shardkit.stream.fields import check_fields, read_other_field
from shardkit.stream.plan import BatchPlan, Draw, Source
from shardkit.stream.reader import AudioBuffers, start_reading
from shardkit.stream.targets import IntervalRows, LabelRows


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


@dataclass(frozen=True, slots=True)
class Pending:
    """A batch under way."""

    plan: BatchPlan
    buffers: AudioBuffers
    audio: Sequence[Future[None]]
    others: Mapping[str, Sequence[Future[Any] | None]]

    def cancel(self) -> None:
        """Drop the reads that have not begun."""
        for future in self.audio:
            future.cancel()
        for listed in self.others.values():
            for item in listed:
                if item is not None:
                    item.cancel()


class Assembler:
    """Makes batches of what plans ask for."""

    def __init__(self, sources: Sequence[Source], options: BatchOptions, traffic: Traffic) -> None:
        self._sources = sources
        self._options = options
        self._traffic = traffic
        self.labels = tuple(dict.fromkeys(label for source in sources for label in source.view.labels))
        self.mask_names = _mask_names(sources, options.mask_names)
        self._audio_fields, self._other_fields = check_fields(sources, options.fields)
        self._metadata = {name: _metadata_columns(sources, name) for name in options.metadata}
        self._label_rows = [LabelRows(source.catalog, self.labels) for source in sources]
        self._interval_rows = [IntervalRows(source.catalog, self.mask_names) for source in sources]

    def begin(self, plan: BatchPlan, executor: Executor) -> Pending:
        """Allocate a batch and start to read it."""
        buffers = self._buffers(plan)
        fields = (PRIMARY, *self._audio_fields)
        others = {
            name: [
                None
                if draw is None
                else executor.submit(read_other_field, self._sources[draw.source], name, draw, self._traffic)
                for draw in plan.draws
            ]
            for name in self._other_fields
        }
        reads = start_reading(plan, buffers, self._sources, fields, executor=executor, traffic=self._traffic)
        return Pending(plan, buffers, reads, others)

    def finish(self, pending: Pending) -> Batch:
        """Wait until a batch is read and return it.

        Raises:
            AudioError, CorruptDataError, StorageError: A sample can't be read; the message says where.
        """
        for future in pending.audio:
            future.result()
        others = {
            name: [None if item is None else item.result() for item in listed]
            for name, listed in pending.others.items()
        }
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
            valid=np.array([draw is not None for draw in draws]),
            position=plan.next_position,
        )

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
            fields={name: np.zeros(shape, dtype=np.float32) for name in (PRIMARY, *self._audio_fields)},
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
