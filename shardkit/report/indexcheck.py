"""Checks of a shard's index as a file: it is there, has its hash, is of this tar, and has the columns it should."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from shardkit.core.errors import FormatError, NotFoundError, StorageError
from shardkit.format.hashing import file_hash
from shardkit.format.index import load_index, setups_of
from shardkit.format.manifest import Manifest, ShardInfo
from shardkit.report.problems import REINDEX, Kind, Problem
from shardkit.report.rowcheck import duration_problems, row_problems, schema_problems
from shardkit.storage.location import Location
from shardkit.storage.store import is_folder, read_bytes


@dataclass(slots=True)
class IndexCheck:
    """What checking an index found; ``rows`` is None where it can't be used to check the tar."""

    problems: list[Problem] = field(default_factory=list)
    rows: list[dict[str, Any]] | None = None
    keys: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))


def check_index(shard: ShardInfo, dataset: Location, manifest: Manifest) -> IndexCheck:
    """Return what is wrong with an index, and its rows."""
    found = IndexCheck()

    def add(kind: Kind, what: str) -> IndexCheck:
        found.problems.append(Problem(kind=kind, shard=shard.path, what=what, advice=REINDEX))
        return found

    try:
        data = read_bytes(dataset / shard.index)
    except NotFoundError:
        return add("index-missing", f"there is no index {shard.index}")
    except StorageError:
        if not is_folder(dataset / shard.index):
            raise
        return add("index-missing", f"index {shard.index} is a folder, not a file")
    if file_hash(data) != shard.index_hash:
        twins = [other.index for other in manifest.shards if other.index_hash == file_hash(data)]
        if twins:
            return add("index-hash", f"index {shard.index} holds the bytes of {twins[0]}")
        add("index-hash", f"index {shard.index} has the hash {file_hash(data)}, the manifest says {shard.index_hash}")
    try:
        table, note = load_index(data, where=shard.index)
        setups = setups_of(note, where=shard.index)
        table.validate(full=True)  # text that is not UTF-8, lists that reach beyond their values
    except (FormatError, pa.ArrowInvalid) as err:
        return add("index-unreadable", f"index {str(err).partition('; ')[0]}")
    for name, said in (("bytes", shard.bytes), ("hash", shard.hash)):
        if note.get(name) != said:
            add(
                "index-of-another-tar",
                f"index {shard.index} is of a tar whose {name} is {note.get(name)}, the manifest says {said}",
            )
    schema = list(schema_problems(table, manifest, shard))
    found.problems += schema
    if not schema:
        rows: list[dict[str, Any]] = table.to_pylist()
        found.problems += duration_problems(rows, shard)
        for row in rows:
            found.problems += row_problems(row, manifest, shard, setups=setups)
        found.rows = [row for row in rows if row["key"] is not None]
        found.keys = table.column("key").combine_chunks()
    return found
