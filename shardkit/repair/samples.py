"""Which samples of a tar are whole, told from what lies in it (``walk``) and from what its index says (``evidence``).

    a member's bytes have the checksum that the index gives       proven: whole, whatever became of its header
    they have another one                                         broken, unless asked to accept what decodes
    no index says anything of it                                  to be decoded; what decodes is kept, as not proven
    its header is gone, and no index knows its place              a gap: the sample around it is not whole

A sample is kept whole or not at all.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from shardkit.format.hashing import MemberHash
from shardkit.format.tar import BLOCK, TarMember, split_name
from shardkit.repair.evidence import Entry
from shardkit.repair.walk import Walked

_CHUNK = 1 << 20


@dataclass(slots=True)
class Sample:
    """A sample as it was found.

    Attributes:
        key: Its key.
        members: (extension, where it lies), in the order of the tar; in a broken sample maybe cut off.
        proven: Whether the index's checksums say that each member is whole, and that there is no other.
        fault: Why it can't be kept; None: nothing is known against it.
    """

    key: str
    members: list[tuple[str, TarMember]] = field(default_factory=list)
    proven: bool = True
    fault: str | None = None


@dataclass(slots=True)
class Sorted:
    """What a tar holds.

    Attributes:
        samples: In the order of the tar.
        loose: Members that no sample has, with the reason.
        gaps: Bytes [start, stop) that are no member.
        lost: Keys of samples of which nothing is left.
        apart: Whether members of a sample lie behind those of another one, so that WebDataset makes two of it.
    """

    samples: list[Sample] = field(default_factory=list)
    loose: list[tuple[TarMember, str]] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    apart: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """How to sort a tar.

    Attributes:
        sound: Its bytes are those that were packed: every member is what it says.
        trusted: The index is the one that was packed: what it does not list is no part of the dataset.
        accept: Take members whose bytes have changed for good if they can be decoded.
        closed_by_json: KEY.json ends each sample, so one with a recording and that is whole.
        prefix: What keys have in front of the names in the tar.
    """

    sound: bool
    trusted: bool
    accept: bool
    closed_by_json: bool
    prefix: str


@dataclass(slots=True)
class _Piece:
    """A member, with what is known of it."""

    member: TarMember
    proven: bool = False
    fault: str | None = None


def sort_samples(file: BinaryIO, walked: Walked, entries: Sequence[Entry], question: Question) -> Sorted:
    """Return the samples of a tar, told whole from broken.

    Args:
        file: The tar.
        walked: What lies in it.
        entries: What its index says, if it says anything.
        question: How to judge.
    """
    found = Sorted()
    if question.sound:
        pieces = [_Piece(member, proven=True) for member in walked.members]
    else:
        pieces = _pieces(file, walked, entries, question)
        found.gaps = list(_between(walked.gaps, pieces, walked.size))
    by_key: dict[str, list[tuple[str, _Piece]]] = {}
    last = None
    for piece in pieces:
        name = split_name(piece.member.name)
        if name is None:
            found.loose.append((piece.member, "its name has no key"))
        else:
            key = question.prefix + name[0]
            found.apart |= key in by_key and key != last
            by_key.setdefault(key, []).append((name[1], piece))
            last = key
    known: dict[str, list[str]] = {}
    for entry in entries:
        known.setdefault(entry.key, []).append(entry.name)
    holes = _holes(pieces, found.gaps, question)
    for key, parts in by_key.items():
        if question.trusted and not question.sound and key not in known and not question.accept:
            found.loose += [(piece.member, "the index does not know its sample") for _, piece in parts]
            continue
        found.samples.append(_sample(key, parts, known.get(key, ()), question, holes=holes))
    there = {piece.member.offset for piece in pieces}  # under whatever key
    left = by_key.keys() | {entry.key for entry in entries if entry.offset in there}
    found.lost = [key for key in known if key not in left]
    return found


def _pieces(file: BinaryIO, walked: Walked, entries: Sequence[Entry], question: Question) -> list[_Piece]:
    """Return the members that the tar or the index says are there, in the order of their bytes, none within another."""
    proven = {
        entry.offset: entry
        for entry in entries
        if entry.offset + entry.size <= walked.size and _hash(file, entry.offset, entry.size) == entry.xxh3
    }
    named = {entry.name: entry for entry in entries}
    headers = {member.offset: member for member in walked.members}
    pieces = []
    for offset, entry in proven.items():
        header = headers.get(offset)  # its name has a checksum of its own; that of a damaged index has none
        told = header if header is not None and header.size == entry.size and not question.trusted else None
        pieces.append(_Piece(told or TarMember(entry.name, offset, entry.size), proven=True))
    taken = sorted((piece.member.offset, piece.member.offset + piece.member.size) for piece in pieces)
    have = {piece.member.name for piece in pieces}
    for member in walked.members:
        if member.offset not in proven and not _overlaps(taken, member.offset, member.offset + member.size):
            piece = _read(file, member, named.get(member.name), walked.size)
            if member.name not in have or piece.fault is None:
                pieces.append(piece)
                have.add(member.name)
    for entry in entries:
        if entry.name not in have and entry.offset < walked.size:
            stop = min(entry.offset + entry.size, walked.size)
            if not _overlaps(taken, entry.offset, stop):
                fault = "its bytes are not those that were packed, and its header is damaged"
                if entry.offset + entry.size > walked.size:
                    fault = _cut(walked.size, entry.offset, entry.size)
                pieces.append(_Piece(TarMember(entry.name, entry.offset, stop - entry.offset), fault=fault))
    return sorted(pieces, key=lambda piece: piece.member.offset)


def _read(file: BinaryIO, member: TarMember, entry: Entry | None, size: int) -> _Piece:
    """Return what is known of a member that is not where an index has it, or of which it has another checksum."""
    if member.offset + member.size > size:
        kept = TarMember(member.name, member.offset, max(0, size - member.offset))
        return _Piece(kept, fault=_cut(size, member.offset, member.size))
    if entry is None:
        return _Piece(member)
    if entry.size == member.size and _hash(file, member.offset, member.size) == entry.xxh3:
        return _Piece(member, proven=True)  # moved
    return _Piece(member, fault="its bytes are not those that were packed (xxh3)")


def _cut(size: int, offset: int, length: int) -> str:
    return f"the tar ends at byte {size:,}, before its {length:,} bytes from {offset:,} on do"


def _sample(
    key: str, parts: Sequence[tuple[str, _Piece]], listed: Sequence[str], question: Question, *, holes: set[int]
) -> Sample:
    sample = Sample(key, [(extension, piece.member) for extension, piece in parts])
    sample.proven = question.sound or all(piece.proven for _, piece in parts)
    if question.sound:
        return sample
    names = {piece.member.name for _, piece in parts}
    for extension, piece in parts:
        if piece.fault is not None and not (question.accept and "xxh3" in piece.fault):
            sample.fault = sample.fault or f"member {extension!r} at byte {piece.member.offset:,}: {piece.fault}"
    absent = [name for name in listed if name not in names]
    if absent:
        sample.fault = sample.fault or f"its member {absent[0]!r} is not in the tar any more"
    if not sample.proven and not listed and any(piece.member.offset in holes for _, piece in parts):
        sample.fault = sample.fault or "the tar is damaged beside it, and no index says whether a member is gone"
    return sample


def _holes(pieces: Sequence[_Piece], gaps: Sequence[tuple[int, int]], question: Question) -> set[int]:
    """Return the offsets of members beside which there may have been another one of the same sample."""
    starts = [piece.member.offset for piece in pieces]
    found = set()
    for start, _ in gaps:
        after = bisect_left(starts, start)
        beside = [pieces[number].member for number in (after - 1, after) if 0 <= number < len(pieces)]
        keys = {(split_name(member.name) or (None,))[0] for member in beside}
        if (len(beside) == 2 and len(keys) == 1) or not question.closed_by_json:
            found |= {member.offset for member in beside}
    return found


def _between(gaps: Sequence[tuple[int, int]], pieces: Sequence[_Piece], size: int) -> Iterator[tuple[int, int]]:
    """Yield what of the gaps is no member that an index has found there."""
    starts = [piece.member.offset for piece in pieces]
    for start, stop in gaps:
        position = start
        for piece in pieces[max(0, bisect_left(starts, start) - 1) : bisect_left(starts, stop)]:
            first, last = piece.member.offset, piece.member.offset + piece.member.size
            if position < first:
                yield position, first
            if last > position:
                position = min(size, -(-last // BLOCK) * BLOCK)
        if position < stop:
            yield position, stop


def _overlaps(taken: Sequence[tuple[int, int]], start: int, stop: int) -> bool:
    """Tell whether bytes [start, stop) have some in common with one of the stretches, which are sorted and apart."""
    at = bisect_left(taken, (stop, stop))
    return any(first < stop and start < last for first, last in taken[max(0, at - 1) : at])


def _hash(file: BinaryIO, offset: int, size: int) -> int:
    file.seek(offset)
    running = MemberHash()
    while size > 0 and (data := file.read(min(size, _CHUNK))):
        running.update(data)
        size -= len(data)
    return running.value()
