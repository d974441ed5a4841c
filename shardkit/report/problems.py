"""What ``shardkit verify`` finds: problems as values, each with its place and what to do."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from shardkit.core.sizes import count, format_size
from shardkit.format.manifest import MANIFEST_NAME

RESTORE = "restore the tar from a copy, or pack it again"
REINDEX = "restore the index from a copy, or write it again with 'shardkit index'"
REFEATURIZE = "compute them again with 'shardkit featurize --overwrite'"
REMANIFEST = f"restore {MANIFEST_NAME} from a copy, or write the dataset again"
REBUILD = "'shardkit repair' writes it again from the indices"
KEPT_MANIFEST = f"{MANIFEST_NAME}.before-repair-"  # and a number: the manifest that a repair replaced
REPAIR_LOG = "repair.jsonl"

# What kinds of problems there are, and what 'shardkit repair' would do about each; None: it can do nothing.
REPAIRS: dict[str, str | None] = {
    "manifest-missing": "rebuild-manifest",
    "manifest-unreadable": "rebuild-manifest",
    "manifest-contradiction": "rebuild-manifest",
    "index-missing": "rebuild-index",
    "index-hash": "rebuild-index",
    "index-unreadable": "rebuild-index",
    "index-of-another-tar": "rebuild-index",
    "index-columns": "rebuild-index",
    "index-row": "rebuild-index",
    "tar-missing": "drop-shard",
    "tar-swapped": "rebuild-manifest",
    "tar-size": "rewrite-shard",
    "tar-hash": "rewrite-shard",
    "tar-structure": "rewrite-shard",
    "member-hash": "rewrite-shard",
    "member-missing": "rewrite-shard",
    "member-content": "rewrite-shard",
    "member-apart": "rewrite-shard",
    "member-place": "rebuild-index",
    "member-unknown": "rebuild-index",
    "duplicate-key": None,
    "stray": None,
    "interrupted": None,
}
Kind = Literal[
    "manifest-missing", "manifest-unreadable", "manifest-contradiction",
    "index-missing", "index-hash", "index-unreadable", "index-of-another-tar", "index-columns", "index-row",
    "tar-missing", "tar-swapped", "tar-size", "tar-hash", "tar-structure",
    "member-hash", "member-missing", "member-content", "member-apart", "member-place", "member-unknown",
    "duplicate-key", "stray", "interrupted",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, or, among the notes, worth knowing.

    Attributes:
        kind: One of ``REPAIRS``.
        shard: The tar as the manifest names it; None: the manifest itself.
        key: The sample, if it is one sample's.
        member: Extension of the member, if it is one member's.
        offset: Byte of the tar where it is, or where it should be.
        what: What was found and what was expected.
        advice: What to do.
    """

    kind: Kind
    shard: str | None
    what: str
    advice: str
    key: str | None = None
    member: str | None = None
    offset: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values; ``repair`` is what 'shardkit repair' would do about it, null: nothing."""
        return asdict(self) | {"repair": REPAIRS[self.kind]}

    def __str__(self) -> str:
        place = [self.shard or MANIFEST_NAME]
        where = [f"key {self.key!r}"] if self.key is not None else []
        where += [f"member {self.member!r}"] if self.member is not None else []
        where += [f"byte {self.offset:,}"] if self.offset is not None else []
        place += [", ".join(where)] if where else []
        # One line each, whatever a library's message that is quoted in it looks like.
        return " ".join(f"{': '.join(place)}: {self.what}; {self.advice}".split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was checked and what is wrong.

    Attributes:
        location: The dataset.
        deep: Whether every member was decoded too.
        problems: In the order of the manifest's shards; empty if all is well.
        notes: What lies beside the dataset and is none of it; nothing is wrong with the dataset for that.
        shards: Shards checked.
        samples: Index rows checked.
        members: Members whose bytes were hashed.
        bytes: Bytes of tars read.
    """

    location: str
    deep: bool
    problems: tuple[Problem, ...]
    shards: int
    samples: int
    members: int
    bytes: int
    notes: tuple[Problem, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        counts: Mapping[str, Any] = {name: getattr(self, name) for name in ("shards", "samples", "members", "bytes")}
        problems: Sequence[Any] = [problem.as_json() for problem in self.problems]
        notes = [note.as_json() for note in self.notes]
        told = {"location": self.location, "deep": self.deep, "ok": not problems, **counts}
        return {**told, "problems": problems, "notes": notes}

    def lines(self) -> Iterator[str]:
        """Yield one line of JSON for each problem, and then for each note; ``severity`` tells them apart."""
        for severity, listed in (("problem", self.problems), ("note", self.notes)):
            for problem in listed:
                yield json.dumps({"severity": severity, **problem.as_json()}, ensure_ascii=False)

    def summary(self) -> str:
        """Return one line."""
        checked = (
            f"{count(self.shards, 'shard')}, {count(self.samples, 'sample')}, {count(self.members, 'member')}, "
            f"{format_size(self.bytes)} {'decoded' if self.deep else 'hashed'}"
        )
        found = count(len(self.problems), "problem") if self.problems else "all is well"
        return f"{self.location}: {checked}: {found}"
