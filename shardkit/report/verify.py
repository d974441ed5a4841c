"""``shardkit verify``: whether a dataset is what its manifest says, byte for byte; ``deep``, sample for sample.

    manifest    parses, adds up
    index       is there, has the hash, is of this tar; its rows agree with the manifest and with themselves
    tar         is there, has the size and the hash; lists just the members that the index lists, where it says
    member      has its hash; deep: decodes to what the index says, and crops of it are slices of it
    dataset     no key twice
    folder      what lies beside it and is none of it: notes, no problems

Damage is reported and never stops the rest; each tar is read once, from front to back, a chunk or a member at a time.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from threading import Lock
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shardkit.core.errors import FormatError, InputError, NotFoundError, ShardkitError, StorageError
from shardkit.format.manifest import MANIFEST_NAME, Manifest, ShardInfo
from shardkit.pack.commit import REPORT_NAME
from shardkit.pack.engine import Progress, Report, run_jobs, share_out
from shardkit.report.problems import REMANIFEST, REPAIR_LOG, Problem, Verification
from shardkit.report.rowcheck import manifest_problems
from shardkit.report.shardcheck import ShardCheck, ShardCheckOptions, check_shard
from shardkit.report.strays import missing_manifest, notes
from shardkit.storage.location import Location
from shardkit.storage.store import is_folder, read_bytes
from shardkit.stream.catalog import read_manifest

__all__ = ["Problem", "Verification", "verify"]

BytesDone: TypeAlias = Callable[[int, int], None]

_MAX_READERS = 4  # shards at once: enough for the bandwidth of one machine


def verify(
    dataset: Location,
    *,
    deep: bool = False,
    workers: int | None = None,
    progress: BytesDone = lambda _done, _total: None,
) -> Verification:
    """Check a dataset and return everything that is wrong with it.

    Args:
        dataset: Its folder.
        deep: Decode every recording too, twice: once to measure it, once to compare crops with.
        workers: Processes for a dataset that is large enough to be worth them, else threads; None: as many as there
            are processors. The result does not depend on it.
        progress: Called with (bytes of tars read, bytes of all tars), from one thread at a time.

    Returns:
        The problems, in the order of the shards, and how much was checked.

    Raises:
        InputError: There is no dataset.
        AccessError, StorageError: The storage can't be read. A file that is missing is a problem, not an error.
    """
    try:
        manifest = read_manifest(dataset)
    except (FormatError, StorageError, InputError) as err:
        problem = _without_manifest(dataset, err)
        return Verification(
            location=str(dataset), deep=deep, problems=(problem,), shards=0, samples=0, members=0, bytes=0
        )
    checks = check_shards(dataset, manifest, deep=deep, workers=workers, progress=progress)
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
        notes=tuple(notes(dataset, manifest)),
    )


def check_shards(
    dataset: Location,
    manifest: Manifest,
    *,
    deep: bool,
    workers: int | None = None,
    progress: BytesDone = lambda _done, _total: None,
    stored: bool = True,
) -> list[ShardCheck]:
    """Return what is wrong with each shard, in their order, whatever the number of workers.

    Args:
        dataset: The folder.
        manifest: Its manifest.
        deep: Decode every recording too.
        workers: See ``verify``.
        progress: Likewise.
        stored: Whether the manifest is the one in the folder; another one can't be read by other processes.
    """
    total = sum(shard.bytes for shard in manifest.shards)
    counter = _Counter(total, progress)
    processes, _ = share_out(len(manifest.shards), total, workers or os.cpu_count() or 1)
    if processes > 1 and stored:
        # The manifest is not sent along: each process reads it once, where a job for each shard would carry it.
        jobs = [_Job(dataset, shard, deep) for shard in manifest.shards]
        return run_jobs(_check_elsewhere, jobs, workers=processes, report=lambda step: counter.add(step.num_bytes))
    options = _options(dataset, manifest, deep=deep, progress=counter.add)
    with ThreadPoolExecutor(min(_MAX_READERS, workers or os.cpu_count() or 1)) as pool:
        return list(pool.map(partial(check_shard, options=options), manifest.shards))


@dataclass(frozen=True, slots=True)
class _Job:
    """A shard to check in another process."""

    dataset: Location
    shard: ShardInfo
    deep: bool


def _check_elsewhere(job: _Job, report: Report) -> ShardCheck:
    options = _options_elsewhere(job.dataset, job.deep)
    return check_shard(
        job.shard, replace(options, progress=lambda num_bytes: report(Progress(0.0, num_bytes, num_inputs=0)))
    )


@lru_cache(maxsize=1)
def _options_elsewhere(dataset: Location, deep: bool) -> ShardCheckOptions:
    return _options(dataset, read_manifest(dataset), deep=deep, progress=lambda _bytes: None)


def _options(
    dataset: Location, manifest: Manifest, *, deep: bool, progress: Callable[[int], None]
) -> ShardCheckOptions:
    return ShardCheckOptions(
        dataset=dataset, manifest=manifest, deep=deep, unindexed=_unindexed(dataset, manifest), progress=progress
    )


def _without_manifest(dataset: Location, err: ShardkitError) -> Problem:
    """Return the problem of a dataset whose manifest can't be read.

    Raises:
        InputError: There is no dataset.
        StorageError: The storage can't be read.
    """
    if isinstance(err, InputError):
        missing = missing_manifest(dataset)
        if missing is None:
            raise err
        return missing
    if isinstance(err, StorageError) and not is_folder(dataset / MANIFEST_NAME):
        raise err
    return Problem(kind="manifest-unreadable", shard=None, what=str(err), advice=REMANIFEST)


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
                what = f"the key is in {first[key]} already"
                yield Problem(kind="duplicate-key", shard=shard.path, key=key, what=what, advice=advice)
            first.setdefault(key, shard.path)


def _unindexed(dataset: Location, manifest: Manifest) -> frozenset[str]:
    """Return the samples that adopting the tars left out and listed; none for a dataset that was packed."""
    if not manifest.options.get("adopted"):
        return frozenset()
    found: set[str] = set()
    for name in (REPORT_NAME, REPAIR_LOG):
        try:
            lines = read_bytes(dataset / name).decode(errors="replace").splitlines()
            found |= {str(json.loads(line).get("path")) for line in lines if line}
        except (NotFoundError, ValueError, AttributeError, RecursionError):
            continue  # then they are reported as members that the index doesn't know
    return frozenset(found)
