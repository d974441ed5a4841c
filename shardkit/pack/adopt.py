"""``shardkit index``: existing WebDataset tars become a dataset where they lie; not a byte of them is written.

A tar is read twice: to hash it, then to list its members and measure its recordings. A remote tar is fetched to a
temporary file first, so that it crosses the network once.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from shardkit.audio.options import TranscodeOptions
from shardkit.audio.transcode import transcode
from shardkit.core.checks import checked_seconds, is_number
from shardkit.core.errors import AudioError, FormatError, InputError, NotFoundError
from shardkit.format.arrays import ArrayLayout, read_array
from shardkit.format.hashing import FileHash, file_hash, member_hash
from shardkit.format.index import PRIMARY, AudioEntry, IndexRow, MemberEntry, dump_index, index_schema
from shardkit.format.manifest import FieldKind, Manifest, ShardInfo, dump_manifest
from shardkit.format.tar import TarMember, scan, split_name
from shardkit.pack.cells import labels_of_cell
from shardkit.pack.columns import arrow_type, column_name
from shardkit.pack.commit import (
    REPORT_NAME,
    PackSummary,
    build_manifest,
    check_no_dataset,
    claim_output,
    commit_manifest,
    remove_mark,
    report_lines,
)
from shardkit.pack.engine import Progress, Report, run_jobs
from shardkit.pack.fields import JSON_FIELD, field_of_extension, kind_of_extension
from shardkit.pack.inputs import Unpacked, printable
from shardkit.pack.jsontext import is_text, value_fault
from shardkit.pack.options import OnError, check_split_name
from shardkit.pack.sample import audio_entry
from shardkit.storage.location import Location
from shardkit.storage.store import is_folder, list_files, read_range, size, write_bytes

_CHUNK = 8 * 1024 * 1024
_MAX_SECONDS = 1e9  # 30 years: beyond it, a number is no time in a recording
_KEEP = TranscodeOptions(codec="keep")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptOptions:
    """How to index tars.

    Attributes:
        split: Name of the split that they become.
        label: A member with the label as text (``cls``), or a key of the JSON member; None: ``labels`` of the JSON.
        prefix_keys: Put the tar's name in front of every key, for tars that number their samples alike.
        on_error: What a sample that can't be indexed does: ``fail`` the run, or be ``skip``-ped and reported.
        workers: Processes; each takes one tar at a time.
        name: The dataset's name; None takes the output folder's.
        hops_s: Seconds from row to row of array fields; beside those that ``shardkit pack`` noted in ``KEY.json``.
    """

    split: str = "train"
    label: str | None = None
    prefix_keys: bool = False
    on_error: OnError = "fail"
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    name: str | None = None
    hops_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Job:
    """One tar to read."""

    tar: Location
    bytes: int
    options: AdoptOptions


@dataclass(slots=True)
class _Indexed:
    """One tar, read."""

    tar: Location
    bytes: int
    hash: str
    rows: list[IndexRow] = field(default_factory=list)
    unpacked: list[Unpacked] = field(default_factory=list)
    duration_s: float = 0.0


def adopt(
    sources: Sequence[Location],
    output: Location,
    *,
    options: AdoptOptions,
    start: Callable[[int, int], None] = lambda _files, _bytes: None,
    report: Report = lambda _progress: None,
) -> PackSummary:
    """Write an index and a manifest for existing tars.

    Args:
        sources: Tars, or folders of tars.
        output: Folder of the dataset; must not hold one yet, and may be the tars' own folder.
        options: See there.
        start: Called once with the number of tars and their bytes.
        report: Called for each tar done.

    Raises:
        InputError: No tars, keys that occur twice, an output that holds a dataset.
        FormatError: A tar is cut off or not a tar.
        AudioError: A recording can't be read and ``options.on_error`` is ``fail``.
    """
    began = time.monotonic()
    check_split_name(options.split, where="--split")
    for name, hop_s in options.hops_s.items():
        checked_seconds(hop_s, f"--hop {name}")
    tars = _tars(sources)
    check_no_dataset(output)
    start(len(tars), sum(num_bytes for _, num_bytes in tars))
    jobs = [_Job(tar, num_bytes, options) for tar, num_bytes in tars]
    indexed = run_jobs(_index_tar, jobs, workers=options.workers, report=report)
    _check_keys(indexed, options)
    _check_hops(indexed, options)
    claim_output(output, beside_tars=True)
    manifest = _write(indexed, output, options)
    unpacked = tuple(line for found in indexed for line in found.unpacked)
    write_bytes(output / REPORT_NAME, report_lines(unpacked))
    commit_manifest(output, dump_manifest(manifest))
    remove_mark(output)
    return PackSummary(
        output=str(output),
        totals=manifest.totals,
        splits=manifest.splits,
        input_bytes=sum(num_bytes for _, num_bytes in tars),
        unpacked=unpacked,
        wall_s=time.monotonic() - began,
    )


def _tars(sources: Sequence[Location]) -> list[tuple[Location, int]]:
    tars: list[tuple[Location, int]] = []
    for source in sources:
        if is_folder(source):
            tars += [(source / name, num_bytes) for name, num_bytes in list_files(source, suffixes=(".tar",))]
        else:
            try:
                tars.append((source, size(source)))
            except NotFoundError:
                raise InputError(f"{source}: no such tar or folder of tars; check the name") from None
    if not tars:
        raise InputError(f"{', '.join(map(str, sources))}: no .tar files there")
    for tar, _ in tars:
        if str(tar) != tar.url:
            raise InputError(f"{tar}: a URL with a query or credentials can't be kept; give them as --storage-option")
    return tars


def _index_tar(job: _Job, report: Report) -> _Indexed:
    if job.tar.is_local:
        found = _index_file(job.tar.local_path, job.tar, job.options)
    else:
        with tempfile.TemporaryDirectory(prefix="shardkit-") as folder:
            path = Path(folder) / "shard.tar"
            with path.open("wb") as copy:
                for start in range(0, job.bytes, _CHUNK):
                    copy.write(read_range(job.tar, start, min(start + _CHUNK, job.bytes)))
            found = _index_file(path, job.tar, job.options)
    report(Progress(found.duration_s, job.bytes))
    return found


def _index_file(path: Path, tar: Location, options: AdoptOptions) -> _Indexed:
    with path.open("rb") as file:
        found = _Indexed(tar, path.stat().st_size, _hash(file))
        file.seek(0)
        for key, members in _samples(list(scan(file, where=str(tar)))):
            try:
                row = sample_row(key, members, file, tar, options)
            except (AudioError, FormatError, InputError) as err:
                if options.on_error == "fail":
                    raise
                found.unpacked.append(Unpacked(path=printable(f"{tar.name}/{key}"), where=str(tar), reason=str(err)))
                continue
            found.rows.append(row)
            audio = row.members[PRIMARY].audio
            found.duration_s += audio.frames / audio.sample_rate if audio else 0.0
    return found


def _hash(file: BinaryIO) -> str:
    running = FileHash()
    while chunk := file.read(_CHUNK):
        running.update(chunk)
    return running.text()


def _samples(members: Sequence[TarMember]) -> Iterator[tuple[str, list[tuple[str, TarMember]]]]:
    """Yield (key, [(extension, member), ...]) as WebDataset groups a tar: neighbours that share a key."""
    named = [(split_name(member.name), member) for member in members]
    keyed = [(name[0], name[1], member) for name, member in named if name is not None]
    for key, group in groupby(keyed, key=lambda entry: entry[0]):
        yield key, [(extension, member) for _, extension, member in group]


def sample_row(
    key: str, members: Sequence[tuple[str, TarMember]], file: BinaryIO, tar: Location, options: AdoptOptions
) -> IndexRow:
    """Return the index row of one sample of a tar.

    Args:
        key: The sample's.
        members: (extension, where it lies) of each of its members.
        file: The tar, here.
        tar: What it is called.
        options: See there.

    Raises:
        AudioError, FormatError, InputError: It can't be indexed; the message says where.
    """
    place = f"{tar}: key {key!r}"
    _check_key(key, [extension for extension, _ in members], place)
    entries: dict[str, MemberEntry] = {}
    content: dict[str, Any] = {}
    labels: tuple[str, ...] = ()
    for extension, member in members:
        name = field_of_extension(extension)
        if name in entries:
            raise FormatError(f"{place} has two members for the field {name!r}, at byte {member.offset:,}")
        file.seek(member.offset)
        data = file.read(member.size)
        where = f"{place}, member {extension!r} at byte {member.offset:,}"
        entries[name] = _entry(extension, member, data, where)
        if name == JSON_FIELD:
            content = _parsed(data, where)
        if name == options.label:
            labels = (data.decode("utf-8", errors="replace").strip(),)
    entries = _with_hops(entries, {**_noted_hops(content), **options.hops_s})
    if PRIMARY not in entries:
        raise FormatError(
            f"{place} has no recording among {', '.join(extension for extension, _ in members)}; "
            "--on-error skip leaves such samples out"
        )
    audio = entries[PRIMARY].audio
    row = IndexRow(
        key=f"{tar.name.removesuffix('.tar')}/{key}" if options.prefix_keys else key,
        members=entries,
        labels=labels or _labels(content, options.label, place),
        intervals=() if audio is None else _intervals(content.get("intervals"), audio),
        metadata={column_name(name): value for name, value in content.items() if _is_column(name, value)},
    )
    fault = value_fault([row.labels, row.intervals, row.metadata])
    if fault is not None:
        raise FormatError(f"{place}: its JSON {fault}")
    return row


def _check_key(key: str, extensions: Iterable[str], place: str) -> None:
    """Raise if a file of that name would lie outside the folder that the tar is unpacked in, or the name is no text."""
    if not is_text(key) or any(not is_text(extension) for extension in extensions):
        raise FormatError(
            f"{printable(place)} has a name that is not UTF-8; write the tar anew, or leave the sample out with "
            "--on-error skip"
        )
    if key.startswith("/") or ".." in key.split("/"):
        raise FormatError(
            f"{place} begins with '/' or has a '..' and so leads out of any folder; write the tar with relative names, "
            "or leave the sample out with --on-error skip"
        )


def _entry(extension: str, member: TarMember, data: bytes, where: str) -> MemberEntry:
    audio = None
    if kind_of_extension(extension) == "audio":
        audio = audio_entry(transcode(data, _KEEP, name=where))
    return MemberEntry(
        extension=extension,
        offset=member.offset,
        size=member.size,
        xxh3=member_hash(data),
        audio=audio,
        array=_array_layout(extension, data),
    )


def _array_layout(extension: str, data: bytes) -> ArrayLayout | None:
    if kind_of_extension(extension) != "array":
        return None
    try:
        return read_array(data)[1]
    except FormatError:  # an array that can't be read without unpickling is adopted, and never read by shardkit
        return None


def _noted_hops(content: Mapping[str, Any]) -> dict[str, float]:
    """Return the hops that ``shardkit pack`` wrote into a JSON member."""
    noted = content.get("hops_s")
    return {
        name: float(hop)
        for name, hop in (noted.items() if isinstance(noted, dict) else ())
        if is_number(hop) and hop > 0
    }


def _with_hops(entries: Mapping[str, MemberEntry], hops_s: Mapping[str, float]) -> dict[str, MemberEntry]:
    """Return the members with the hops of those that have rows."""
    return {
        name: replace(entry, hop_s=hops_s[name]) if name in hops_s and entry.array is not None else entry
        for name, entry in entries.items()
    }


def _parsed(data: bytes, where: str) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as err:
        raise FormatError(f"{where}: not JSON: {err}") from err
    return content if isinstance(content, dict) else {}


def _is_column(name: str, value: Any) -> bool:
    """Tell whether an entry of a JSON member becomes a metadata column: plain values do, structures do not."""
    return name not in ("labels", "intervals") and isinstance(value, str | int | float | bool)


def _labels(content: Mapping[str, Any], asked: str | None, place: str) -> tuple[str, ...]:
    """Return the labels of a JSON member; under ``labels``, which nobody asked for, other shapes are left in it."""
    column = asked or "labels"
    try:
        return labels_of_cell(content.get(column), column, None)
    except InputError as err:
        if asked is None:
            return ()
        raise FormatError(f"{place}: {err}") from err


def _intervals(value: Any, audio: AudioEntry) -> tuple[tuple[str, int, int], ...]:
    """Return the intervals that ``shardkit pack`` wrote into a JSON member; other shapes are left in the JSON."""
    found = []
    for item in value if isinstance(value, list) else ():
        if not (isinstance(item, list) and len(item) == 3 and isinstance(item[0], str)):
            return ()
        if not all(isinstance(bound, int | float) and 0 <= bound <= _MAX_SECONDS for bound in item[1:]):
            return ()
        start, stop = (min(round(bound * audio.sample_rate), audio.frames) for bound in item[1:])
        if start >= stop:
            return ()
        found.append((item[0], start, stop))
    return tuple(found)


def _column_type(name: str, rows: Sequence[IndexRow]) -> pa.DataType:
    """Return a column's type; where tars disagree it becomes text, since they can't be rewritten."""
    try:
        return arrow_type(name, [row.metadata.get(name) for row in rows], places=[row.key for row in rows])
    except InputError:
        for row in rows:
            if isinstance(row.metadata, dict) and row.metadata.get(name) is not None:
                row.metadata[name] = str(row.metadata[name])
        return pa.string()


def _check_keys(indexed: Sequence[_Indexed], options: AdoptOptions) -> None:
    advice = "rename one of the tars" if options.prefix_keys else "--prefix-keys puts the tar's name in front of each"
    seen: dict[str, Location] = {}
    for found in indexed:
        for row in found.rows:
            first = seen.get(row.key)
            if first is not None:
                raise InputError(f"{found.tar}: key {row.key!r} occurs in {first} too; keys must be unique: {advice}")
            seen[row.key] = found.tar


def _check_hops(indexed: Sequence[_Indexed], options: AdoptOptions) -> None:
    known = {name for found in indexed for row in found.rows for name, entry in row.members.items() if entry.array}
    for name in options.hops_s:
        if name not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise InputError(f"--hop {name}: no sample has an array {name!r} with rows; arrays: {listed}")


def _write(indexed: Sequence[_Indexed], output: Location, options: AdoptOptions) -> Manifest:
    rows = [row for found in indexed for row in found.rows]
    if not rows:
        raise InputError(f"{output}: no samples in {len(indexed)} tars")
    extensions: dict[str, set[str]] = {}
    for row in rows:
        for name, member in row.members.items():
            extensions.setdefault(name, set()).add(member.extension)
    kinds = {name: _kind(name, seen) for name, seen in sorted(extensions.items())}
    if options.label and not any(row.labels for row in rows):
        raise InputError(f"--label {options.label}: no sample has such a member, nor its JSON such a key")
    columns = {name: _column_type(name, rows) for name in dict.fromkeys(name for row in rows for name in row.metadata)}
    schema = index_schema(kinds, columns)
    shards = [
        _write_index(found, f"{options.split}/{number:06d}.parquet", schema, output, options)
        for number, found in enumerate(indexed)
    ]
    return build_manifest(
        name=options.name or output.name,
        shards=shards,
        labels={label for row in rows for label in row.labels},
        interval_names={name for row in rows for name, _, _ in row.intervals},
        kinds=kinds,
        extensions=extensions,
        columns={name: str(kind) for name, kind in columns.items()},
        options={"adopted": True, "label": options.label, "prefix_keys": options.prefix_keys},
    )


def _kind(name: str, extensions: set[str]) -> FieldKind:
    kinds = {kind_of_extension(extension) for extension in extensions}
    if len(kinds) > 1:
        raise InputError(f"field {name!r} has members of several kinds: {', '.join(sorted(extensions))}")
    return kinds.pop()


def _write_index(found: _Indexed, index: str, schema: Any, output: Location, options: AdoptOptions) -> ShardInfo:
    note: Mapping[str, Any] = {"tar": str(found.tar), "bytes": found.bytes, "hash": found.hash}
    data = dump_index(found.rows, schema, note=note)
    write_bytes(output / index, data)
    inside = str(found.tar).removeprefix(str(output).rstrip("/") + "/")
    return ShardInfo(
        split=options.split,
        path=inside,
        bytes=found.bytes,
        hash=found.hash,
        index=index,
        index_hash=file_hash(data),
        samples=len(found.rows),
        duration_s=round(found.duration_s, 6),
    )
