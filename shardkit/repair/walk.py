"""Every member of a tar that can still be told, however damaged the tar: after a bad header the search goes on.

    whole    [H][data]   [H][data]   [H][data]   [zeros]
    damaged  [H][data]   [?][data    .... ][H]   ....         a header that is none
              member      gap               member            the gap ends where the next header is

``tarfile`` ends its listing at such a place, in silence or with an error, and so loses all that follows.

Source: POSIX.1-2001 (pax) for the blocks; headers are parsed by the standard library.
"""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from shardkit.format.tar import BLOCK, END_OF_ARCHIVE, TarMember

_MAX_EXTENDED = 1 << 20  # bytes of a pax header or of a GNU long name; more is damage
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME)
_ZERO = bytes(BLOCK)


@dataclass(slots=True)
class Walked:
    """What lies in a tar.

    Attributes:
        members: Regular files with a sound header, in order; the last one may reach beyond the end of the file.
        gaps: Bytes [start, stop) that are no member, no header and not zeros, in order.
        size: Bytes of the file.
        closed: Whether it closes with the end-of-archive mark.
    """

    members: list[TarMember] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    size: int = 0
    closed: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether any tar reader sees the same members."""
        end = self.members[-1].offset + self.members[-1].size if self.members else 0
        return self.closed and not self.gaps and end <= self.size


def walk(file: BinaryIO) -> Walked:
    """Return what lies in a tar, read a header at a time: its members' data is passed over."""
    found = Walked(size=file.seek(0, os.SEEK_END))
    file.seek(max(0, found.size - len(END_OF_ARCHIVE)))
    found.closed = file.read() == END_OF_ARCHIVE
    position, zeros = 0, 0
    while position < found.size:
        header = _header(file, position)
        if header is None:
            position, zeros = _pass_over(file, position, found, zeros)
            continue
        if zeros:  # what other tar readers take for the end lies in the middle
            found.gaps.append((position - zeros * BLOCK, position))
            zeros = 0
        member, position = header
        if member is not None:
            found.members.append(member)
    return found


def _pass_over(file: BinaryIO, position: int, found: Walked, zeros: int) -> tuple[int, int]:
    """Pass over a block that is no header; return where to go on, and how many blocks of zeros lie before that."""
    file.seek(position)
    if file.read(BLOCK) == _ZERO:
        return position + BLOCK, zeros + 1
    start, stop = position - zeros * BLOCK, min(position + BLOCK, found.size)
    if found.gaps and found.gaps[-1][1] == start:
        start = found.gaps.pop()[0]
    found.gaps.append((start, stop))
    return position + BLOCK, 0


def _header(file: BinaryIO, position: int) -> tuple[TarMember | None, int] | None:
    """Return the member whose header begins at a byte, None for a folder or a link, and where the next one begins.

    None: no sound header is there.
    """
    name, size = None, None
    for _ in range(4):  # a pax header and a long name may go before a member's own
        file.seek(position)
        info = _parsed(file.read(BLOCK))
        if info is None:
            return None
        if info.type not in _EXTENDED:
            length = info.size if size is None else size
            regular = info.isreg()
            member = TarMember(info.name if name is None else name, position + BLOCK, length) if regular else None
            return member, position + BLOCK + (_padded(length) if regular else 0)
        if not 0 <= info.size <= _MAX_EXTENDED:
            return None
        content = file.read(info.size)
        if info.type == tarfile.GNUTYPE_LONGNAME:
            name = content.rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif info.type != tarfile.XGLTYPE:
            records = dict(_pax_records(content))
            name = records.get("path", name)
            size = int(records["size"]) if records.get("size", "").isdecimal() else size
        position += BLOCK + _padded(info.size)
    return None


def _parsed(block: bytes) -> tarfile.TarInfo | None:
    if len(block) < BLOCK or block == _ZERO:
        return None
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")  # checks the checksum of the header
    except (tarfile.HeaderError, ValueError):
        return None
    return info if info.size >= 0 and info.name else None


def _pax_records(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield the (keyword, value) records of a pax header, ``LENGTH KEYWORD=VALUE`` and a line feed, while sound."""
    while content:
        digits, space, _ = content.partition(b" ")
        if not space or not digits.isdigit() or not len(digits) < int(digits) <= len(content):
            return
        keyword, equals, value = content[len(digits) + 1 : int(digits) - 1].partition(b"=")
        if not equals:
            return
        yield keyword.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")
        content = content[int(digits) :]


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
