"""``shardkit labels``: how often each label comes, as a label, as events, and with what is below it in an ontology."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from shardkit.core.checks import is_number
from shardkit.core.errors import InputError
from shardkit.core.ontology import Ontology
from shardkit.format.index import PRIMARY
from shardkit.stream.catalog import Catalog, one_chunk
from shardkit.stream.classes import OntologyLike, read_ontology
from shardkit.stream.columns import event_names
from shardkit.stream.events import events_of
from shardkit.stream.view import View

Counted: TypeAlias = Literal["recordings", "events"]
COUNTED = ("recordings", "events")
FORMATS = (".csv", ".parquet")

_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelStatistics:
    """How often labels come.

    Attributes:
        recordings: How many there are.
        events: How many they have.
        counted: What ``share`` and ``probability`` are of: ``recordings`` or ``events``.
        power: Of the frequency, for the probability.
        table: One row for each label and each name of events, the most frequent first. ``number`` is a label's place in
            the vocabulary; ``recordings`` have it, ``event_recordings`` have such an event; ``events`` last ``event_s``
            seconds together; ``share`` is that of its recordings, or events, among all; ``probability`` is that of
            drawing it. With an ontology also: how many classes are above (``ancestors``) and below it
            (``descendants``), and the recordings and events that it has together with those below it, each counted
            once (``recordings_below``, ``events_below``); null for labels that the ontology does not know.
    """

    recordings: int
    events: int
    counted: Counted
    power: float
    table: pa.Table


class _Pairs:
    """Which recordings have which labels: pairs, a label once for a recording or once for each of its events."""

    def __init__(self, labels: pa.Array, recordings: _Ints, names: Sequence[str]) -> None:
        place = pc.index_in(labels, value_set=pa.array(names, type=pa.string()))
        self.labels = np.asarray(place, dtype=np.int64)
        order = np.argsort(self.labels, kind="stable")
        self._recordings = recordings[order]
        self._ends = np.searchsorted(self.labels[order], np.arange(len(names) + 1))

    def count(self, labels: Sequence[int]) -> int:
        """Return how many pairs some labels have."""
        return sum(int(self._ends[label + 1] - self._ends[label]) for label in labels)

    def recordings(self, labels: Sequence[int]) -> int:
        """Return how many recordings have any of some labels."""
        parts = [self._recordings[self._ends[label] : self._ends[label + 1]] for label in labels]
        return len(np.unique(np.concatenate(parts))) if parts else 0


def label_statistics(
    view: View, *, power: float = 0.5, counted: Counted | None = None, ontology: OntologyLike | None = None
) -> LabelStatistics:
    """Return what there is to count of each label of a view's recordings.

    Args:
        view: A dataset, or some of its recordings.
        power: Of the frequency with which labels would be drawn; 0.5 is its square root.
        counted: What frequency is: how many ``recordings`` have a label, or how many ``events`` are called so. None:
            recordings, unless they have no labels.
        ontology: In place of the dataset's own: an ``Ontology``, or the place of an ``ontology.json``.

    Raises:
        InputError: The power is no number of at least 0, ``counted`` is unknown, or the ontology is none.
    """
    if not is_number(power) or power < 0:
        raise InputError(f"power {power!r} is not a number of at least 0; 0.5 is the square root of the frequency")
    if counted not in (None, *COUNTED):
        raise InputError(f"counted {counted!r} is unknown; choose {' or '.join(COUNTED)}")
    catalog, rows = view.catalog, np.unique(view.rows)
    tree = catalog.ontology if ontology is None else read_ontology(ontology)
    names = list(dict.fromkeys([*catalog.manifest.labels, *catalog.manifest.interval_names]))
    labels = _labels_of(catalog, rows, names)
    events, seconds = _events_of(catalog, rows, names)
    own = [[label] for label in range(len(names))]
    columns: dict[str, Any] = {
        "label": names,
        "number": [number if number < len(catalog.manifest.labels) else None for number in range(len(names))],
        "recordings": [labels.recordings(label) for label in own],
        "event_recordings": [events.recordings(label) for label in own],
        "events": [events.count(label) for label in own],
        "event_s": seconds,
    }
    counted = counted or ("recordings" if len(labels.labels) or not len(events.labels) else "events")
    frequency = np.array(columns[counted], dtype=np.float64)
    total = len(rows) if counted == "recordings" else len(events.labels)
    columns["share"] = (frequency / max(total, 1)).tolist()
    columns["probability"] = _probabilities(frequency, float(power)).tolist()
    if tree is not None:
        columns |= _by_ontology(tree, names, labels, events)
    order = sorted(range(len(names)), key=lambda label: (-frequency[label], names[label]))
    table = pa.table(columns, schema=_schema(tree is not None)).take(pa.array(order, pa.int64()))
    return LabelStatistics(
        recordings=len(rows), events=len(events.labels), counted=counted, power=float(power), table=table
    )


def _labels_of(catalog: Catalog, rows: _Ints, names: Sequence[str]) -> _Pairs:
    lists = one_chunk(catalog.table.column("labels").take(pa.array(rows)))
    return _Pairs(pc.list_flatten(lists), pc.list_parent_indices(lists).to_numpy().astype(np.int64), names)


def _events_of(catalog: Catalog, rows: _Ints, names: Sequence[str]) -> tuple[_Pairs, list[float]]:
    """Return the events of some recordings, and how many seconds those of each name last."""
    if PRIMARY not in catalog.fields:
        return _Pairs(pa.array([], pa.string()), rows[:0], names), [0.0] * len(names)
    found, spans = events_of(catalog, rows, None, "any")
    events = _Pairs(event_names(catalog).take(pa.array(spans.numbers)), found, names)
    rates = np.maximum(catalog.fields[PRIMARY].sample_rate[found], 1)
    seconds = np.bincount(events.labels, weights=spans.lengths / rates, minlength=len(names))
    return events, np.round(seconds, 6).tolist()


def _probabilities(frequency: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """Return the probability of each label, in proportion to a power of its frequency; what is not there has none."""
    odds = np.where(frequency > 0, np.maximum(frequency, 1.0) ** power, 0.0)
    return np.asarray(odds / max(odds.sum(), 1.0))


def _by_ontology(tree: Ontology, names: Sequence[str], labels: _Pairs, events: _Pairs) -> dict[str, list[int | None]]:
    """Return what an ontology adds; None for labels that it does not know."""
    place = {name: number for number, name in enumerate(names)}
    found: dict[str, list[int | None]] = {
        name: [] for name in ("ancestors", "descendants", "recordings_below", "events_below")
    }
    for name in names:
        values: tuple[int | None, ...] = (None,) * 4
        if name in tree:
            below, above = tree.descendants(name), tree.ancestors(name)
            of = sorted({place[word] for each in below for word in (each, tree.names[each]) if word in place})
            values = (len(above) - 1, len(below) - 1, labels.recordings(of), events.count(of))
        for column, value in zip(found.values(), values, strict=True):
            column.append(value)
    return found


def _schema(with_ontology: bool) -> pa.Schema:
    integers = ["number", "recordings", "event_recordings", "events"]
    floats = ["event_s", "share", "probability"]
    fields = [("label", pa.string()), *((name, pa.int64()) for name in integers)]
    fields += [(name, pa.float64()) for name in floats]
    if with_ontology:
        fields += [(name, pa.int64()) for name in ("ancestors", "descendants", "recordings_below", "events_below")]
    return pa.schema(fields)


def dump_statistics(table: pa.Table, name: str) -> bytes:
    """Return the bytes of a file of statistics, in the format that its name says.

    Raises:
        InputError: The name ends otherwise than with .csv or .parquet.
    """
    check_format(name)
    sink = io.BytesIO()
    if name.lower().endswith(".csv"):
        pyarrow.csv.write_csv(table, sink)
    else:
        pq.write_table(table, sink)
    return sink.getvalue()


def check_format(name: str) -> None:
    """Raise unless statistics can be written to a file of this name."""
    if not name.lower().endswith(FORMATS):
        raise InputError(f"{name}: statistics are written as {' or '.join(FORMATS)}; end the name with one of them")
