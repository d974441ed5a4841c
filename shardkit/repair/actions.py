"""What a repair did, or would do: a line for each, for people and for programs.

action               of
kept                 a shard: nothing of it was written
rebuilt-index        a shard: an index made from its tar, which stays where it is
rewritten-shard      a shard: its whole samples, in a new tar with a new index
dropped-shard        a shard: no sample of it is left
mended-manifest      the manifest: what it said was not so
quarantined          a sample, or bytes that are no sample's: not in the dataset any more, kept as they are
left-out             a sample of an adopted tar: in the tar as before, but not in the index
dropped              a sample or bytes: not in the dataset any more, and not copied either, as was asked
lost                 a sample: the dataset named it, and nothing of it is there
accepted             a sample: its bytes are not those that were packed; kept since that was asked for
unproven             a sample: kept since all of it can be decoded; no checksum of it was left to prove it whole
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from shardkit.core.sizes import count
from shardkit.format.manifest import Totals

ActionKind = Literal[
    "kept", "rebuilt-index", "rewritten-shard", "dropped-shard", "mended-manifest",
    "quarantined", "left-out", "dropped", "lost", "accepted", "unproven",
]  # fmt: skip
GONE: tuple[ActionKind, ...] = ("quarantined", "left-out", "dropped", "lost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing done.

    Attributes:
        action: See the module.
        shard: The tar, as the old manifest names it; None: the manifest.
        key: The sample, if it is one's.
        reason: Why.
        became: The new tar or index, or the tar that the bytes are kept in.
        path: ``TAR/KEY`` of a sample that an index leaves out, as ``shardkit index`` reports it.
    """

    action: ActionKind
    shard: str | None
    reason: str
    key: str | None = None
    became: str | None = None
    path: str | None = None

    def line(self, number: int) -> str:
        """Return a line of ``repair.jsonl``; ``number`` is the repair's."""
        told = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps({"repair": number, **told}, ensure_ascii=False) + "\n"

    def __str__(self) -> str:
        place = f"{self.shard or 'shardkit.json'}{'' if self.key is None else f': key {self.key!r}'}"
        became = "" if self.became is None else f" -> {self.became}"
        return " ".join(f"{self.action}: {place}: {self.reason}{became}".split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What a repair did.

    Attributes:
        output: The dataset.
        dry_run: Whether nothing was written.
        number: Of the repair: the first one of a dataset is 1.
        actions: In the order of the shards; none for shards that stay as they are.
        totals: Of the dataset as it is now; samples count for what is known, in a dry run.
        kept_shards: Shards that stay as they are.
        kept_samples: Samples of the dataset as it is now.
        previous: Where the replaced manifest is kept; None: there was none, or nothing had to be done.
        notes: What the user should know, a line each.
    """

    output: str
    dry_run: bool
    number: int
    actions: tuple[Action, ...]
    totals: Totals
    kept_shards: int
    kept_samples: int
    previous: str | None = None
    notes: tuple[str, ...] = ()

    def of(self, *kinds: ActionKind) -> list[Action]:
        """Return the actions of some kinds."""
        return [action for action in self.actions if action.action in kinds]

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values: counts, the keys of samples that are not there any more, and every action."""
        keys = {name: [action.key for action in self.of(name) if action.key is not None] for name in GONE}
        shards: Mapping[str, int] = {
            "kept": self.kept_shards,
            "rebuilt": len(self.of("rebuilt-index")),
            "rewritten": len(self.of("rewritten-shard")),
            "dropped": len(self.of("dropped-shard")),
        }
        samples = {"kept": self.kept_samples, **{name.replace("-", "_"): len(listed) for name, listed in keys.items()}}
        actions: Sequence[Any] = [asdict(action) for action in self.actions]
        return {
            "output": self.output,
            "dry_run": self.dry_run,
            "repair": self.number,
            "previous": self.previous,
            "shards": shards,
            "samples": samples,
            "keys": {name.replace("-", "_"): listed for name, listed in keys.items()},
            "notes": list(self.notes),
            "actions": actions,
        }

    def summary(self) -> str:
        """Return one line."""
        if not self.actions:
            return f"{self.output}: nothing to repair in {count(self.kept_shards, 'shard')}"
        done = "would be" if self.dry_run else "are"
        told = self.as_json()
        shards = ", ".join(f"{number} {name}" for name, number in told["shards"].items())
        samples = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in told["samples"].items())
        return f"{self.output}: shards {done}: {shards}; samples {done}: {samples}"
