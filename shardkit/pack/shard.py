"""The work of one process: write one shard and its index."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
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
    StorageError,
)
from shardkit.format.hashing import FileHash, file_hash
from shardkit.format.index import IndexRow, dump_index
from shardkit.format.manifest import ShardInfo
from shardkit.format.tar import TarWriter
from shardkit.pack.ahead import in_order
from shardkit.pack.engine import Progress, Report
from shardkit.pack.inputs import PackInput, Unpacked
from shardkit.pack.options import OnError
from shardkit.pack.plan import ShardPlan
from shardkit.pack.sample import Prepared, prepare, write_sample
from shardkit.storage.location import Location
from shardkit.storage.store import publish, write_bytes

PARTIAL_PREFIX = ".shardkit-partial-"
WRITE_BYTES = 1 << 18  # short files are gathered up to this


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardJob:
    """All that a process needs to write one shard."""

    plan: ShardPlan
    output: Location
    transcode: TranscodeOptions
    schema: pa.Schema
    hops_s: Mapping[str, float]
    on_error: OnError
    threads: int = 1


@dataclass(slots=True, kw_only=True)
class ShardOutcome:
    """What became of a shard's inputs; ``info`` is None when none of them could be packed.

    ``left_out`` has the intervals of packed samples that lie behind the recording.
    """

    info: ShardInfo | None = None
    unpacked: list[Unpacked] = field(default_factory=list)
    extensions: dict[str, set[str]] = field(default_factory=dict)
    num_clipped: int = 0
    clipped_inputs: int = 0
    intervals_cut: int = 0
    left_out: list[Unpacked] = field(default_factory=list)


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

    Args:
        job: What to write and where.
        report: Called once for each input, packed or not.

    Raises:
        ShardkitError: An input can't be packed and ``on_error`` is ``fail``, or the output can't be written.
    """
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
        if rows:
            publish(path, job.output / f"{job.plan.stem}.tar")
            outcome.info = _write_index(job, rows, tar.position, sink.hash.text(), duration_s)
    return outcome


@contextmanager
def partial_folder(output: Location) -> Iterator[Path]:
    """A folder for what is not whole yet, beside the output or, for remote ones, where temporary files go.

    Inputs and the output have errors of their own; what is left to fail in here is the disk under this folder.
    """
    try:
        place = output.local_path if output.is_local else None
        with tempfile.TemporaryDirectory(prefix=PARTIAL_PREFIX, dir=place) as folder:
            yield Path(folder)
    except ShardkitError:
        raise
    except OSError as err:
        where, advice = str(output), "free some space"
        if not output.is_local:
            where, advice = tempfile.gettempdir(), "free some space or set TMPDIR to a larger disk"
        raise StorageError(f"{where}: can't write a shard: {err.strerror or err}; {advice}") from err


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


def _write_index(job: ShardJob, rows: list[IndexRow], tar_bytes: int, tar_hash: str, duration_s: float) -> ShardInfo:
    index = dump_index(rows, job.schema, note={"tar": f"{job.plan.stem}.tar", "bytes": tar_bytes, "hash": tar_hash})
    write_bytes(job.output / f"{job.plan.stem}.parquet", index)
    return ShardInfo(
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
