"""The Parquet index of a shard: one row a sample, queryable where it lies.

Columns, in order: the sample's key; facts of its primary audio (copies of ``fields.audio`` at the top level, so that
a query needs no nesting); labels; intervals; the user's own columns; and ``fields``, a struct with one struct for
each field, null where a sample lacks it. ``schemas/FORMAT.md`` states each column's meaning.
"""

import base64
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shardkit.core.errors import CorruptDataError, FormatError
from shardkit.format.arrays import ArrayLayout
from shardkit.format.hashing import file_hash, member_hash
from shardkit.format.manifest import FieldKind
from shardkit.format.parquet import read_parquet

PRIMARY = "audio"  # the field that a sample's duration, crops and loudness refer to
INTERVAL = pa.struct([("name", pa.string()), ("start", pa.int64()), ("stop", pa.int64())])

_PLACE = [("extension", pa.string()), ("offset", pa.int64()), ("size", pa.int64()), ("xxh3", pa.uint64())]
_AUDIO_FACTS = [
    ("codec", pa.string()),
    ("sample_format", pa.string()),
    ("sample_rate", pa.int32()),
    ("channels", pa.int32()),
    ("frames", pa.int64()),
    ("bit_depth", pa.int32()),
    ("data_offset", pa.int64()),
    ("peak", pa.float32()),
    ("loudness_lufs", pa.float32()),
]
# Large: in memory a dataset's tracks are one array, and a small one ends at 2 GiB: 60,000 hours at 10 bytes a second.
_AUDIO_TRACKS = [("seek_table", pa.large_binary()), ("loudness_track", pa.large_binary())]
# Where the rows of an array lie; null where they can't be read by their bytes alone.
_ARRAY_LAYOUT = [("dtype", pa.string()), ("shape", pa.list_(pa.int64())), ("data_offset", pa.int64())]
_MEMBER_TYPES: dict[FieldKind, pa.DataType] = {
    "audio": pa.struct(_PLACE + _AUDIO_FACTS + _AUDIO_TRACKS),
    "array": pa.struct([*_PLACE, ("hop_s", pa.float64()), *_ARRAY_LAYOUT]),
    "text": pa.struct(_PLACE),
    "json": pa.struct(_PLACE),
    "binary": pa.struct(_PLACE),
}
PRIMARY_COLUMNS = ("sample_rate", "channels", "frames", "codec", "bit_depth", "peak", "loudness_lufs")
RESERVED = ("key", "duration_s", *PRIMARY_COLUMNS, "labels", "intervals", "fields")
_ROW_GROUP_ROWS = 16_384
_METADATA_KEY = b"shardkit"
_SETUPS = "setups"


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioEntry:
    """What the index keeps of an audio member beside its place."""

    codec: str
    sample_format: str
    sample_rate: int
    channels: int
    frames: int
    bit_depth: int | None
    data_offset: int | None
    peak: float
    loudness_lufs: float | None
    seek_table: bytes | None
    loudness_track: bytes | None
    setup: bytes | None = None  # what reading by the seek table needs besides; kept once in the index's note


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberEntry:
    """One member of a sample: ``size`` bytes from byte ``offset`` of the tar."""

    extension: str
    offset: int
    size: int
    xxh3: int
    audio: AudioEntry | None = None
    hop_s: float | None = None
    array: ArrayLayout | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRow:
    """One sample. Interval bounds are half-open, in samples of the primary audio at its stored rate.

    ``recording`` is what is known of a primary audio that is not among the members, as beside features of it.
    """

    key: str
    members: Mapping[str, MemberEntry]
    recording: AudioEntry | None = None
    labels: Sequence[str] = ()
    intervals: Sequence[tuple[str, int, int]] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


def index_schema(fields: Mapping[str, FieldKind], columns: Mapping[str, pa.DataType]) -> pa.Schema:
    """Return the schema of every index of a dataset with these fields and these columns of the user's."""
    facts = dict(_AUDIO_FACTS)
    return pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            pa.field("duration_s", pa.float64()),
            *(pa.field(name, facts[name]) for name in PRIMARY_COLUMNS),
            pa.field("labels", pa.list_(pa.string())),
            pa.field("intervals", pa.list_(INTERVAL)),
            *(pa.field(name, kind) for name, kind in columns.items()),
            pa.field("fields", pa.struct([(name, _MEMBER_TYPES[kind]) for name, kind in fields.items()])),
        ]
    )


