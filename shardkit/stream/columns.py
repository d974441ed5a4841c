"""The columns of an index as the rows of a view see them: of an event, the label is its name."""

from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from shardkit.core.spans import Spans
from shardkit.format.index import PRIMARY
from shardkit.stream.catalog import Catalog, one_chunk

_Ints = NDArray[np.int64]
# Of events; where a dataset has columns of its own with these names, rows that are events hide them.
EVENT_COLUMNS = ("event", "event_start_s", "event_duration_s")


class Columns(Protocol):
    """Columns of one length, by name: an Arrow table is one."""

    @property
    def column_names(self) -> list[str]:
        """The names."""

    def column(self, name: str) -> Any:
        """Return one column, a chunked array."""

    def __len__(self) -> int: ...


class RowColumns:
    """The columns of some rows, taken when they are asked for.

    Args:
        catalog: The dataset.
        rows: Rows of the catalog, (row,).
        spans: The events that they are; None: whole recordings. ``labels`` is then the one name of each, and there are
            the further columns ``EVENT_COLUMNS``.
    """

    def __init__(self, catalog: Catalog, rows: _Ints, spans: Spans | None) -> None:
        self._catalog, self._rows, self._spans = catalog, rows, spans

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def column_names(self) -> list[str]:
        """The names: the index's, and those of events."""
        names = list(self._catalog.table.column_names)
        return names if self._spans is None else list(dict.fromkeys([*names, *EVENT_COLUMNS]))

    def column(self, name: str) -> Any:
        """Return the values of one column, (row,)."""
        if self._spans is not None and name in (*EVENT_COLUMNS, "labels"):
            return pa.chunked_array([self._of_events(name, self._spans)])
        return self._catalog.table.column(name).take(pa.array(self._rows))

    def _of_events(self, name: str, spans: Spans) -> pa.Array:
        if name in ("event", "labels"):
            found = event_names(self._catalog).take(pa.array(spans.numbers))
            ends = np.arange(len(spans.numbers) + 1, dtype=np.int32)
            return found if name == "event" else pa.ListArray.from_arrays(pa.array(ends), found)
        samples = spans.starts if name == "event_start_s" else spans.lengths
        return pa.array(samples / self._catalog.fields[PRIMARY].sample_rate[self._rows])


def event_names(catalog: Catalog) -> pa.Array:
    """Return the name of each interval of a catalog, (interval,), as ``Spans.numbers`` counts them."""
    return one_chunk(catalog.table.column("intervals")).flatten().field("name")
