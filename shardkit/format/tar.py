"""Tar shards: deterministic bytes out, a located list of members in.

The standard library's ``tarfile`` makes each header and parses each header; what is added here is what a shard
needs beyond it: the byte offset of every member, bytes that depend on names and contents alone, and errors that
say where an archive breaks.

Source: POSIX.1-2001 (pax) interchange format; WebDataset's rule for keys, see ``split_name``.
"""

import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from shardkit.core.errors import FormatError

BLOCK = 512  # ustar: headers and data are padded to it
END_OF_ARCHIVE = bytes(2 * BLOCK)
_JOINED_BYTES = 1 << 16  # up to here a copy costs less than two more writes
# Of a plain header: name, 100 bytes; size, 11 digits from byte 124; sum of all bytes, 6 digits from byte 148.
_NAME_BYTES, _MAX_SIZE = 100, 8**11 - 1
_PLAIN = tarfile.TarInfo("").tobuf(format=tarfile.PAX_FORMAT)
_PLAIN_SUM = int(_PLAIN[148:154], 8) - sum(_PLAIN[124:135])
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}  # first bytes


@dataclass(frozen=True, slots=True)
class TarMember:
    """One regular file of a tar: ``size`` bytes of data from byte ``offset`` of the archive."""

    name: str
    offset: int
    size: int


class Sink(Protocol):
    """What a tar is written to."""

    def write(self, data: bytes, /) -> object:
        """Append ``data``."""


class TarWriter:
    """Writes members one after another; the bytes depend on the names and contents only.

    Every header has mode 0644, owner 0 and time 0. Names beyond ustar's 100 bytes, or outside ASCII, get a pax
    header, which every current tar program and ``tarfile`` read.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.position = 0

    def add(self, name: str, data: bytes) -> TarMember:
        """Append a member and return where its data lies."""
        header, padding = _header(name, len(data)), bytes(-len(data) % BLOCK)
        member = TarMember(name, self.position + len(header), len(data))
        if len(data) < _JOINED_BYTES:
            self._write(b"".join([header, data, padding]))
        else:
            for part in (header, data, padding):
                self._write(part)
        return member

    def add_parts(self, name: str, size: int, parts: Iterable[bytes]) -> TarMember:
        """Append a member that is not in memory as a whole, and return where its data lies.

        Args:
            name: Of the member.
            size: Its bytes.
            parts: These bytes, in order; taken one at a time.

        Raises:
            FormatError: The parts are not ``size`` bytes together; what was written is no tar then.
        """
        header = _header(name, size)
        self._write(header)
        member = TarMember(name, self.position, size)
        for part in parts:
            self._write(part)
        if self.position != member.offset + size:
            raise FormatError(
                f"member {name!r} was said to have {size:,} bytes, {self.position - member.offset:,} came"
            )
        self._write(bytes(-size % BLOCK))
        return member

    def close(self) -> None:
        """Write the end-of-archive mark; the sink stays open."""
        self._write(END_OF_ARCHIVE)

    def _write(self, data: bytes) -> None:
        self._sink.write(data)
        self.position += len(data)


def _header(name: str, size: int) -> bytes:
    """Return the header that ``tarfile`` makes; where it is a plain one, a thirtieth of the time."""
    if len(name) <= _NAME_BYTES and name.isascii() and size <= _MAX_SIZE:
        octets, digits = name.encode(), b"%011o" % size
        checksum = _PLAIN_SUM + sum(octets) + sum(digits)
        return b"".join(
            [
                octets.ljust(_NAME_BYTES, b"\0"),
                _PLAIN[100:124],
                digits,
                _PLAIN[135:148],
                b"%06o" % checksum,
                _PLAIN[154:],
            ]
        )
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(format=tarfile.PAX_FORMAT)


def scan(file: BinaryIO, *, where: str) -> Iterator[TarMember]:
    """Yield the regular files of an uncompressed tar, in order.

    Args:
        file: Seekable, positioned at the start of the archive.
        where: Name of the archive, for messages.

    Raises:
        FormatError: It is not a tar, is compressed, or ends in the middle; the message gives the byte.
    """
    last: TarMember | None = None
    size = file.seek(0, 2)
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for info in archive:
                _check_plain(info)
                if info.isreg():
                    last = TarMember(info.name, info.offset_data, info.size)
                    if last.offset + last.size > size:
                        break
                    yield last
            next_header = archive.offset
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as err:
        compression = _compression(file)
        if last is None and compression is not None:
            raise FormatError(
                f"{where}: compressed by {compression}; decompress it first, since parts of a compressed tar can't be "
                "read alone"
            ) from err
        at = "at its start" if last is None else f"after member {last.name!r} (byte {last.offset + last.size:,})"
        raise FormatError(f"{where}: not a whole uncompressed tar: {err} {at} of {size:,} bytes") from err
    end = 0 if last is None else last.offset + last.size
    if end > size and last is not None:
        raise FormatError(
            f"{where}: cut off in the middle: member {last.name!r} should end at byte {end:,}, the file has {size:,}"
        )
    _check_end(file, next_header, size=size, where=where)


def _check_plain(info: tarfile.TarInfo) -> None:
    """Raise for what can't be one stretch of bytes.

    A size below zero would lead back to a header that was read, for ever; the parts of a sparse file lie elsewhere.
    """
    if info.size < 0 or info.issparse():
        found = "is a sparse file" if info.issparse() else f"has {info.size:,} bytes"
        raise tarfile.TarError(f"member {info.name!r} at byte {info.offset:,} {found}")


def split_name(name: str) -> tuple[str, str] | None:
    """Return (key, extension) of a member's name, or None for a name that WebDataset passes over.

    WebDataset's rule: the key is everything up to the first dot of the last path component, the extension is what
    follows that dot. Names without a dot, or with nothing before it, carry no key.

    >>> split_name("win/Apex Aleph.vocals.flac")
    ('win/Apex Aleph', 'vocals.flac')
    """
    folder, slash, base = name.rpartition("/")
    stem, dot, extension = base.partition(".")
    if not dot or not stem or not extension:
        return None
    return folder + slash + stem, extension


def _compression(file: BinaryIO) -> str | None:
    file.seek(0)
    magic = file.read(max(map(len, _COMPRESSED)))
    return next((name for start, name in _COMPRESSED.items() if magic.startswith(start)), None)


def _check_end(file: BinaryIO, next_header: int, *, size: int, where: str) -> None:
    """Raise unless the listing stopped at an end-of-archive mark, and the file closes with one.

    ``tarfile`` takes a missing mark, or a header that is damaged, for the end: without this an archive cut between two
    members, or with a flipped bit in a header, would lose members unnoticed.
    """
    file.seek(next_header)
    if any(file.read(BLOCK)):
        raise FormatError(f"{where}: damaged: no tar header at byte {next_header:,} of {size:,}; write it again")
    file.seek(max(0, size - len(END_OF_ARCHIVE)))
    if file.read() != END_OF_ARCHIVE:
        raise FormatError(
            f"{where}: cut off: its {size:,} bytes do not close with the end-of-archive mark; copy or write it again"
        )
