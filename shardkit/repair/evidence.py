"""What the index of a shard still says, however damaged: places and checksums of members, rows, decoder setups.

A member whose bytes have the checksum that an index gives is proven whole, even if the index itself is damaged:
no accident makes 64 bits agree.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from shardkit.core.errors import FormatError, NotFoundError, StorageError
from shardkit.format.hashing import file_hash
from shardkit.format.index import load_index, setups_of
from shardkit.storage.location import Location
from shardkit.storage.store import is_folder, read_bytes

_PLACE = ("offset", "size", "xxh3")


@dataclass(frozen=True, slots=True)
class Entry:
    """A member as an index has it: of a sample, under its name in the tar, at its place."""

    key: str
    name: str
    offset: int
    size: int
    xxh3: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What an index says.

    Attributes:
        hash: Of the file; None: there is none, or it can't be read as an index.
        note: What it says of its tar.
        schema: Its columns, without the note.
        rows: Its rows that have a key and fields.
        setups: Its decoder setups.
    """

    hash: str | None = None
    note: Mapping[str, Any] = field(default_factory=dict)
    schema: pa.Schema | None = None
    rows: tuple[dict[str, Any], ...] = ()
    setups: Mapping[int, bytes] = field(default_factory=dict)

    def entries(self, prefix: str) -> Iterator[Entry]:
        """Yield the members that it lists; ``prefix`` is what their names lack of their keys."""
        for row in self.rows:
            for facts in row["fields"].values():
                if facts is not None and None not in (facts["extension"], *(facts[name] for name in _PLACE)):
                    extension, offset, size, xxh3 = (facts[name] for name in ("extension", *_PLACE))
                    yield Entry(row["key"], f"{row['key'].removeprefix(prefix)}.{extension}", offset, size, xxh3)

    def hops_s(self) -> dict[str, float]:
        """Return the hop of each array field that has one."""
        found: dict[str, float] = {}
        for row in self.rows:
            for name, facts in row["fields"].items():
                if facts is not None and facts.get("hop_s"):
                    found.setdefault(name, facts["hop_s"])
        return found

    def duration_s(self) -> float:
        """Return the seconds of audio that its rows add up to."""
        return round(sum(row.get("duration_s") or 0.0 for row in self.rows), 6)


def read_evidence(place: Location) -> Evidence:
    """Return what an index says; of one that is missing or can't be read, nothing."""
    try:
        data = read_bytes(place)
        table, note = load_index(data, where=str(place))
        table.validate(full=True)
        rows = table.to_pylist()
    except (NotFoundError, FormatError, pa.ArrowException, UnicodeDecodeError):
        return Evidence()
    except StorageError:
        if not is_folder(place):
            raise
        return Evidence()
    try:
        setups = setups_of(note, where=str(place))
    except FormatError:
        setups = {}
    return Evidence(
        hash=file_hash(data),
        note=note if isinstance(note, dict) else {},
        schema=table.schema.remove_metadata(),
        rows=tuple(row for row in rows if row["key"] is not None and isinstance(row["fields"], dict)),
        setups=setups,
    )


def keys(evidence: Evidence) -> list[str]:
    """Return the keys of its samples, in order."""
    return [row["key"] for row in evidence.rows]
