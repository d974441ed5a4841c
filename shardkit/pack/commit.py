"""The end of a run: the report, the manifest, the summary. The manifest is the commit point."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shardkit.core.errors import InputError
from shardkit.format.hashing import file_hash
from shardkit.format.manifest import (
    MANIFEST_NAME,
    FieldInfo,
    FieldKind,
    Manifest,
    OntologyClass,
    ShardInfo,
    Totals,
    totals,
)
from shardkit.pack.inputs import Unpacked
from shardkit.pack.mark import MARK_NAME, Base, read_mark
from shardkit.pack.partial import remove_partial
from shardkit.pack.records import SUFFIX
from shardkit.storage.location import Location
from shardkit.storage.store import create, exists, list_files, remove, remove_leftovers, replace, write_bytes

REPORT_NAME = "report.jsonl"
_MARK = b"A pack is under way here, or was interrupted: run the same command again to finish it.\n"
_SHARD_FILE = re.compile(r"(?P<split>[^/]+)/(?P<number>[0-9]{6,})\.(tar|parquet|done)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackSummary:
    """What a run of ``pack`` or ``index`` did.

    Attributes:
        output: The dataset.
        totals: What it holds.
        splits: The same for each split.
        input_bytes: Size of the inputs.
        unpacked: What is not in it, and why; also in ``report.jsonl``.
        notes: What the user should know, a line each.
        missing: Files that the metadata names and that are not there; listed in ``missing.jsonl``.
        clipped_inputs: Recordings in which rounding to integers met full scale.
        clipped_values: How many values that were.
        wall_s: Seconds it took.
    """

    output: str
    totals: Totals
    splits: Mapping[str, Totals]
    input_bytes: int
    unpacked: tuple[Unpacked, ...]
    notes: tuple[str, ...] = ()
    missing: int = 0
    clipped_inputs: int = 0
    clipped_values: int = 0
    wall_s: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "output": self.output,
            **self.totals.model_dump(),
            "splits": {name: split.model_dump() for name, split in self.splits.items()},
            "input_bytes": self.input_bytes,
            "unpacked": [asdict(line) for line in self.unpacked],
            "notes": list(self.notes),
            "missing": self.missing,
            "clipped_inputs": self.clipped_inputs,
            "clipped_values": self.clipped_values,
            "wall_s": round(self.wall_s, 3),
        }


def claim_output(output: Location, *, beside_tars: bool = False) -> bool:
    """Mark a folder as one that a dataset is being written to; ``remove_mark`` ends that.

    Args:
        output: The folder; new, empty, or left by a run that was interrupted, which its mark tells.
        beside_tars: Whether it may hold other files, as the folder of tars that are adopted does.

    Returns:
        Whether an interrupted run left something there.

    Raises:
        InputError: It holds a dataset, or files that would be in the way.
        StorageError: It can't be written.
    """
    check_no_dataset(output)
    if read_mark(output) is not None:
        raise InputError(
            f"{output}: a pack is under way there, or was interrupted; finish it, or choose another folder"
        )
    names = [name for name, _ in list_files(output)]
    interrupted = MARK_NAME in names
    in_the_way = [name for name in names if not beside_tars or name == REPORT_NAME or _is_index(name)]
    if in_the_way and not interrupted:
        raise InputError(f"{output}: not empty, it holds {in_the_way[0]!r}; choose a new or an empty folder")
    mark_output(output)
    return interrupted


def mark_output(output: Location) -> None:
    """Say that a dataset is being written to a folder."""
    write_bytes(output / MARK_NAME, _MARK)


def check_empty(output: Location) -> None:
    """Raise if an output holds files, and no mark that says whose they are."""
    names = [name for name, _ in list_files(output)]
    if names and MARK_NAME not in names:
        raise InputError(f"{output}: not empty, it holds {names[0]!r}; choose a new or an empty folder")


def check_no_dataset(output: Location, *, finishing: bool = False) -> None:
    """Raise if a dataset is there already, or a file, before any input is looked at.

    Args:
        output: The folder.
        finishing: Whether the dataset may be one that was committed by a run that did not come to its end.
    """
    places = [output.local_path, *output.local_path.parents] if output.is_local else []
    for place in places:
        if place.is_file():
            raise InputError(f"{output}: {place} is a file, not a folder; choose another folder")
    if not finishing and exists(output / MANIFEST_NAME):
        raise InputError(f"{output}: already holds a dataset ({MANIFEST_NAME}); choose another folder or remove it")


def remove_mark(output: Location) -> None:
    """Say that nothing is under way any more; records of shards that were done go with the mark."""
    for name, _ in list_files(output, suffixes=(SUFFIX,)):
        if _SHARD_FILE.fullmatch(name):
            remove(output / name)
    remove(output / MARK_NAME)


def build_manifest(
    *,
    name: str,
    shards: Sequence[ShardInfo],
    labels: set[str],
    vocabulary: tuple[str, ...] = (),
    interval_names: set[str],
    kinds: Mapping[str, FieldKind],
    extensions: Mapping[str, set[str]],
    columns: Mapping[str, str],
    options: Mapping[str, object],
    ontology: Sequence[OntologyClass] | None = None,
) -> Manifest:
    """Return a manifest with its totals.

    Labels are in the order of ``vocabulary``, the others behind it in natural order, so that ``10`` follows ``9``.
    """
    splits = dict.fromkeys(shard.split for shard in shards)
    return Manifest(
        name=name,
        splits={split: totals([shard for shard in shards if shard.split == split]) for split in splits},
        shards=tuple(shards),
        labels=(*vocabulary, *natural_order(labels.difference(vocabulary))),
        interval_names=tuple(sorted(interval_names)),
        fields={
            field: FieldInfo(kind=kind, extensions=tuple(sorted(extensions.get(field, ()))))
            for field, kind in kinds.items()
        },
        columns=dict(columns),
        options=dict(options),
        totals=totals(shards),
        ontology=None if ontology is None else tuple(ontology),
    )


def commit_manifest(output: Location, data: bytes, *, base: Base | None = None) -> None:
    """Write the manifest, where there is none, or where the one that was appended to still stands.

    Raises:
        InputError: There is another one: somebody else has packed into this folder meanwhile.
    """
    place = output / MANIFEST_NAME
    if not (
        create(place, data)
        if base is None
        else replace(place, data, is_old=lambda found: file_hash(found) == base.manifest)
    ):
        raise InputError(
            f"{output}: another run has written its own {MANIFEST_NAME} meanwhile; this one is not written"
        )


def report_lines(unpacked: Sequence[Unpacked]) -> bytes:
    """Return the bytes of ``report.jsonl``: one line for each input, or interval, that is not in the dataset."""
    return "".join(json.dumps(asdict(line), ensure_ascii=False) + "\n" for line in unpacked).encode()


def remove_strays(output: Location, manifest: Manifest, *, since: Mapping[str, int] | None = None) -> None:
    """Remove what an interrupted run left behind under other names.

    Args:
        output: A folder that only runs of pack, or of featurize, have written to.
        manifest: What stays.
        since: The first number by split of shards that may be such a run's, where it added to a dataset: what is of
            before, and named no more, may be what a repair has kept. None: all may be.
    """
    remove_leftovers(output)
    kept = {name for shard in manifest.shards for name in (shard.path, shard.index)}
    for name, _ in list_files(output):
        found = _SHARD_FILE.fullmatch(name)
        if found and name not in kept and (since is None or int(found["number"]) >= since.get(found["split"], 2**63)):
            remove(output / name)
    remove_partial(output, all_hosts=True)


def _is_index(name: str) -> bool:
    return bool(_SHARD_FILE.fullmatch(name)) and name.endswith(".parquet")


def natural_order(labels: Iterable[str]) -> list[str]:
    """Return labels in natural order: ``10`` follows ``9``."""
    return sorted(labels, key=_natural)


def _natural(label: str) -> tuple[tuple[int, int, str], ...]:
    parts = re.split(r"([0-9]+)", label)
    return tuple((0, int(part), part) if part[0] in "0123456789" else (1, 0, part) for part in parts if part)
