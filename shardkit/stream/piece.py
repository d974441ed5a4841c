"""A piece: the bytes of one member that a crop needs, and what they become."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from shardkit.audio.decode import AudioMember, Needed, decode, decode_into, needed_for
from shardkit.audio.facts import AudioFacts
from shardkit.core.errors import AudioError, CorruptDataError, FormatError, ShardkitError
from shardkit.format.arrays import ArrayLayout, check_rows, read_array, rows_between
from shardkit.format.hashing import member_hash
from shardkit.format.index import PRIMARY
from shardkit.storage.location import Location
from shardkit.stream.catalog import Catalog, FieldColumns, located, located_error

_LOG = logging.getLogger(__name__)
SMALL_ARRAY = 16 * 1024  # bytes that are read whole rather than by rows: they can then be compared with their hash


@dataclass(slots=True, kw_only=True, eq=False)
class Piece:
    """Bytes [lo, hi) of a tar that hold what a crop needs of one member.

    Attributes:
        source: The number of the stream's source that it is read for.
        catalog, field, row: Which member it is of.
        shard: Number of the shard that holds it.
        lo, hi: Its bytes.
        is_whole: Whether it is the whole member.
    """

    source: int
    catalog: Catalog
    field: str
    row: int
    shard: int
    lo: int
    hi: int
    is_whole: bool

    @property
    def tar(self) -> Location:
        """The tar that holds it."""
        return self.catalog.tars[self.shard]

    def whole(self) -> Self | None:
        """Return the piece with all bytes of the member, which need no seek table; None: there is none other."""
        return None

    def value(self, data: bytes | memoryview) -> Any:
        """Return what the bytes [lo, hi) of the tar hold.

        Raises:
            CorruptDataError: The whole member was read and its bytes are not those that were packed.
            AudioError, FormatError: The bytes can't be decoded, or the index contradicts itself.
        """
        raise NotImplementedError

    def explained(self, error: ShardkitError) -> ShardkitError:
        """Return an error of reading the tar that says which sample it struck."""
        return type(error)(f"{error} (key {self.catalog.key(self.row)!r}, field {self.field!r})")

    def check_whole(self, data: bytes | memoryview) -> None:
        """Raise unless a whole member's bytes are those that were packed; of a part nothing is known."""
        if self.is_whole and member_hash(data) != self.catalog.fields[self.field].hash(self.row):
            raise CorruptDataError(
                f"{self.catalog.place(self.field, self.row)}: its {len(data):,} bytes differ from those that were "
                f"packed (xxh3); run 'shardkit verify {self.catalog.location}'"
            )


@dataclass(slots=True, kw_only=True, eq=False)
class AudioPiece(Piece):
    """Samples [start, stop) of an audio member, at its own rate."""

    member: AudioMember
    start: int
    stop: int
    needed: Needed

    @classmethod
    def of(cls, catalog: Catalog, field: str, row: int, start: int, stop: int, *, source: int = 0) -> Self:
        """Return the piece for samples [start, stop) of a member.

        Where its seek table is none, or leads out of the member, it is the whole member, which needs no table.

        Raises:
            FormatError, InputError: What the index says of the member can't be.
        """
        columns = catalog.fields[field]
        facts = columns.facts(row)
        offset, size = columns.place(row)
        # All of a member has a hash; a table is for parts of it. Of a WAV, nothing beside the samples is read.
        if start == 0 and 0 < stop == facts.frames and facts.codec != "wav":
            member, needed = AudioMember(facts, size), Needed(0, size, start, stop)
        else:
            member, needed = _part_of(catalog, columns, row, facts, start, stop)
        return cls(
            source=source,
            catalog=catalog,
            field=field,
            row=row,
            shard=catalog.shard(row),
            lo=offset + needed.lo,
            hi=offset + needed.hi,
            is_whole=needed.hi - needed.lo == size,
            member=member,
            start=start,
            stop=stop,
            needed=needed,
        )

    def whole(self) -> Self | None:
        """Return the piece with all bytes of the member; None where it has no seek table that could be wrong."""
        if self.is_whole or self.member.seek_table is None:
            return None
        member, offset = replace(self.member, seek_table=None), self.lo - self.needed.lo
        needed = needed_for(member, self.start, self.stop)
        return replace(self, member=member, needed=needed, lo=offset, hi=offset + member.size, is_whole=True)

    def value(self, data: bytes | memoryview) -> NDArray[np.float32]:
        """Return the samples, (channel, time); see ``Piece.value``."""
        self.check_whole(data)
        with located(self.catalog, self.field, self.row):
            return decode(self.member, data, self.needed.lo, self.start, self.stop, self.needed)

    def put(self, data: bytes | memoryview, out: NDArray[Any]) -> None:
        """Put the samples where they shall go, (channel, time) of float32 or int16; else as ``value``."""
        self.check_whole(data)
        try:
            decode_into(out, self.member, data, self.needed.lo, self.start, self.stop, self.needed)
        except (AudioError, FormatError) as err:
            raise located_error(err, self.catalog, self.field, self.row) from err


