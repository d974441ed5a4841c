"""What ``shardkit verify`` finds: problems as values, each with its place and what to do."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shardkit.core.sizes import count, format_size
from shardkit.format.manifest import MANIFEST_NAME

RESTORE = "restore the tar from a copy, or pack it again"
REINDEX = "restore the index from a copy, or write it again with 'shardkit index'"
REFEATURIZE = "compute them again with 'shardkit featurize --overwrite'"
REMANIFEST = f"restore {MANIFEST_NAME} from a copy, or write the dataset again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        shard: The tar as the manifest names it; None: the manifest itself.
        key: The sample, if it is one sample's.
        member: Extension of the member, if it is one member's.
        offset: Byte of the tar where it is, or where it should be.
        what: What was found and what was expected.
        advice: What to do.
    """

    shard: str | None
    what: str
    advice: str
    key: str | None = None
    member: str | None = None
    offset: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

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

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        counts: Mapping[str, Any] = {name: getattr(self, name) for name in ("shards", "samples", "members", "bytes")}
        problems: Sequence[Any] = [problem.as_json() for problem in self.problems]
        return {"location": self.location, "deep": self.deep, "ok": not problems, **counts, "problems": problems}

    def summary(self) -> str:
        """Return one line."""
        checked = (
            f"{count(self.shards, 'shard')}, {count(self.samples, 'sample')}, {count(self.members, 'member')}, "
            f"{format_size(self.bytes)} {'decoded' if self.deep else 'hashed'}"
        )
        found = count(len(self.problems), "problem") if self.problems else "all is well"
        return f"{self.location}: {checked}: {found}"
