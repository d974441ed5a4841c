"""The index of a dataset in memory: what to read, where it lies and how to decode it, by row number."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shardkit.audio.decode import AudioMember, read_table
from shardkit.audio.facts import AudioFacts
from shardkit.audio.points import PointTable
from shardkit.core.errors import AudioError, CorruptDataError, FormatError, InputError, ShardkitError
from shardkit.core.loudness import dequantise
from shardkit.core.ontology import Ontology
from shardkit.format.arrays import ArrayLayout
from shardkit.format.index import load_index, setups_of
from shardkit.format.manifest import MANIFEST_NAME, FieldKind, Manifest, ShardInfo, load_manifest
from shardkit.format.sanity import check_index
from shardkit.storage.location import Location
from shardkit.storage.parsing import read_parsed
from shardkit.storage.reference import resolve
from shardkit.storage.store import exists, is_folder


class FieldColumns:
    """The places of one field's members, as arrays over the rows of a catalog.

    Attributes:
        name: The field.
        present: Whether the sample has the field, (row,) bool.
        stored: Whether its tar holds it: a dataset of features knows of its recordings but has none, (row,) bool.
        offset, size: Bytes of the member in its tar, (row,) int64; 0 where there is none.
    """

    def __init__(self, name: str, struct: pa.StructArray, setups: Mapping[int, bytes]) -> None:
        self.name = name
        self._setups = setups
        self._struct = struct
        self._columns: dict[str, pa.Array] = {}
        self.present: NDArray[np.bool_] = np.asarray(struct.is_valid())
        self.stored: NDArray[np.bool_] = self.present & np.asarray(self._column("offset").is_valid())
        self.offset = self._integers("offset")
        self.size = self._integers("size")
        # Looked up by row, a memoryview takes a third of the time that an array does.
        self._stored = self.stored.data
        self._offset = self.offset.data
        self._size = self.size.data

    def has(self, row: int) -> bool:
        """Return whether a sample's tar holds the member."""
        return bool(self._stored[row])

    def place(self, row: int) -> tuple[int, int]:
        """Return a member's first byte in its tar, and how many it has."""
        return self._offset[row], self._size[row]

    @property
    def is_audio(self) -> bool:
        """Whether the field holds audio."""
        return bool(self._struct.type.get_field_index("codec") >= 0)

    @cached_property
    def frames(self) -> NDArray[np.int64]:
        """Length in samples at the stored rate, (row,); 0 where absent."""
        return self._integers("frames")

    @cached_property
    def sample_rate(self) -> NDArray[np.int64]:
        """Stored rate in Hz, (row,); 0 where absent."""
        return self._integers("sample_rate")

    @cached_property
    def channels(self) -> NDArray[np.int64]:
        """Stored channels, (row,); 0 where absent."""
        return self._integers("channels")

    def entry(self, row: int) -> dict[str, Any]:
        """Return all that the index says of one member."""
        return self._struct[row].as_py()  # type: ignore[no-any-return]

    def member(self, row: int) -> AudioMember:
        """Return what a decoder needs to know of an audio member."""
        return self.member_of(row, self.facts(row))

    def member_of(self, row: int, facts: AudioFacts) -> AudioMember:
        """Return ``member``, where its facts are known already.

        Raises:
            FormatError: Its seek table is none.
        """
        coded = self._column("seek_table")[row].as_py()
        table = None if coded is None else read_table(coded, facts.codec)
        return AudioMember(facts, self._size[row], table, _setup(self._setups, table))

    def facts(self, row: int) -> AudioFacts:
        """Return the facts of an audio member."""
        codec, sample_format, numbers = self._facts
        sample_rate, channels, frames, bit_depth, data_offset = [column[row] for column in numbers]
        return AudioFacts(
            codec.of(row),
            sample_format.of(row),
            sample_rate,
            channels,
            frames,
            None if bit_depth == _NONE else bit_depth,
            None if data_offset == _NONE else data_offset,
        )

    @cached_property
    def _facts(self) -> "tuple[_Words, _Words, list[memoryview[int]]]":
        columns = (self.sample_rate, self.channels, self.frames, self.bit_depth, self._data_offset)
        words = _Words(self._column("codec")), _Words(self._column("sample_format"))
        return *words, [column.data for column in columns]

    def rate(self, row: int) -> int:
        """Return the stored rate of an audio member, in Hz."""
        return self._facts[2][0][row]

    @cached_property
    def bit_depth(self) -> NDArray[np.int16]:
        """Bits of the recorded integers, (row,); -1 for floats, lossy codecs and where absent."""
        return self._integers("bit_depth", absent=_NONE, dtype=np.int16)

    @cached_property
    def _data_offset(self) -> NDArray[np.int64]:
        return self._integers("data_offset", absent=_NONE)

    def energies(self, row: int) -> NDArray[np.float64] | None:
        """Return the 100 ms energies of an audio member, or None if the index has no loudness track."""
        track = self._column("loudness_track")[row].as_py()
        return None if track is None else dequantise(track)

    @cached_property
    def has_loudness(self) -> NDArray[np.bool_]:
        """Whether the index has a loudness track of an audio member, (row,)."""
        return np.asarray(self._column("loudness_track").is_valid())

    @cached_property
    def loudness_lufs(self) -> NDArray[np.float64]:
        """Integrated loudness of audio members, (row,); NaN where the index has none."""
        return np.asarray(self._column("loudness_lufs").to_numpy(zero_copy_only=False), dtype=np.float64)

    @cached_property
    def loudness_tracks(self) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Where each row's loudness track begins, and at last where the last one ends, (row + 1,); all tracks."""
        column = self._column("loudness_track").cast(pa.large_binary())
        _, ends, codes = column.buffers()
        begins = np.frombuffer(ends, np.int64)[column.offset : column.offset + len(column) + 1]
        return begins, np.zeros(0, np.uint8) if codes is None else np.frombuffer(codes, np.uint8)

    def hop_s(self, row: int) -> float | None:
        """Return the seconds from row to row of an array member; None if it has no time axis."""
        return self._column("hop_s")[row].as_py()  # type: ignore[no-any-return]

    def layout(self, row: int) -> ArrayLayout | None:
        """Return where the rows of an array member lie; None where they can't be read by their bytes alone."""
        dtype = self._column("dtype")[row].as_py()
        if dtype is None:
            return None
        return ArrayLayout(dtype, tuple(self._column("shape")[row].as_py()), self._column("data_offset")[row].as_py())

    def row_kinds(self, rows: NDArray[np.int64]) -> set[tuple[str, tuple[int, ...], float] | None]:
        """Return the type, shape and hop of the rows of some arrays; None where rows can't be told apart."""
        taken = pa.table({name: self._column(name) for name in ("dtype", "shape", "hop_s")}).take(pa.array(rows))
        kinds = set()
        for dtype, shape, hop_s in zip(*(column.to_pylist() for column in taken.columns), strict=True):
            kinds.add(None if dtype is None or hop_s is None else (dtype, tuple(shape[1:]), hop_s))
        return kinds

    def hash(self, row: int) -> int:
        """Return the recorded xxh3 of a member."""
        return self._hashes[row]

    @cached_property
    def _hashes(self) -> "memoryview[int]":
        hashes = pc.fill_null(self._column("xxh3"), 0).to_numpy(zero_copy_only=False)
        return np.asarray(hashes, dtype=np.uint64).data

    def _column(self, name: str) -> pa.Array:
        if name not in self._columns:
            self._columns[name] = self._struct.field(name)
        return self._columns[name]

    def _integers(self, name: str, *, absent: int = 0, dtype: type[np.signedinteger] = np.int64) -> NDArray[Any]:
        return np.asarray(pc.fill_null(self._column(name), absent).to_numpy(zero_copy_only=False), dtype=dtype)


