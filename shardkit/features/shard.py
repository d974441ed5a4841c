"""One shard of features: as many as possible of a shard of recordings' samples, in its order.

Each sample keeps all its members but audio, byte for byte, and its row of the index but for where things lie.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from shardkit.core.errors import AudioError, FormatError, NotFoundError, ShardkitError
from shardkit.features.compute import Computed, Computer
from shardkit.features.options import FeaturizeOptions
from shardkit.features.recording import Recording
from shardkit.format.arrays import ArrayLayout
from shardkit.format.hashing import file_hash
from shardkit.format.index import PRIMARY, AudioEntry, IndexRow, MemberEntry, dump_index, load_index
from shardkit.format.manifest import FeaturesInfo, ShardInfo
from shardkit.format.tar import TarWriter
from shardkit.pack.ahead import in_order
from shardkit.pack.engine import Progress, Report
from shardkit.pack.inputs import Unpacked
from shardkit.pack.partial import partial_folder
from shardkit.pack.places import placed
from shardkit.pack.shard import WRITE_BYTES, HashedFile
from shardkit.storage.location import Location
from shardkit.storage.store import publish, read_bytes, size, write_bytes
from shardkit.stream.catalog import Catalog
from shardkit.stream.fetch import Fetcher, joined
from shardkit.stream.piece import whole_member


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardJob:
    """All that is needed to write one shard.

    Attributes:
        catalog: The recordings.
        rows: The shard's.
        stem: Its path without an extension: ``train/000003``.
        split: The split it belongs to.
        output: Folder of the dataset.
        info: What the features are.
        schema: Of the index.
        options: How to compute them.
    """

    catalog: Catalog
    rows: range
    stem: str
    split: str
    output: Location
    info: FeaturesInfo
    schema: pa.Schema
    options: FeaturizeOptions


@dataclass(slots=True)
class ShardOutcome:
    """What became of a shard; ``info`` is None where it has no samples."""

    info: ShardInfo | None = None
    unpacked: list[Unpacked] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Item:
    """A sample to compute features of: its row, what the index says of it, and the bytes of its recording."""

    row: int
    record: Mapping[str, Any]
    size: int


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A sample ready to be written: its features, and its other members with their bytes."""

    features: Computed
    others: Sequence[tuple[str, bytes]]


def write_shard(job: ShardJob, computer: Computer, report: Report) -> ShardOutcome:
    """Write the tar and the index of a shard; each appears under its name only when whole.

    Raises:
        ShardkitError: A recording can't be read and ``on_error`` is ``fail``, or the output can't be written.
    """
    outcome, rows, durations_s = ShardOutcome(), list[IndexRow](), list[float]()
    with partial_folder(job.output) as folder:
        path = folder / "shard.tar"
        work = partial(_prepare_all, job=job, computer=computer, folder=folder)
        prepared = in_order(_items(job), work, threads=job.options.workers)
        with path.open("wb", WRITE_BYTES) as file, closing(prepared):
            sink = HashedFile(file)
            tar = TarWriter(sink)
            for item, made in prepared:
                if isinstance(made, ShardkitError):
                    outcome.unpacked.append(_left_out(job, item, made))
                    report(Progress(0.0, item.size))
                    continue
                rows.append(_write_sample(job, item, made, tar))
                durations_s.append(item.record["duration_s"])
                report(Progress(durations_s[-1], item.size))
            tar.close()
        if rows:
            publish(path, job.output / f"{job.stem}.tar")
            note = {"tar": f"{job.stem}.tar", "bytes": tar.position, "hash": sink.hash.text()}
            note |= {"features": job.info.key, "left_out": [asdict(line) for line in outcome.unpacked]}
            index = dump_index(rows, job.schema, note=note)
            write_bytes(job.output / f"{job.stem}.parquet", index)
            outcome.info = _shard_info(job, index, note, durations_s)
    return outcome


def finished_shard(job: ShardJob) -> ShardOutcome | None:
    """Return the outcome of a shard that an interrupted run has finished; None: there is no such shard.

    An index is written after its tar, and says of which features it is.
    """
    place = job.output / f"{job.stem}.parquet"
    try:
        index = read_bytes(place)
        table, note = load_index(index, where=str(place))
        if note.get("features") != job.info.key or size(job.output / f"{job.stem}.tar") != note["bytes"]:
            return None
        left_out = [Unpacked(**line) for line in note["left_out"]]
    except (NotFoundError, FormatError, KeyError, TypeError):
        return None
    return ShardOutcome(_shard_info(job, index, note, table.column("duration_s").to_pylist()), left_out)