@dataclass(slots=True, kw_only=True, eq=False)
class RowsPiece(Piece):
    """Some rows of an array."""

    layout: ArrayLayout

    def value(self, data: bytes | memoryview) -> NDArray[Any]:
        """Return the rows, (row, ...)."""
        return self.layout.rows(data)


@dataclass(slots=True, kw_only=True, eq=False)
class ValuePiece(Piece):
    """A member that is read whole: a text, JSON, bytes, or an array of which the rows of ``rows`` are taken."""

    rows: tuple[int, int] | None = None

    def value(self, data: bytes | memoryview) -> Any:
        """Return text, parsed JSON, an array, or bytes; see ``Piece.value``."""
        self.check_whole(data)
        kind, raw = self.catalog.manifest.fields[self.field].kind, bytes(data)
        if kind == "binary":
            return raw
        try:
            if kind == "array":
                return self._array(raw)
            return json.loads(raw) if kind == "json" else raw.decode()
        except (ValueError, RecursionError) as err:
            found = {"json": "not JSON: ", "text": "not text in UTF-8: "}.get(kind, "")
            raise CorruptDataError(f"{self.catalog.place(self.field, self.row)}: {found}{err}") from err

    def _array(self, data: bytes) -> NDArray[Any]:
        array, _ = read_array(data)
        check_rows(array, self.catalog.fields[self.field].hop_s(self.row))
        return array if self.rows is None else array[slice(*self.rows)]


def _part_of(
    catalog: Catalog, columns: FieldColumns, row: int, facts: AudioFacts, start: int, stop: int
) -> tuple[AudioMember, Needed]:
    """Return what is known of a member, and what some of its samples need."""
    try:
        member = columns.member_of(row, facts)
        return member, needed_for(member, start, stop)
    except FormatError as err:
        with located(catalog, columns.name, row):
            member = AudioMember(facts, columns.place(row)[1])
            needed = needed_for(member, start, stop)
        _LOG.warning(
            "%s: its seek table is wrong (%s), so the whole member is read; run 'shardkit verify %s'",
            catalog.place(columns.name, row),
            err,
            catalog.location,
        )
        return member, needed


def pieces_of(
    catalog: Catalog, fields: Sequence[str], row: int, start: int, stop: int, *, source: int = 0
) -> list[Piece]:
    """Return the pieces of some fields of a sample that lie at samples [start, stop) of its primary audio.

    Fields that the sample does not have, and audio that ends before, give none.

    Raises:
        FormatError, InputError: What the index says of a member can't be.
    """
    pieces: list[Piece] = []
    rate = 0
    for field in fields:
        columns = catalog.fields.get(field)
        if columns is None or not columns.has(row):
            continue
        if field == PRIMARY:
            pieces.append(AudioPiece.of(catalog, field, row, start, stop, source=source))
            continue
        rate = rate or catalog.fields[PRIMARY].rate(row)
        if not columns.is_audio:
            pieces.append(_other_piece(catalog, columns, row, start / rate, stop / rate, source))
            continue
        first, last = stem_bounds(
            start, stop, rate=rate, stem_rate=columns.rate(row), stem_frames=int(columns.frames[row])
        )
        if first < last:
            pieces.append(AudioPiece.of(catalog, field, row, first, last, source=source))
    return pieces


def whole_member(catalog: Catalog, field: str, row: int) -> ValuePiece:
    """Return the piece that is all of a member, whatever its kind."""
    offset, size = catalog.fields[field].place(row)
    return ValuePiece(
        source=0,
        catalog=catalog,
        field=field,
        row=row,
        shard=catalog.shard(row),
        lo=offset,
        hi=offset + size,
        is_whole=True,
    )


def stem_bounds(start: int, stop: int, *, rate: int, stem_rate: int, stem_frames: int) -> tuple[int, int]:
    """Return the samples of a stem that fall on samples [start, stop) of the primary audio.

    The start is rounded down and the end up to whole samples of the stem, and both are cut at its end.
    """
    return min(start * stem_rate // rate, stem_frames), min(-(-stop * stem_rate // rate), stem_frames)


def _other_piece(
    catalog: Catalog, columns: FieldColumns, row: int, start_s: float, stop_s: float, source: int
) -> Piece:
    whole = replace(whole_member(catalog, columns.name, row), source=source)
    hop_s = columns.hop_s(row) if catalog.manifest.fields[columns.name].kind == "array" else None
    if hop_s is None:
        return whole
    first, last = rows_between(start_s, stop_s, hop_s)
    layout = columns.layout(row)
    if layout is None or whole.hi - whole.lo <= SMALL_ARRAY:
        return replace(whole, rows=(first, last))
    first, last = (min(bound, layout.shape[0]) for bound in (first, last))
    lo, hi = layout.byte_range(first, last)
    with located(catalog, columns.name, row):
        if not 0 < lo <= hi <= whole.hi - whole.lo:
            raise FormatError(f"rows {first} to {last} at bytes {lo} to {hi} of {whole.hi - whole.lo}")
    return RowsPiece(
        source=source,
        catalog=catalog,
        field=columns.name,
        row=row,
        shard=whole.shard,
        lo=whole.lo + lo,
        hi=whole.lo + hi,
        is_whole=hi - lo == whole.hi - whole.lo,
        layout=layout,
    )