class _Words:
    """A column of few different words, looked up by row in a tenth of the time that Arrow takes."""

    def __init__(self, column: pa.Array) -> None:
        coded = pc.dictionary_encode(column, null_encoding="encode")
        self._words: list[Any] = coded.dictionary.to_pylist()
        self._codes = np.asarray(coded.indices).astype(np.min_scalar_type(len(self._words))).data

    def of(self, row: int) -> Any:
        """Return the word of a row; None where there is none."""
        return self._words[self._codes[row]]


def _setup(setups: Mapping[int, bytes], table: object) -> bytes | None:
    """Return the decoder setup that a seek table refers to."""
    if not isinstance(table, PointTable) or table.setup is None:
        return None
    setup = setups.get(table.setup)
    if setup is None:
        raise FormatError(f"its seek table needs the decoder setup {table.setup:016x}, which the index lacks")
    return setup


_INDEX_READERS = 8  # requests in flight: an index is small, so latency is what it costs
_NONE = -1  # of a column of numbers of at least 0


@dataclass(frozen=True)
class Catalog:
    """A dataset's manifest and the index rows of the splits that were asked for.

    Attributes:
        location: The dataset's folder.
        manifest: Its ``shardkit.json``.
        split: The split as it was asked for: a name, ``all``, or None where nothing was said.
        splits: The splits that are loaded, in the manifest's order.
        shards: Their shards; ``shard_of_row`` counts into these.
        table: Their index rows, in the order of the shards.
        shard_of_row: (row,) int64.
        setups: Decoder setups by hash, to which seek tables refer.
    """

    location: Location
    manifest: Manifest
    split: str | None
    splits: tuple[str, ...]
    shards: tuple[ShardInfo, ...]
    table: pa.Table
    shard_of_row: NDArray[np.int64]
    setups: Mapping[int, bytes]

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy in another process needs: what is derived from the table is derived again there."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def shard(self, row: int) -> int:
        """Return the number of the shard that holds a row."""
        return self._shards[row]

    @cached_property
    def _shards(self) -> "memoryview[int]":
        return self.shard_of_row.data

    @cached_property
    def tars(self) -> tuple[Location, ...]:
        """The tar of each shard."""
        return tuple(resolve(self.location, shard.path) for shard in self.shards)

    @cached_property
    def fields(self) -> dict[str, FieldColumns]:
        """The columns of each field."""
        struct = one_chunk(self.table.column("fields"))
        return {part.name: FieldColumns(part.name, struct.field(part.name), self.setups) for part in struct.type}

    @cached_property
    def ontology(self) -> Ontology | None:
        """How the dataset's classes are related; None: it does not say."""
        classes = self.manifest.ontology
        return None if classes is None else Ontology.from_json([one.model_dump() for one in classes])

    @cached_property
    def _keys(self) -> pa.Array:
        return one_chunk(self.table.column("key"))

    @property
    def content(self) -> Sequence[str]:
        """The hashes that identify the loaded rows."""
        return [shard.index_hash for shard in self.shards]

    def key(self, row: int) -> str:
        """Return the key of a row."""
        return self._keys[row].as_py()  # type: ignore[no-any-return]

    def row_of(self, key: str) -> int:
        """Return the row of a key, or -1."""
        return int(pc.index(self.table.column("key"), key).as_py())

    def tar(self, row: int) -> Location:
        """Return the tar that holds a row."""
        return self.tars[self.shard(row)]

    def place(self, field: str, row: int) -> str:
        """Return where a member lies, for messages."""
        columns = self.fields[field]
        extension = columns.entry(row)["extension"]
        return f"{self.tar(row)}: key {self.key(row)!r}, member {extension!r} at byte {columns.offset[row]:,}"


