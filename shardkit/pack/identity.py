"""What decides the bytes of a dataset, as hashes: equal hashes, equal shards, whoever writes them and when.

    inputs, options, revisions ──► a hash for each shard ──► the hash of the plan
                                   (its job)                 (of all jobs, and what the manifest says besides)

A run that was killed, the parts of a Slurm array and two machines that were given one command know by these hashes
that they do the same work. The number of workers is not in them, nor what is to happen to inputs that fail.
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from types import FunctionType
from typing import Any

import numpy as np
import pyarrow as pa
import soundfile
import soxr

from shardkit import __version__
from shardkit.format.hashing import FileHash
from shardkit.format.manifest import FORMAT_VERSION
from shardkit.pack.inputs import PackInput
from shardkit.pack.members import Derived, Member, file_of
from shardkit.pack.plan import ShardPlan
from shardkit.storage.location import Location

REVISION = 1  # raised with any change of the bytes that are packed from the same inputs by the same options


def made_with() -> dict[str, str]:
    """Return the versions of what writes the bytes: another FLAC encoder or Parquet writer writes others."""
    return {
        "shardkit": f"{__version__}, format {FORMAT_VERSION}, revision {REVISION}",
        "libsndfile": soundfile.__libsndfile_version__,
        "soxr": soxr.__version__,
        "pyarrow": pa.__version__,
        "numpy": np.__version__,
    }


def hash_of(parts: Iterable[object]) -> str:
    """Return the hash of plain values, by how they are written."""
    running = FileHash()
    for part in parts:
        running.update(repr(part).encode(errors="surrogatepass"))
        running.update(b"\0")
    return running.text()


def job_hash(plan: ShardPlan, *, common: str) -> str:
    """Return the hash of what one shard is made of.

    Args:
        plan: The shard.
        common: Hash of what all shards of the dataset share: options, schema, versions.
    """
    return hash_of([common, plan.stem, *map(_told, plan.inputs)])


def common_hash(*, options: Mapping[str, object], hops_s: Mapping[str, float], schema: pa.Schema) -> str:
    """Return the hash of what all shards of a dataset share."""
    return hash_of([sorted(options.items()), sorted(hops_s.items()), str(schema), sorted(made_with().items())])


def inputs_hash(inputs: Sequence[PackInput]) -> str:
    """Return the hash of which inputs there are, without what is in their files."""
    return hash_of((item.key, str(item.location), item.size) for item in inputs)


def _told(item: PackInput) -> tuple[Any, ...]:
    """Return all that is known of an input, as values that are written alike in every process."""
    files = [item.location, *map(file_of, item.members.values())]
    return (
        item.key,
        str(item.location),
        item.path,
        item.size,
        item.where,
        item.labels,
        item.intervals,
        list(item.metadata.items()),
        [(name, _member(member)) for name, member in item.members.items()],
        item.split,
        item.cut_intervals,
        item.duration_s,
        [_modified(file) for file in files],
    )


def _member(member: Member) -> tuple[str, ...]:
    if not isinstance(member, Derived):
        return (str(member),)
    recipe: object = member.recipe
    if dataclasses.is_dataclass(recipe):
        return str(member.location), repr(recipe)
    kind = recipe if isinstance(recipe, type | FunctionType) else type(recipe)
    return str(member.location), f"{kind.__module__}.{kind.__qualname__}", repr(getattr(recipe, "__dict__", None))


def _modified(file: Location) -> int | None:
    """Return when a file was last written, in ns; None where its storage is not asked: there its size must do."""
    if not file.is_local:
        return None
    try:
        return os.stat(file.path).st_mtime_ns  # noqa: PTH116  (a million times)
    except OSError:
        return None  # it is missed, with an error, when it is packed