def _shard_info(job: ShardJob, index: bytes, note: Mapping[str, Any], durations_s: Sequence[float]) -> ShardInfo:
    return ShardInfo(
        split=job.split,
        path=f"{job.stem}.tar",
        bytes=note["bytes"],
        hash=note["hash"],
        index=f"{job.stem}.parquet",
        index_hash=file_hash(index),
        samples=len(durations_s),
        duration_s=round(sum(durations_s), 6),
    )


def _items(job: ShardJob) -> list[_Item]:
    records = job.catalog.table.slice(job.rows.start, len(job.rows)).to_pylist()
    sizes = job.catalog.fields[PRIMARY].size
    return [_Item(row, record, int(sizes[row])) for row, record in zip(job.rows, records, strict=True)]


def _prepare_all(
    run: Sequence[_Item], job: ShardJob, computer: Computer, folder: Path
) -> list[_Prepared | ShardkitError]:
    return [_prepare(item, job, computer, folder) for item in run]


def _prepare(item: _Item, job: ShardJob, computer: Computer, folder: Path) -> _Prepared | ShardkitError:
    """Return a sample's members; an error that is its own is returned, so that those before it are written."""
    catalog = job.catalog
    where = catalog.place(PRIMARY, item.row)
    try:
        with placed(where):
            recording = Recording(catalog, item.row, sample_rate=job.info.sample_rate, channels=job.info.channels)
            return _Prepared(computer.compute(recording, folder), _others(job, item))
    except (AudioError, FormatError) as err:
        return err


def _others(job: ShardJob, item: _Item) -> list[tuple[str, bytes]]:
    """Return the members of a sample that are not audio, checked against the index; they are read at once."""
    fields = job.catalog.fields
    names = [name for name in fields if not fields[name].is_audio and fields[name].has(item.row)]
    pieces = [whole_member(job.catalog, name, item.row) for name in names]
    fetcher, found = Fetcher(), dict[str, bytes]()
    for join in joined(enumerate(pieces)):
        data = fetcher.fetch(join)
        for _, piece in join.pieces:
            member = join.slice_of(piece, data)
            piece.check_whole(member)
            found[piece.field] = bytes(member)
    return [(name, found[name]) for name in names]


def _left_out(job: ShardJob, item: _Item, err: ShardkitError) -> Unpacked:
    if job.options.on_error == "fail":
        raise type(err)(f"{err} (--on-error skip computes the rest)") from err
    return Unpacked(path=item.record["key"], where=str(job.catalog.tar(item.row)), reason=str(err))


def _write_sample(job: ShardJob, item: _Item, made: _Prepared, tar: TarWriter) -> IndexRow:
    """Append a sample's members to the tar and return its index row."""
    key, fields = item.record["key"], item.record["fields"]
    extension, features = f"{job.info.field}.npy", made.features
    place = tar.add_parts(f"{key}.{extension}", features.size, features.parts())
    members = {
        job.info.field: MemberEntry(
            extension=extension,
            offset=place.offset,
            size=place.size,
            xxh3=features.xxh3,
            hop_s=job.info.hop_s,
            array=features.layout,
        )
    }
    for name, data in made.others:
        place = tar.add(f"{key}.{fields[name]['extension']}", data)
        members[name] = _moved(fields[name], place.offset)
    return IndexRow(
        key=key,
        members=members,
        recording=_facts(fields[PRIMARY]),
        labels=item.record["labels"] or (),
        intervals=[(one["name"], one["start"], one["stop"]) for one in item.record["intervals"] or ()],
        metadata={name: item.record[name] for name in job.catalog.manifest.columns},
    )


def _moved(told: Mapping[str, Any], offset: int) -> MemberEntry:
    """Return what the index says of a member, at another place."""
    has_rows = told.get("dtype") is not None
    return MemberEntry(
        extension=told["extension"],
        offset=offset,
        size=told["size"],
        xxh3=told["xxh3"],
        hop_s=told.get("hop_s"),
        array=ArrayLayout(told["dtype"], tuple(told["shape"]), told["data_offset"]) if has_rows else None,
    )


def _facts(told: Mapping[str, Any]) -> AudioEntry:
    """Return what stays true of a recording that is not there: all but where its parts lie."""
    kept = {name: told[name] for name in AudioEntry.__dataclass_fields__ if name in told}
    return AudioEntry(**(kept | {"data_offset": None, "seek_table": None}))