def dump_index(rows: Sequence[IndexRow], schema: pa.Schema, *, note: Mapping[str, Any]) -> bytes:
    """Return the bytes of a Parquet index; ``note`` is kept as JSON in the file's own metadata.

    The note of a shard's index holds the tar's size and hash, so that an index and a tar that do not belong
    together are told apart without the manifest. The distinct decoder setups of the rows are added to it.
    """
    setups = {member_hash(setup): setup for row in rows for setup in _setups(row)}
    if setups:
        coded = {f"{key:016x}": base64.b64encode(setup).decode() for key, setup in setups.items()}
        note = {**note, _SETUPS: coded}
    table = pa.Table.from_pylist([_as_dict(row) for row in rows], schema=schema)
    table = table.replace_schema_metadata({_METADATA_KEY: json.dumps(note, sort_keys=True)})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", row_group_size=_ROW_GROUP_ROWS)
    return sink.getvalue()


def load_index(data: bytes, *, where: str, expected_hash: str | None = None) -> tuple[pa.Table, dict[str, Any]]:
    """Return the rows of a Parquet index and its note.

    Raises:
        CorruptDataError: The bytes are not those the manifest recorded.
        FormatError: Not a shardkit index.
    """
    if expected_hash is not None and file_hash(data) != expected_hash:
        raise CorruptDataError(
            f"{where}: the index's hash is {file_hash(data)}, the manifest says {expected_hash}; "
            "it was changed or damaged since packing: restore it, or write it again with 'shardkit index'"
        )
    try:
        table = read_parquet(data)
        note = json.loads((table.schema.metadata or {})[_METADATA_KEY])
    except (
        pa.ArrowException,
        OSError,
        KeyError,
        ValueError,
        RecursionError,
    ) as err:  # OSError: what Arrow says of damaged pages
        raise FormatError(f"{where}: not a shardkit index ({err}); write it again with 'shardkit index'") from err
    if not isinstance(note, dict):
        raise FormatError(f"{where}: not a shardkit index: its note is {str(note)[:80]!r}, an object expected")
    missing = [name for name in RESERVED if name not in table.column_names]
    if missing:
        raise FormatError(f"{where}: the index lacks the columns {', '.join(missing)}")
    return table, note


def setups_of(note: Mapping[str, Any], *, where: str) -> dict[int, bytes]:
    """Return the decoder setups of an index's note by their hashes, to which its rows' seek tables refer.

    Raises:
        FormatError: They are damaged.
    """
    coded = note.get(_SETUPS, {})
    try:
        setups = {int(key, 16): base64.b64decode(text, validate=True) for key, text in coded.items()}
    except (AttributeError, TypeError, ValueError) as err:
        raise FormatError(f"{where}: the decoder setups in the index's note can't be read: {err}") from err
    for key, setup in setups.items():
        if member_hash(setup) != key:
            raise FormatError(f"{where}: a decoder setup in the index's note has not the hash {key:016x}")
    return setups


def _setups(row: IndexRow) -> Iterator[bytes]:
    for member in row.members.values():
        if member.audio is not None and member.audio.setup is not None:
            yield member.audio.setup


def _as_dict(row: IndexRow) -> dict[str, Any]:
    primary = row.members.get(PRIMARY)
    audio = primary.audio if primary else row.recording
    fields = {name: _member_dict(member) for name, member in row.members.items()}
    if row.recording is not None:
        fields[PRIMARY] = _audio_dict(row.recording)
    return {
        **row.metadata,
        "key": row.key,
        "duration_s": audio.frames / audio.sample_rate if audio else None,
        **{name: getattr(audio, name) if audio else None for name in PRIMARY_COLUMNS},
        "labels": list(row.labels),
        "intervals": [{"name": name, "start": start, "stop": stop} for name, start, stop in row.intervals],
        "fields": fields,
    }


def _member_dict(member: MemberEntry) -> dict[str, Any]:
    facts: dict[str, Any] = {"hop_s": member.hop_s}
    if member.array is not None:
        facts |= {name: getattr(member.array, name) for name, _ in _ARRAY_LAYOUT}
    if member.audio is not None:
        facts |= _audio_dict(member.audio)
    return {
        "extension": member.extension,
        "offset": member.offset,
        "size": member.size,
        "xxh3": member.xxh3,
        **facts,
    }


def _audio_dict(audio: AudioEntry) -> dict[str, Any]:
    return {name: getattr(audio, name) for name, _ in _AUDIO_FACTS + _AUDIO_TRACKS}