def load_catalog(location: Location, *, split: str | None) -> Catalog:
    """Return the catalog of a dataset.

    Args:
        location: The dataset's folder.
        split: One split, or None or ``all`` for every one.

    Raises:
        NotFoundError, AccessError, StorageError: It can't be read.
        InputError: No dataset there, or no such split.
        CorruptDataError, FormatError: The manifest or an index is not what it should be.
    """
    manifest = read_manifest(location)
    if split not in (None, "all") and split not in manifest.splits:
        raise InputError(f"{location}: no split {split!r}; it has {', '.join(manifest.splits)}")
    wanted = tuple(manifest.splits) if split in (None, "all") else (str(split),)
    shards = tuple(shard for shard in manifest.shards if shard.split in wanted)
    kinds = {name: info.kind for name, info in manifest.fields.items()}
    if not shards:
        raise FormatError(f"{location}: its manifest names no shards of {', '.join(wanted)}; pack it again")
    with ThreadPoolExecutor(_INDEX_READERS) as pool:
        loaded = list(pool.map(lambda shard: load_shard_index(location, shard, kinds), shards))
    setups = {key: setup for _, found in loaded for key, setup in found.items()}
    table = pa.concat_tables([part for part, _ in loaded]).combine_chunks()
    del loaded
    pa.default_memory_pool().release_unused()  # Arrow would keep what reading and joining took, more than the table
    return Catalog(
        location=location,
        manifest=manifest,
        split=split,
        splits=wanted,
        shards=shards,
        table=table,
        shard_of_row=np.repeat(np.arange(len(shards)), [shard.samples for shard in shards]),
        setups=setups,
    )


