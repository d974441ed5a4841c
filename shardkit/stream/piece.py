"""A piece of audio: some samples of one member, the bytes that hold them, and how those are decoded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from shardkit.audio.decode import AudioMember, byte_range, decode
from shardkit.core.errors import CorruptDataError, ShardkitError
from shardkit.core.ranges import coalesce
from shardkit.format.hashing import member_hash
from shardkit.format.index import PRIMARY
from shardkit.storage.location import Location
from shardkit.storage.store import read_range
from shardkit.storage.traffic import Traffic
from shardkit.stream.catalog import Catalog, located

# Bytes worth fetching in vain to save a request. Between neighbours in a tar lie headers and the sample's KEY.json, two
# or three KB; more may be what another rank reads as well.
MAX_GAP = 4 * 1024
MAX_READ = 8 * 1024 * 1024  # beyond this, one request no longer costs noticeably less than two


@dataclass(frozen=True, slots=True)
class Piece:
    """Samples [start, stop) of an audio member, at its own rate; its bytes are [lo, hi) of the tar."""

    catalog: Catalog
    field: str
    row: int
    member: AudioMember
    start: int
    stop: int
    lo: int
    hi: int

    @classmethod
    def of(cls, catalog: Catalog, field: str, row: int, start: int, stop: int) -> Self:
        """Return the piece for samples [start, stop) of a member."""
        columns = catalog.fields[field]
        with located(catalog, field, row):
            member = columns.member(row)
            first, last = byte_range(member, start, stop)
        offset = int(columns.offset[row])
        return cls(catalog, field, row, member, start, stop, offset + first, offset + last)

    @property
    def tar(self) -> Location:
        """The tar that holds it."""
        return self.catalog.tar(self.row)

    def explained(self, error: ShardkitError) -> ShardkitError:
        """Return an error of reading the tar that says which sample it struck."""
        return type(error)(f"{error} (key {self.catalog.key(self.row)!r}, field {self.field!r})")

    def decode(self, data: bytes | memoryview) -> NDArray[np.float32]:
        """Return the samples, (channel, time), from the bytes [lo, hi) of the tar.

        Raises:
            CorruptDataError: The whole member was read and its bytes are not those that were packed.
            AudioError: The bytes can't be decoded.
            FormatError: What the index says of the member contradicts itself.
        """
        if len(data) == self.member.size:
            check_member(self.catalog, self.field, self.row, data)
        first = self.lo - int(self.catalog.fields[self.field].offset[self.row])
        with located(self.catalog, self.field, self.row):
            return decode(self.member, data, first, self.start, self.stop)


def pieces_of(catalog: Catalog, fields: Sequence[str], row: int, start: int, stop: int) -> list[Piece]:
    """Return the pieces of some audio fields of a sample that lie at samples [start, stop) of its primary audio.

    Fields that the sample does not have, or that end before, give none.
    """
    pieces = []
    primary = catalog.fields[PRIMARY]
    for field in fields:
        columns = catalog.fields.get(field)
        if columns is None or not columns.present[row]:
            continue
        first, last = start, stop
        if field != PRIMARY:
            first, last = stem_bounds(
                start,
                stop,
                rate=int(primary.sample_rate[row]),
                stem_rate=int(columns.sample_rate[row]),
                stem_frames=int(columns.frames[row]),
            )
        if first < last:
            pieces.append(Piece.of(catalog, field, row, first, last))
    return pieces


@dataclass(frozen=True, slots=True)
class Join:
    """Bytes [lo, hi) of a tar that hold some pieces; each comes with the number that it was asked for with."""

    tar: Location
    lo: int
    hi: int
    pieces: list[tuple[int, Piece]]

    def slice_of(self, piece: Piece, data: memoryview) -> memoryview:
        """Return the bytes of a piece from those of the join."""
        return data[piece.lo - self.lo : piece.hi - self.lo]


def joined(pieces: Iterable[tuple[int, Piece]]) -> list[Join]:
    """Return what to read for some pieces, tar by tar: those that touch, or nearly, are read together."""
    by_tar: dict[Location, list[tuple[int, Piece]]] = {}
    for number, piece in pieces:
        by_tar.setdefault(piece.tar, []).append((number, piece))
    joins = []
    for tar, listed in by_tar.items():
        merged = coalesce(
            np.array([piece.lo for _, piece in listed]),
            np.array([piece.hi for _, piece in listed]),
            max_gap=MAX_GAP,
            max_size=MAX_READ,
        )
        of_tar = [Join(tar, int(lo), int(hi), []) for lo, hi in zip(merged.starts, merged.stops, strict=True)]
        for asked, group in zip(listed, merged.group_of, strict=True):
            of_tar[group].pieces.append(asked)
        joins += of_tar
    return joins


def read_audio(catalog: Catalog, field: str, row: int, start: int, stop: int) -> NDArray[np.float32]:
    """Return samples [start, stop) of an audio member, (channel, time), at the member's own rate."""
    piece = Piece.of(catalog, field, row, start, stop)
    return piece.decode(read_range(piece.tar, piece.lo, piece.hi))


def read_member(catalog: Catalog, field: str, row: int, *, traffic: Traffic | None = None) -> bytes:
    """Return the bytes of a whole member, checked against the index."""
    columns = catalog.fields[field]
    offset, size = int(columns.offset[row]), int(columns.size[row])
    data = read_range(catalog.tar(row), offset, offset + size, traffic=traffic)
    check_member(catalog, field, row, data)
    return data


def check_member(catalog: Catalog, field: str, row: int, data: bytes | memoryview) -> None:
    """Raise unless these are the bytes of the member that were packed."""
    if member_hash(data) != catalog.fields[field].hash(row):
        raise CorruptDataError(
            f"{catalog.place(field, row)}: its {len(data):,} bytes differ from those that were packed (xxh3); "
            f"run 'shardkit verify {catalog.location}'"
        )


def stem_bounds(start: int, stop: int, *, rate: int, stem_rate: int, stem_frames: int) -> tuple[int, int]:
    """Return the samples of a stem that fall on samples [start, stop) of the primary audio.

    The start is rounded down and the end up to whole samples of the stem, and both are cut at its end.
    """
    return min(start * stem_rate // rate, stem_frames), min(-(-stop * stem_rate // rate), stem_frames)
