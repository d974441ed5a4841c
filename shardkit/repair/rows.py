"""The index row of a sample: the one it had, for other places; or made anew from the sample's bytes.

Made anew it is what ``shardkit pack`` wrote: labels, intervals, hops and metadata stand in KEY.json, all else is
measured. What KEY.json spells as text because JSON has no type for it goes back to the column's own type.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any, BinaryIO

import pyarrow as pa

from shardkit.audio.decode import read_table
from shardkit.audio.options import TranscodeOptions
from shardkit.audio.points import PointTable
from shardkit.audio.transcode import transcode
from shardkit.core.checks import is_number
from shardkit.core.errors import FormatError, ShardkitError
from shardkit.format.arrays import ArrayLayout, read_array
from shardkit.format.hashing import file_hash, member_hash
from shardkit.format.index import PRIMARY, AudioEntry, IndexRow, MemberEntry
from shardkit.format.manifest import FeaturesInfo, Manifest
from shardkit.format.tar import TarMember
from shardkit.pack.adopt import AdoptOptions, sample_row
from shardkit.pack.bounds import bounds_in_samples
from shardkit.pack.fields import JSON_FIELD, field_of_extension, kind_of_extension
from shardkit.pack.sample import audio_entry
from shardkit.storage.location import Location, locate
from shardkit.stream.catalog import Catalog, load_catalog

Member = tuple[str, TarMember]  # extension, and where it lies


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What all rows of a dataset have in common.

    Attributes:
        manifest: The dataset's, without its shards.
        schema: Of every index.
        hops_s: Hops of array fields by sound indices: for adopted tars no other place has them.
    """

    manifest: Manifest
    schema: pa.Schema
    hops_s: Mapping[str, float] = field(default_factory=dict)

    @property
    def adopted(self) -> bool:
        """Whether the tars were written by others."""
        return bool(self.manifest.options.get("adopted"))


def rebuilt_row(key: str, members: Sequence[Member], file: BinaryIO, tar: Location, basis: Basis) -> IndexRow:
    """Return the row of a sample, made from its bytes; every recording is decoded for that.

    Raises:
        AudioError, FormatError, InputError: They are no such sample's.
    """
    where = f"{tar}: key {key!r}"
    for extension, _ in members:
        if field_of_extension(extension) not in basis.manifest.fields:
            raise FormatError(f"{where}: member {extension!r} is of no field of this dataset")
    if not basis.adopted:
        return _packed_row(key, members, file, where, basis)
    options = AdoptOptions(label=basis.manifest.options.get("label"))
    row = sample_row(key, members, file, tar, options)
    hopped = {
        name: _with_hop(entry, basis.hops_s.get(name)) if entry.array is not None else entry
        for name, entry in row.members.items()
    }
    columns = {name: value for name, value in row.metadata.items() if name in basis.manifest.columns}
    return IndexRow(
        key=row.key,
        members=hopped,
        labels=row.labels,
        intervals=row.intervals,
        metadata=_typed(columns, basis.schema),
    )


def moved_row(
    row: Mapping[str, Any], offsets: Mapping[str, int], setups: Mapping[int, bytes], basis: Basis
) -> IndexRow:
    """Return a row as it was, with its members at other places.

    Args:
        row: The row of a sound index.
        offsets: Byte of each field's member.
        setups: The decoder setups of that index.
        basis: What rows have in common.
    """
    recording, members = None, {}
    for name, told in row["fields"].items():
        if told is None:
            continue
        audio = _audio(told, setups) if "codec" in told else None
        if told["offset"] is None:
            recording = audio
            continue
        has_rows = told.get("dtype") is not None
        members[name] = MemberEntry(
            extension=told["extension"],
            offset=offsets[name],
            size=told["size"],
            xxh3=told["xxh3"],
            audio=audio,
            hop_s=told.get("hop_s"),
            array=ArrayLayout(told["dtype"], tuple(told["shape"]), told["data_offset"]) if has_rows else None,
        )
    return IndexRow(
        key=row["key"],
        members=members,
        recording=recording,
        labels=row["labels"] or (),
        intervals=[(one["name"], one["start"], one["stop"]) for one in row["intervals"] or ()],
        metadata={name: row[name] for name in basis.manifest.columns},
    )


def _packed_row(key: str, members: Sequence[Member], file: BinaryIO, where: str, basis: Basis) -> IndexRow:
    options = TranscodeOptions(codec="keep", loudness=basis.manifest.options.get("loudness") is not False)
    entries: dict[str, MemberEntry] = {}
    content: dict[str, Any] | None = None
    for extension, member in members:
        name, kind = field_of_extension(extension), kind_of_extension(extension)
        place = f"{where}, member {extension!r} at byte {member.offset:,}"
        if name in entries:
            raise FormatError(f"{place}: a second member for the field {name!r}")
        file.seek(member.offset)
        data = file.read(member.size)
        audio, array = None, None
        if kind == "audio":
            audio = audio_entry(transcode(data, options, name=place))
        elif kind == "array":
            array = _checked(read_array, data, place)[1]
        elif kind == "text":
            _checked(bytes.decode, data, place)
        elif name == JSON_FIELD:
            content = _checked(json.loads, data, place)
        entries[name] = MemberEntry(
            extension=extension,
            offset=member.offset,
            size=member.size,
            xxh3=member_hash(data),
            audio=audio,
            array=array,
        )
    if not isinstance(content, dict):
        raise FormatError(f"{where}: it has no {JSON_FIELD} member with an object, as every packed sample does")
    return _row_of(key, entries, content, where, basis)


