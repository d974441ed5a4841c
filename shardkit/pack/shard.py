"""The work of one process: write one shard and its index."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import pyarrow as pa

from shardkit.audio.options import TranscodeOptions
from shardkit.audio.steps import run_together
from shardkit.core.errors import (
    AudioError,
    FormatError,
    InputError,
    NotFoundError,
    ShardkitError,
)
from shardkit.format.hashing import FileHash, file_hash
from shardkit.format.index import IndexRow, dump_index
from shardkit.format.manifest import ShardInfo
from shardkit.format.tar import TarWriter
from shardkit.pack.ahead import in_order
from shardkit.pack.draft import PlannedShard
from shardkit.pack.engine import Progress, Report
from shardkit.pack.inputs import PackInput, Unpacked
from shardkit.pack.mark import check_mark
from shardkit.pack.options import OnError
from shardkit.pack.partial import partial_folder
from shardkit.pack.plan import ShardPlan
from shardkit.pack.records import ShardOutcome, done_shard, remove_record, write_record
from shardkit.pack.sample import Prepared, prepare, write_sample
from shardkit.storage.location import Location
from shardkit.storage.store import publish, write_bytes

WRITE_BYTES = 1 << 18  # short files are gathered up to this


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardJob:
    """All that a process needs to write one shard.

    ``packing`` is the hash of the plan that the output is marked by, and ``shard`` what that plan says of this one.
    Without them nothing is noted of the shard, and nothing looked up.
    """

    plan: ShardPlan
    output: Location
    transcode: TranscodeOptions
    schema: pa.Schema
    hops_s: Mapping[str, float]
    on_error: OnError
    threads: int = 1
    packing: str | None = None
    shard: PlannedShard | None = None


class HashedFile:
    """A file that keeps the hash of what is written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hash = FileHash()

    def write(self, data: bytes) -> None:
        """Append ``data``."""
        self._file.write(data)
        self.hash.update(data)


def write_shard(job: ShardJob, report: Report) -> ShardOutcome:
    """Write the tar and the index of a shard; each appears under its name only when whole.

    A shard that another process has finished meanwhile is left as it is; one that is finished here gets a record.

    Args:
        job: What to write and where.
        report: Called once for each input, packed or not.

    Raises:
        ShardkitError: An input can't be packed and ``on_error`` is ``fail``, or the output can't be written.
        InputError: The output is not being packed by this plan any more.
    """
    if job.packing is None or job.shard is None:
        return _write_shard(job, report)
    outcome = done_shard(job.output, job.shard, complete=job.on_error == "fail")
    if outcome is not None:
        report(done_progress(job.shard, outcome))
        return outcome
    outcome = _write_shard(job, report)
    write_record(job.output, job.shard, outcome)
    try:
        check_mark(job.output, job.packing)
    except InputError:  # whoever committed may have looked for records before there was this one
        remove_record(job.output, job.shard)
        raise
    return outcome


def done_progress(shard: PlannedShard, outcome: ShardOutcome) -> Progress:
    """Return the progress that a shard is which was done before: no bytes, since none were packed."""
    return Progress(outcome.info.duration_s if outcome.info else 0.0, 0, shard.inputs)


def _write_shard(job: ShardJob, report: Report) -> ShardOutcome:
    outcome = ShardOutcome()
    rows: list[IndexRow] = []
    duration_s = 0.0
    with partial_folder(job.output) as folder:
        path = folder / "shard.tar"
        inputs = in_order(job.plan.inputs, partial(_prepare, job=job), threads=job.threads)
        with path.open("wb", WRITE_BYTES) as file, closing(inputs):
            sink = HashedFile(file)
            tar = TarWriter(sink)
            for item, prepared in inputs:
                if isinstance(prepared, ShardkitError):
                    outcome.unpacked.append(_unpacked(item, prepared, job.on_error))
                    report(Progress(0.0, item.size))
                    continue
                row = write_sample(item, prepared, tar, hops_s=job.hops_s)
                rows.append(row)
                duration_s += prepared.duration_s
                _note_sample(outcome, item, row, prepared)
                report(Progress(prepared.duration_s, item.size))
            tar.close()
        if job.packing is not None:
            check_mark(job.output, job.packing)
        if rows:
            publish(path, job.output / f"{job.plan.stem}.tar")
            _write_index(job, outcome, rows, tar.position, sink.hash.text(), duration_s)
    return outcome


def _prepare(run: Sequence[PackInput], job: ShardJob) -> list[Prepared | ShardkitError]:
    return run_together([prepare(item, job.transcode, hops_s=job.hops_s) for item in run])


def _unpacked(item: PackInput, err: ShardkitError, on_error: OnError) -> Unpacked:
    """Return the line of the report for an input that failed, if failing is its own fault and it may be left out."""
    # Other storage errors are not the recording's fault: leaving it out would lose it for a passing outage.
    if not isinstance(err, AudioError | FormatError | InputError | NotFoundError):
        raise err
    if on_error == "fail":
        raise err if isinstance(err, InputError) else type(err)(f"{err} (--on-error skip packs the rest)") from err
    return Unpacked(path=item.path, where=item.where, reason=str(err))


def _write_index(
    job: ShardJob, outcome: ShardOutcome, rows: list[IndexRow], tar_bytes: int, tar_hash: str, duration_s: float
) -> None:
    index = dump_index(rows, job.schema, note={"tar": f"{job.plan.stem}.tar", "bytes": tar_bytes, "hash": tar_hash})
    write_bytes(job.output / f"{job.plan.stem}.parquet", index)
    outcome.index_bytes = len(index)
    outcome.info = ShardInfo(
        split=job.plan.split,
        path=f"{job.plan.stem}.tar",
        bytes=tar_bytes,
        hash=tar_hash,
        index=f"{job.plan.stem}.parquet",
        index_hash=file_hash(index),
        samples=len(rows),
        duration_s=round(duration_s, 6),
    )


def _note_sample(outcome: ShardOutcome, item: PackInput, row: IndexRow, prepared: Prepared) -> None:
    outcome.num_clipped += prepared.num_clipped
    outcome.clipped_inputs += prepared.num_clipped > 0
    outcome.intervals_cut += prepared.bounds.num_cut
    for reason in prepared.bounds.left_out:
        outcome.left_out.append(Unpacked(path=item.path, where=item.where, reason=reason))
    for name, member in row.members.items():
        outcome.extensions.setdefault(name, set()).add(member.extension)