def one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array; ``combine_chunks`` would copy it even if it is one."""
    if column.num_chunks == 1:
        return column.chunk(0)
    combined = column.combine_chunks()
    return combined.chunk(0) if isinstance(combined, pa.ChunkedArray) else combined


def load_shard_index(
    location: Location, shard: ShardInfo, kinds: Mapping[str, FieldKind]
) -> tuple[pa.Table, dict[int, bytes]]:
    """Return the index rows of one shard, checked against the manifest, and the decoder setups they refer to."""
    place = location / shard.index
    table, note = read_parsed(
        place, lambda data: load_index(data, where=str(place), expected_hash=shard.index_hash), vouched=True
    )
    if note.get("hash") != shard.hash:
        raise CorruptDataError(
            f"{place}: an index of the tar with hash {note.get('hash')}, the manifest's has {shard.hash}; "
            "write it again with 'shardkit index'"
        )
    if len(table) != shard.samples:
        raise FormatError(f"{place}: {len(table)} rows, the manifest says {shard.samples}")
    check_index(table, kinds, where=str(place))
    return table.replace_schema_metadata(None), setups_of(note, where=str(place))


def read_manifest(location: Location) -> Manifest:
    """Return the manifest of a dataset.

    Raises:
        InputError: There is no dataset; the message says what is there instead.
    """
    place = location / MANIFEST_NAME
    try:
        return read_parsed(place, lambda data: load_manifest(data, where=str(place)), vouched=False)
    except FileNotFoundError:
        if not exists(location) and not is_folder(location):
            raise InputError(f"{location}: nothing there; give the folder of a dataset ({MANIFEST_NAME})") from None
        raise InputError(
            f"{location}: no {MANIFEST_NAME} in it, so no dataset: pack it with 'shardkit pack', finish a pack that "
            "was interrupted by running it again, or adopt existing tars with 'shardkit index'"
        ) from None


@contextmanager
def located(catalog: Catalog, field: str, row: int) -> Iterator[None]:
    """Say in an error where the member lies that it is about."""
    try:
        yield
    except (AudioError, FormatError) as err:
        raise located_error(err, catalog, field, row) from err


def located_error(err: ShardkitError, catalog: Catalog, field: str, row: int) -> ShardkitError:
    """Return an error that says where the member lies that it is about."""
    return type(err)(f"{catalog.place(field, row)}: {err}; run 'shardkit verify {catalog.location}'")