def _row_of(
    key: str, entries: Mapping[str, MemberEntry], content: Mapping[str, Any], where: str, basis: Basis
) -> IndexRow:
    manifest = basis.manifest
    recording = None if manifest.features is None else _recording(key, manifest.features, where)
    primary = entries[PRIMARY].audio if PRIMARY in entries else recording
    first = PRIMARY if manifest.features is None else manifest.features.field
    if primary is None or first not in entries:
        raise FormatError(f"{where}: it has no member for the field {first!r}, which every sample has")
    hops = content.get("hops_s")
    noted = {name: hop for name, hop in (hops.items() if isinstance(hops, dict) else ()) if is_number(hop)}
    if manifest.features is not None:
        noted[manifest.features.field] = manifest.features.hop_s
    try:
        labels = tuple(str(label) for label in content.get("labels") or ())
        intervals = bounds_in_samples(
            [(str(name), start, stop) for name, start, stop in content.get("intervals") or ()],
            rate=primary.sample_rate,
            frames=primary.frames,
            cut=True,
            where=where,
        ).samples
        metadata = {name: content[name] for name in manifest.columns if name in content}
    except (TypeError, ValueError) as err:
        raise FormatError(f"{where}: its JSON is not what 'shardkit pack' writes: {err}") from err
    return IndexRow(
        key=key,
        members={name: _with_hop(entry, noted.get(name)) for name, entry in entries.items()},
        recording=recording,
        labels=labels,
        intervals=intervals,
        metadata=_typed(metadata, basis.schema),
    )


def _with_hop(entry: MemberEntry, hop_s: float | None) -> MemberEntry:
    return entry if hop_s is None else replace(entry, hop_s=float(hop_s))


def _checked(parse: Callable[[bytes], Any], data: bytes, place: str) -> Any:
    try:
        return parse(data)
    except (ValueError, RecursionError) as err:
        raise FormatError(f"{place}: {err}") from err


def _audio(told: Mapping[str, Any], setups: Mapping[int, bytes]) -> AudioEntry:
    kept = {name: told[name] for name in AudioEntry.__dataclass_fields__ if name in told}
    table = read_table(told["seek_table"], told["codec"]) if told["seek_table"] is not None else None
    setup = setups.get(table.setup) if isinstance(table, PointTable) and table.setup is not None else None
    return AudioEntry(**kept, setup=setup)


def _recording(key: str, features: FeaturesInfo, where: str) -> AudioEntry:
    """Return the facts of the recording that features were computed from, which stand in its own index.

    Raises:
        FormatError: That index is not there, or is another one now.
    """
    advice = "compute the features again with 'shardkit featurize --overwrite'"
    try:
        catalog, rows = _recordings(features.source)
    except ShardkitError as err:
        raise FormatError(f"{where}: the index of its recording can't be read ({err}); {advice}") from err
    listed = json.dumps([[shard.split, shard.index_hash] for shard in catalog.shards])
    if file_hash(listed.encode()) != features.source_hash or key not in rows:
        raise FormatError(f"{where}: {features.source} is not the dataset that it was computed from; {advice}")
    row = rows[key]
    told = catalog.fields[PRIMARY].entry(row)
    kept = {name: told[name] for name in AudioEntry.__dataclass_fields__ if name in told}
    return AudioEntry(**(kept | {"data_offset": None, "seek_table": None}))


@lru_cache(maxsize=1)
def _recordings(source: str) -> tuple[Catalog, dict[str, int]]:
    catalog = load_catalog(locate(source), split=None)
    return catalog, {key: row for row, key in enumerate(catalog.table.column("key").to_pylist())}


def _typed(metadata: Mapping[str, Any], schema: pa.Schema) -> dict[str, Any]:
    return {name: typed_cell(value, schema.field(name).type) for name, value in metadata.items()}


def typed_cell(value: Any, kind: pa.DataType) -> Any:
    r"""Return a value of KEY.json as its column has it.

    >>> typed_cell("2024-05-01", pa.date32()), typed_cell("AAE=", pa.binary()), typed_cell([1, 2], pa.list_(pa.int8()))
    (datetime.date(2024, 5, 1), b'\x00\x01', [1, 2])

    Raises:
        FormatError: It is none of that type.
    """
    if value is None:
        return None
    try:
        found = _converted(value, kind)
        pa.array([found], kind)
    except (ValueError, TypeError, ArithmeticError, pa.ArrowException) as err:
        raise FormatError(f"its JSON has {str(value)[:60]!r} for a column of {kind}: {err}") from err
    return found


def _converted(value: Any, kind: pa.DataType) -> Any:
    types = pa.types
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return [None if item is None else _converted(item, kind.value_type) for item in value]
    if types.is_struct(kind):
        parts = {part.name: part.type for part in kind}
        return {name: None if item is None else _converted(item, parts[name]) for name, item in value.items()}
    if not isinstance(value, str) or types.is_string(kind) or types.is_large_string(kind):
        return str(value) if types.is_string(kind) and not isinstance(value, str) else value
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return base64.b64decode(value, validate=True)
    readers: list[tuple[bool, Callable[[str], Any]]] = [
        (types.is_timestamp(kind), datetime.fromisoformat),
        (types.is_date(kind), date.fromisoformat),
        (types.is_time(kind), time.fromisoformat),
        (types.is_decimal(kind), Decimal),
    ]
    return next((read(value) for applies, read in readers if applies), value)
