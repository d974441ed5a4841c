"""``shardkit verify``: whether a dataset is what its manifest says, byte for byte; ``deep``, sample for sample.

    manifest    parses, adds up
    index       is there, has the hash, is of this tar; its rows agree with the manifest and with themselves
    tar         is there, has the size and the hash; lists just the members that the index lists, where it says
    member      has its hash; deep: decodes to what the index says, and crops of it are slices of it
    dataset     no key twice

Damage is reported and never stops the rest; each tar is read once, from front to back.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardkit.core.errors import FormatError, NotFoundError, StorageError
from shardkit.format.manifest import MANIFEST_NAME, Manifest
from shardkit.pack.commit import REPORT_NAME
from shardkit.report.problems import REMANIFEST, Problem, Verification
from shardkit.report.rowcheck import manifest_problems
from shardkit.report.shardcheck import ShardCheck, ShardCheckOptions, check_shard
from shardkit.storage.location import Location
from shardkit.storage.store import is_folder, read_bytes
from shardkit.stream.catalog import read_manifest

__all__ = ["Problem", "Verification", "verify"]

_MAX_READERS = 4  # shards at once: enough for the bandwidth of one machine


def verify(
    dataset: Location, *, deep: bool = False, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> Verification:
    """Check a dataset and return everything that is wrong with it.

    Args:
        dataset: Its folder.
        deep: Decode every recording too, twice: once to measure it, once to compare crops with.
        progress: Called with (bytes of tars read, bytes of all tars), from one thread at a time.

    Returns:
        The problems, in the order of the shards, and how much was checked.

    Raises:
        InputError: There is no dataset.
        AccessError, StorageError: The storage can't be read. A file that is missing is a problem, not an error.
    """
    try:
        manifest = read_manifest(dataset)
    except (FormatError, StorageError) as err:
        if isinstance(err, StorageError) and not is_folder(dataset / MANIFEST_NAME):
            raise
        problem = Problem(shard=None, what=str(err), advice=REMANIFEST)
        return Verification(
            location=str(dataset), deep=deep, problems=(problem,), shards=0, samples=0, members=0, bytes=0
        )
    options = ShardCheckOptions(
        dataset=dataset,
        manifest=manifest,
        deep=deep,
        unindexed=_unindexed(dataset, manifest),
        progress=_Counter(sum(shard.bytes for shard in manifest.shards), progress).add,
    )
    with ThreadPoolExecutor(min(_MAX_READERS, os.cpu_count() or 1)) as pool:
        checks = list(pool.map(partial(check_shard, options=options), manifest.shards))
    problems = [
        *manifest_problems(manifest),
        *(problem for check in checks for problem in check.problems),
        *_duplicate_keys(manifest, checks),
    ]
    return Verification(
        location=str(dataset),
        deep=deep,
        problems=tuple(problems),
        shards=len(checks),
        samples=sum(len(check.keys) for check in checks),
        members=sum(check.members for check in checks),
        bytes=sum(check.bytes for check in checks),
    )


class _Counter:
    """Adds up what several threads report."""

    def __init__(self, total: int, progress: Callable[[int, int], None]) -> None:
        self._total = total
        self._progress = progress
        self._done = 0
        self._lock = Lock()

    def add(self, num_bytes: int) -> None:
        with self._lock:
            self._done += num_bytes
            self._progress(self._done, self._total)


def _duplicate_keys(manifest: Manifest, checks: Sequence[ShardCheck]) -> Iterator[Problem]:
    """Yield a problem for each row whose key an earlier row has."""
    if not checks:
        return
    keys = pa.chunked_array([check.keys for check in checks], type=pa.string())
    counted = pc.value_counts(keys)
    twice = counted.filter(pc.greater(counted.field("counts"), 1)).field("values")
    first: dict[str, str] = {}
    for check, shard in zip(checks, manifest.shards, strict=True):
        rows = np.flatnonzero(pc.is_in(check.keys, value_set=twice).to_numpy(zero_copy_only=False))
        for row in rows.tolist():
            key = check.keys[row].as_py()
            if key in first:
                advice = "pack again with unique keys, or 'shardkit index --prefix-keys' for adopted tars"
                yield Problem(shard=shard.path, key=key, what=f"the key is in {first[key]} already", advice=advice)
            first.setdefault(key, shard.path)


def _unindexed(dataset: Location, manifest: Manifest) -> frozenset[str]:
    """Return the samples that adopting the tars left out and listed; none for a dataset that was packed."""
    if not manifest.options.get("adopted"):
        return frozenset()
    try:
        lines = read_bytes(dataset / REPORT_NAME).decode(errors="replace").splitlines()
        return frozenset(str(json.loads(line).get("path")) for line in lines if line)
    except (NotFoundError, ValueError, AttributeError, RecursionError):
        return frozenset()  # then they are reported as members that the index doesn't know
