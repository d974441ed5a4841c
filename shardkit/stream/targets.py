"""Labels and intervals of a catalog as flat arrays, so that a batch's targets are filled without Arrow objects."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shardkit.core.errors import FormatError, InputError
from shardkit.stream.catalog import Catalog, one_chunk
from shardkit.stream.columns import event_names

LabelNames: TypeAlias = Literal["merged", "by_source"]


def class_of(source: str, label: str) -> str:
    """Return the class that a label of a source is, where each source has classes of its own."""
    return f"{source}/{label}"


def label_rows(
    catalogs: Mapping[str, Catalog], vocabularies: Sequence[Sequence[str]], names: LabelNames
) -> tuple[tuple[str, ...], list["LabelRows"]]:
    """Return the classes of a stream, and the class numbers of the labels of each source.

    Args:
        catalogs: The sources, by name.
        vocabularies: Labels of each.
        names: Whether labels of one name in several sources are one class, or classes ``by_source``.

    Raises:
        InputError: Two labels of two sources would have one name.
    """
    if names == "merged":
        merged = tuple(dict.fromkeys(label for labels in vocabularies for label in labels))
        return merged, [LabelRows(catalog, merged) for catalog in catalogs.values()]
    classes: dict[str, str] = {}
    rows = []
    for (source, catalog), labels in zip(catalogs.items(), vocabularies, strict=True):
        rows.append(LabelRows(catalog, labels, first=len(classes)))
        for label in labels:
            name = class_of(source, label)
            if classes.setdefault(name, source) != source:
                raise InputError(
                    f"labels='by_source': sources {classes[name]!r} and {source!r} would both have a class {name!r}; "
                    "rename a source"
                )
    return tuple(classes), rows


class LabelRows:
    """The class numbers of each row's labels, and of each event's name: places in ``labels``, from ``first`` on."""

    def __init__(self, catalog: Catalog, labels: Sequence[str], *, first: int = 0) -> None:
        column = one_chunk(catalog.table.column("labels"))
        self._offsets = _offsets(column)
        numbers = _numbers(pc.list_flatten(column), labels)
        if (numbers < 0).any():
            raise FormatError(
                f"{catalog.location}: a label in the index is not in the manifest's vocabulary; run verify"
            )
        self._classes = numbers + first

        # Events of names that no view has as a label are never drawn.
        self._of_events = _numbers(event_names(catalog), labels) + first

    def fill(self, row: int, event: int, target: NDArray[np.float32]) -> None:
        """Set the classes of a row in ``target``, (class,): that of an event alone, where it is one (not -1)."""
        if event < 0:
            target[self._classes[self._offsets[row] : self._offsets[row + 1]]] = 1.0
        else:
            target[self._of_events[event]] = 1.0


class IntervalRows:
    """The intervals of each row, in samples at the stored rate."""

    def __init__(self, catalog: Catalog, names: Sequence[str]) -> None:
        column = one_chunk(catalog.table.column("intervals"))
        self._offsets = _offsets(column)
        flat = pc.list_flatten(column)
        self._names = _numbers(flat.field("name"), names)
        self._starts = np.asarray(flat.field("start"), dtype=np.int64)
        self._stops = np.asarray(flat.field("stop"), dtype=np.int64)

    def bounds(self, row: int) -> NDArray[np.int64]:
        """Return the bounds of a row's intervals, half-open, (interval, 2)."""
        mine = slice(self._offsets[row], self._offsets[row + 1])
        named = self._names[mine] >= 0
        return np.stack([self._starts[mine][named], self._stops[mine][named]], axis=1)

    def of_rows(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the bounds of the intervals of many rows, (interval, 2), and which of these rows each is of."""
        bounds, number, _ = self.numbered(rows)
        return bounds, number

    def numbered(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return what ``of_rows`` does, and the number of each interval among those of all rows, (interval,)."""
        counts = self._offsets[rows + 1] - self._offsets[rows]
        number = np.repeat(np.arange(len(rows)), counts)
        mine = np.repeat(self._offsets[rows] - (np.cumsum(counts) - counts), counts) + np.arange(len(number))
        named = self._names[mine] >= 0
        mine = mine[named]
        return np.stack([self._starts[mine], self._stops[mine]], axis=1), number[named], mine

    def fill(self, row: int, start: int, stop: int, *, hop: tuple[int, int], target: NDArray[np.float32]) -> None:
        """Mark the frames of the crop [start, stop) that overlap an interval.

        Args:
            row: The sample.
            start: First sample of the crop, at the stored rate.
            stop: End of the crop.
            hop: Numerator and denominator of the stored-rate samples in one frame.
            target: (name, frame), zeros.
        """
        num, den = hop
        for i in range(self._offsets[row], self._offsets[row + 1]):
            if self._names[i] < 0:
                continue  # an interval that no mask was asked for
            first, last = max(self._starts[i], start) - start, min(self._stops[i], stop) - start
            if first < last:
                target[self._names[i], first * den // num : -(-last * den // num)] = 1.0


def _offsets(column: pa.ListArray) -> NDArray[np.int64]:
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def _numbers(names: pa.Array, vocabulary: Sequence[str]) -> NDArray[np.int64]:
    """Return the place of each name in the vocabulary, -1 for those that are not in it."""
    found = pc.fill_null(pc.index_in(names, value_set=pa.array(list(vocabulary), type=pa.string())), -1)
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)
