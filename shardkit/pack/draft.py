"""What a pack is going to write, settled before work starts: shards, and what of the manifest does not wait for them.

It lies in the output while the pack is under way, so that whoever finishes it need not read the inputs again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shardkit.format.manifest import FieldKind, OntologyClass
from shardkit.pack.identity import hash_of
from shardkit.pack.inputs import Unpacked


@dataclass(frozen=True, slots=True)
class PlannedShard:
    """A shard to write: its path without an extension, the hash of its job, and how much goes into it."""

    stem: str
    job: str
    inputs: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """All that the end of a pack needs to know beside what became of the shards.

    Attributes:
        name: Of the dataset.
        labels: The vocabulary, in order.
        interval_names: Sorted.
        kinds: Field to kind.
        columns: Metadata column to Arrow type.
        options: As the manifest keeps them.
        shards: In order.
        unpacked: What of the source is no input.
        missing: Lines of ``missing.jsonl``; None where there is to be no such file.
        ontology: How labels are related, if that is known.
        notes: What the user should know, a line each.
        input_bytes: Of all inputs.
    """

    name: str
    labels: tuple[str, ...]
    interval_names: tuple[str, ...]
    kinds: Mapping[str, FieldKind]
    columns: Mapping[str, str]
    options: Mapping[str, Any]
    shards: tuple[PlannedShard, ...]
    unpacked: tuple[Unpacked, ...]
    missing: tuple[str, ...] | None
    ontology: tuple[OntologyClass, ...] | None
    notes: tuple[str, ...]
    input_bytes: int

    def plan_hash(self, base: object) -> str:
        """Return the hash of the plan, made upon ``base``: what the output held before."""
        told = self.as_json()
        return hash_of([base, *(told[name] for name in sorted(told))])

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        told = {name: getattr(self, name) for name in self.__slots__}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}
        return {
            **plain,
            "shards": [[shard.stem, shard.job, shard.inputs, shard.bytes] for shard in self.shards],
            "unpacked": [asdict(line) for line in self.unpacked],
            "ontology": None if self.ontology is None else [one.model_dump() for one in self.ontology],
        }


def draft_of(told: Mapping[str, Any]) -> Draft:
    """Return the draft of which ``as_json`` made these values.

    Raises:
        KeyError, TypeError, ValueError: None did.
    """
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
    values["shards"] = tuple(PlannedShard(*shard) for shard in told["shards"])
    if told["ontology"] is not None:
        values["ontology"] = tuple(OntologyClass.model_validate(one) for one in told["ontology"])
    values["unpacked"] = tuple(Unpacked(**line) for line in told["unpacked"])
    return Draft(**values)


def first_numbers(shards: Sequence[PlannedShard]) -> dict[str, int]:
    """Return the least number of the shards of each split."""
    first: dict[str, int] = {}
    for shard in shards:
        split, _, number = shard.stem.rpartition("/")
        first[split] = min(first.get(split, int(number)), int(number))
    return first
