"""A record beside each shard that is done, ``train/000003.done``, until the dataset is committed.

    train/000003.tar        published first, whole
    train/000003.parquet    then
    train/000003.done       last: what became of the shard's inputs, and by which job

So a shard with a record of its job, and with files of the sizes that the record gives, is whole: what was published
before it is on disk. Its bytes are not hashed again; that would read the whole dataset for each time that a pack is
interrupted, and 'shardkit verify' does it.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from shardkit.core.errors import FormatError, NotFoundError
from shardkit.format.manifest import ShardInfo
from shardkit.pack.draft import PlannedShard
from shardkit.pack.inputs import Unpacked
from shardkit.storage.location import Location
from shardkit.storage.parsing import read_parsed
from shardkit.storage.store import list_files, remove, size, write_bytes

SUFFIX = ".done"
_READERS = 16  # records are small, so latency is what they cost


@dataclass(slots=True, kw_only=True)
class ShardOutcome:
    """What became of a shard's inputs; ``info`` is None when none of them could be packed.

    ``left_out`` has the intervals of packed samples that lie behind the recording.
    """

    info: ShardInfo | None = None
    index_bytes: int = 0
    unpacked: list[Unpacked] = field(default_factory=list)
    extensions: dict[str, set[str]] = field(default_factory=dict)
    num_clipped: int = 0
    clipped_inputs: int = 0
    intervals_cut: int = 0
    left_out: list[Unpacked] = field(default_factory=list)

    def files(self) -> dict[str, int]:
        """Return the files of the shard with their sizes."""
        return {} if self.info is None else {self.info.path: self.info.bytes, self.info.index: self.index_bytes}


def write_record(output: Location, shard: PlannedShard, outcome: ShardOutcome) -> None:
    """Say that a shard is done; its files are there already."""
    told = {
        "job": shard.job,
        **{name: getattr(outcome, name) for name in ShardOutcome.__slots__},
        "info": None if outcome.info is None else outcome.info.model_dump(mode="json"),
        "unpacked": [asdict(line) for line in outcome.unpacked],
        "left_out": [asdict(line) for line in outcome.left_out],
        "extensions": {name: sorted(seen) for name, seen in outcome.extensions.items()},
    }
    write_bytes(output / (shard.stem + SUFFIX), json.dumps(told, ensure_ascii=False).encode())


def remove_record(output: Location, shard: PlannedShard) -> None:
    """Remove the record of a shard; there may be none."""
    remove(output / (shard.stem + SUFFIX))


def has_records(output: Location) -> bool:
    """Return whether any shard of an output is done."""
    return any(name.endswith(SUFFIX) for name, _ in list_files(output))


def done_shard(
    output: Location, shard: PlannedShard, *, sizes: Mapping[str, int] | None = None, complete: bool = False
) -> ShardOutcome | None:
    """Return what became of a shard that is done; None: it is still to be written.

    Args:
        output: The dataset.
        shard: Which one, and by which job.
        sizes: Bytes of all files of the output; None: they are asked for.
        complete: Whether a shard counts only if none of its inputs was left out.
    """
    name = shard.stem + SUFFIX
    if sizes is not None and name not in sizes:
        return None
    outcome = _read_record(output / name, shard.job)
    if outcome is None or (complete and outcome.unpacked):
        return None
    found = sizes if sizes is not None else {file: _size(output / file) for file in outcome.files()}
    return outcome if all(found.get(file) == num_bytes for file, num_bytes in outcome.files().items()) else None


def done_shards(
    output: Location, shards: Sequence[PlannedShard], *, sizes: Mapping[str, int], complete: bool = False
) -> list[ShardOutcome | None]:
    """Return ``done_shard`` of each."""
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(lambda shard: done_shard(output, shard, sizes=sizes, complete=complete), shards))


def _read_record(place: Location, job: str) -> ShardOutcome | None:
    try:
        mine, found = read_parsed(place, _parse, vouched=False)
    except (NotFoundError, FormatError):  # none, or not one that we wrote
        return None
    return found if mine == job else None


def _parse(data: bytes) -> tuple[str, ShardOutcome]:
    """Return the job of a record, and what became of it."""
    try:
        told: dict[str, Any] = json.loads(data)
        job: str = told.pop("job")
        told["info"] = None if told["info"] is None else ShardInfo.model_validate(told["info"])
        told["unpacked"] = [Unpacked(**line) for line in told["unpacked"]]
        told["left_out"] = [Unpacked(**line) for line in told["left_out"]]
        told["extensions"] = {name: set(seen) for name, seen in told["extensions"].items()}
        return job, ShardOutcome(**told)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise FormatError("not a record") from err


def _size(file: Location) -> int | None:
    try:
        return size(file)
    except NotFoundError:
        return None
