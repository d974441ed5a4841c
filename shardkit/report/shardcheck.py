"""Checks of one shard: its index, its tar, and the one against the other."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from shardkit.core.errors import CorruptDataError, InputError, NotFoundError, StorageError
from shardkit.format.manifest import Manifest, ShardInfo
from shardkit.format.tar import BLOCK, TarMember, split_name
from shardkit.pack.fields import JSON_FIELD
from shardkit.report.deepcheck import content_problems
from shardkit.report.indexcheck import check_index
from shardkit.report.onepass import OnePass, Span
from shardkit.report.problems import REINDEX, REMANIFEST, RESTORE, Kind, Problem
from shardkit.storage.location import Location
from shardkit.storage.reference import resolve
from shardkit.storage.store import is_folder, size


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardCheckOptions:
    """What the checks of all shards share.

    Attributes:
        dataset: The dataset's folder.
        manifest: Its manifest.
        deep: Whether to decode members.
        unindexed: Samples of adopted tars that ``shardkit index`` left out and listed, as ``TAR/KEY``.
        progress: Called with bytes of tars read.
    """

    dataset: Location
    manifest: Manifest
    deep: bool
    unindexed: frozenset[str]
    progress: Callable[[int], None]


@dataclass(slots=True)
class ShardCheck:
    """What checking a shard found."""

    problems: list[Problem] = field(default_factory=list)
    keys: pa.Array = field(default_factory=lambda: pa.array([], pa.string()))
    members: int = 0
    bytes: int = 0
    hash: str | None = None  # of the tar as it was found; None: it could not be read to its end


@dataclass(frozen=True, slots=True)
class _Entry:
    """A member as the index has it."""

    key: str
    name: str  # of the tar's member
    field: str
    facts: Mapping[str, Any]
    labels: Sequence[str]


def check_shard(shard: ShardInfo, options: ShardCheckOptions) -> ShardCheck:
    """Return what is wrong with a shard; goes on after each problem.

    Raises:
        AccessError, StorageError: The storage can't be read; a file that is missing is a problem, not an error.
    """
    return _Checker(shard, options).run()


class _Checker:
    """Checks one shard: the index first, since it says where the tar's members should be."""

    def __init__(self, shard: ShardInfo, options: ShardCheckOptions) -> None:
        self._shard = shard
        self._options = options
        self._found = ShardCheck()
        self._entries: list[_Entry] = []

    def run(self) -> ShardCheck:
        index = check_index(self._shard, self._options.dataset, self._options.manifest)
        self._found.problems += index.problems
        self._found.keys = index.keys
        try:
            tar = resolve(self._options.dataset, self._shard.path)
            num_bytes = size(tar)
        except InputError as err:
            self._add("tar-missing", f"its path can't be one: {err}", REMANIFEST)
        except NotFoundError:
            self._add("tar-missing", "there is no such tar", RESTORE)
        except StorageError:
            if not is_folder(tar):
                raise
            self._add("tar-missing", "it is a folder, not a tar", RESTORE)
        else:
            self._entries = [] if index.rows is None else self._listed(index.rows, tar)
            self._check_tar(tar, num_bytes, rows_known=index.rows is not None)
        return self._found

    def _listed(self, rows: Sequence[Mapping[str, Any]], tar: Location) -> list[_Entry]:
        """Return the members that the rows list, in order of their bytes."""
        prefix = f"{tar.name.removesuffix('.tar')}/" if self._options.manifest.options.get("prefix_keys") else ""
        entries = [
            _Entry(
                row["key"], f"{row['key'].removeprefix(prefix)}.{facts['extension']}", name, facts, row["labels"] or []
            )
            for row in rows
            for name, facts in (row["fields"] or {}).items()
            if facts is not None and None not in (facts["extension"], facts["offset"], facts["size"], facts["xxh3"])
        ]
        return sorted(entries, key=lambda entry: (entry.facts["offset"], entry.facts["size"]))

    def _check_tar(self, tar: Location, num_bytes: int, *, rows_known: bool) -> None:
        shard, before = self._shard, len(self._found.problems)
        if num_bytes != shard.bytes:
            self._add("tar-size", f"it has {num_bytes:,} bytes, the manifest says {shard.bytes:,}", RESTORE)
        reading = OnePass(
            tar,
            num_bytes,
            self._spans(num_bytes),
            done=self._check_member,
            keep=self._options.deep,
            progress=self._options.progress,
        )
        try:
            self._check_structure(reading, tar, rows_known=rows_known)
            found_hash = reading.finish()
        except CorruptDataError as err:
            self._add("tar-size", f"it became shorter while it was read: {err}", RESTORE)
            return
        self._found.bytes, self._found.hash = num_bytes, found_hash
        twins = [other.path for other in self._options.manifest.shards if other.hash == found_hash and other != shard]
        if found_hash != shard.hash and twins:
            del self._found.problems[before:]  # each of its members would be another problem
            self._add(
                "tar-swapped", f"it holds the bytes of {twins[0]}", "give each tar its own name again, or copy it anew"
            )
        elif found_hash != shard.hash:
            self._add("tar-hash", f"its hash is {found_hash}, the manifest says {shard.hash}", RESTORE)

    def _spans(self, num_bytes: int) -> list[Span]:
        """Return the bytes of each member, those left out that can't be members."""
        spans, end = [], 0
        for number, entry in enumerate(self._entries):
            start, stop = entry.facts["offset"], entry.facts["offset"] + entry.facts["size"]
            if stop > num_bytes:
                self._add_member(
                    "member-missing", entry, f"should end at byte {stop:,}, the tar has {num_bytes:,}", RESTORE
                )
            elif start < end or stop < start:
                self._add_member(
                    "member-place",
                    entry,
                    f"the index gives it bytes {start:,} to {stop:,}, which are another's",
                    REINDEX,
                )
            else:
                spans.append(Span(number, start, stop))
                end = stop
        return spans

    def _check_member(self, span: Span, digest: int, data: bytes | None) -> None:
        entry = self._entries[span.number]
        self._found.members += 1
        if digest != entry.facts["xxh3"]:
            self._add_member("member-hash", entry, "its bytes differ from those that were packed (xxh3)", RESTORE)
        elif data is not None:
            manifest = self._options.manifest
            ours = entry.field == JSON_FIELD and not manifest.options.get("adopted") and manifest.has_audio
            kind = manifest.fields[entry.field].kind
            for what in content_problems(kind, entry.facts, data, labels=entry.labels if ours else None):
                self._add_member("member-content", entry, what, "pack the recording again, or leave the sample out")

    def _check_structure(self, reading: OnePass, tar: Location, *, rows_known: bool) -> None:
        """Compare the members that the tar lists with those that the index lists."""
        listed: dict[int, TarMember] = {}
        reached, broken = 0, False
        try:
            for member in reading.members():
                listed[member.offset] = member
                reached = -(-(member.offset + member.size) // BLOCK) * BLOCK
        except CorruptDataError:
            raise
        except ValueError as err:  # FormatError, and what tarfile makes of sizes and names that are damaged
            broken = True
            self._add("tar-structure", str(err).removeprefix(f"{tar}: "), RESTORE, offset=reached)
        if not rows_known:
            return
        behind = [entry for entry in self._entries if entry.facts["offset"] >= reached]
        if behind and not broken:
            self._add_member(
                "tar-structure",
                behind[0],
                f"tar readers take byte {reached:,} for the end of the archive and don't see the {len(behind)} members "
                "that the index has after it: the header there is damaged",
                RESTORE,
            )
        for what in self._misplaced(listed, reached):
            self._add_member("member-place", *what)
        self._found.problems += self._unknown(listed, tar)
        for what in self._apart(listed):
            self._add_member("member-apart", *what)

    def _apart(self, listed: Mapping[int, TarMember]) -> Iterator[tuple[_Entry, str, str]]:
        """Yield members that lie behind another sample's: WebDataset readers make a sample of their own of them."""
        entries = {entry.name: entry for entry in self._entries}
        seen, last = set(), None
        for member in sorted(listed.values(), key=lambda member: member.offset):
            entry = entries.get(member.name)
            if entry is None:
                continue
            if entry.key != last and entry.key in seen:
                yield entry, f"it lies apart from the sample's other members, behind {last!r}", RESTORE
            seen.add(entry.key)
            last = entry.key

    def _misplaced(self, listed: Mapping[int, TarMember], reached: int) -> Iterator[tuple[_Entry, str, str]]:
        places = {member.name: member for member in listed.values()}
        for entry in self._entries:
            offset, num_bytes = entry.facts["offset"], entry.facts["size"]
            found = listed.get(offset)
            if offset >= reached or found == TarMember(entry.name, offset, num_bytes):
                continue
            if found is not None and found.name == entry.name:
                yield entry, f"it has {found.size:,} bytes, the index says {num_bytes:,}", REINDEX
            elif found is not None:
                yield entry, f"the tar has {found.name!r} there, the index {entry.name!r}", REINDEX
            elif entry.name in places:
                yield entry, f"the tar has it at byte {places[entry.name].offset:,}, the index at {offset:,}", REINDEX
            else:
                yield entry, "the tar has no such member", REINDEX

    def _unknown(self, listed: Mapping[int, TarMember], tar: Location) -> Iterator[Problem]:
        """Yield the members that no row knows, but for those that adopting a tar may leave out."""
        known = {entry.facts["offset"] for entry in self._entries} | {entry.name for entry in self._entries}
        adopted = self._options.manifest.options.get("adopted")
        for offset, member in listed.items():
            name = split_name(member.name)
            passed_over = adopted and (name is None or f"{tar.name}/{name[0]}" in self._options.unindexed)
            if offset not in known and member.name not in known and not passed_over:
                key, extension = name or (None, None)
                what = f"the tar has a member {member.name!r} that the index doesn't know"
                yield Problem(
                    kind="member-unknown",
                    shard=self._shard.path,
                    key=key,
                    member=extension,
                    offset=offset,
                    what=what,
                    advice=REINDEX,
                )

    def _add(self, kind: Kind, what: str, advice: str, *, offset: int | None = None) -> None:
        self._found.problems.append(Problem(kind=kind, shard=self._shard.path, offset=offset, what=what, advice=advice))

    def _add_member(self, kind: Kind, entry: _Entry, what: str, advice: str) -> None:
        self._found.problems.append(
            Problem(
                kind=kind,
                shard=self._shard.path,
                key=entry.key,
                member=entry.facts["extension"],
                offset=entry.facts["offset"],
                what=what,
                advice=advice,
            )
        )
