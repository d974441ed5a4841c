"""What of a damaged dataset is wrong: the manifest, which is put right here, or its shards, which are to be mended.

A manifest has everything twice but its names: what it says of a shard stands in that shard's index too, and columns,
fields and labels stand in all of them. So where a manifest contradicts an index that has its hash, the index is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from shardkit.core.errors import InputError, NotFoundError
from shardkit.format.hashing import file_hash
from shardkit.format.index import RESERVED, index_schema
from shardkit.format.manifest import FieldInfo, FieldKind, Manifest
from shardkit.repair.arrowtypes import type_of_text
from shardkit.repair.evidence import Evidence, read_evidence
from shardkit.repair.places import relocate
from shardkit.repair.recover import kinds_of, plain_type
from shardkit.repair.rows import Basis
from shardkit.repair.said import Said
from shardkit.report.indexcheck import check_index
from shardkit.report.problems import Problem
from shardkit.report.rowcheck import manifest_problems
from shardkit.report.shardcheck import ShardCheck
from shardkit.report.verify import BytesDone, check_shards
from shardkit.storage.location import Location
from shardkit.storage.store import read_bytes

_UNTRUSTED = frozenset({"index-missing", "index-hash", "index-unreadable", "index-of-another-tar"})
_BY_MANIFEST = frozenset({"index-columns", "index-row"})


@dataclass(frozen=True, slots=True)
class Damage:
    """A shard to be mended: whether its tar is another one's, and whether its index is as it was packed."""

    swapped: bool
    index_sound: bool


@dataclass(slots=True)
class Corrected:
    """A manifest that is right about all that is whole.

    Attributes:
        manifest: It; of damaged shards it still says what it said.
        basis: What their new rows have in common.
        damaged: The damaged shards, by number.
        reasons: What was put right, a line each.
    """

    manifest: Manifest
    basis: Basis
    damaged: dict[int, Damage] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


def correct(
    dataset: Location, told: Manifest, *, stored: bool, deep: bool, workers: int, progress: BytesDone
) -> Corrected:
    """Return what is wrong with a dataset, and a manifest that is right where that can be known.

    Args:
        dataset: Its folder.
        told: Its manifest, or what was recovered of it.
        stored: Whether that is what its folder holds.
        deep: Whether to decode every recording.
        workers: Processes for a large dataset.
        progress: See ``check_shards``.
    """
    reasons = [problem.what for problem in manifest_problems(told)]
    manifest, moved = relocate(dataset, told)
    before = manifest
    checks = check_shards(dataset, manifest, deep=deep, workers=workers, stored=stored and not moved, progress=progress)
    manifest, swapped = _unswapped(dataset, before, checks)
    if swapped:
        pairs = zip(before.shards, manifest.shards, strict=True)
        again = [number for number, (one, other) in enumerate(pairs) if one != other]
        part = manifest.model_copy(update={"shards": tuple(manifest.shards[number] for number in again)})
        for number, check in zip(again, check_shards(dataset, part, deep=deep, stored=False), strict=True):
            checks[number] = check
    problems = [list(check.problems) for check in checks]
    manifest, changed = _by_indices(dataset, manifest, problems)
    basis = _basis(dataset, manifest, problems)
    damaged = {
        number: Damage(
            swapped=any(problem.kind == "tar-swapped" for problem in found),
            index_sound=not any(problem.kind.startswith("index-") for problem in found),
        )
        for number, found in enumerate(problems)
        if found
    }
    return Corrected(manifest, basis, damaged, [*reasons, *moved, *swapped, *changed])


def _unswapped(dataset: Location, manifest: Manifest, checks: Sequence[ShardCheck]) -> tuple[Manifest, list[str]]:
    """Return the manifest with each shard's tar and index under the names where their bytes were found."""
    tars = {check.hash: shard.path for shard, check in zip(manifest.shards, checks, strict=True) if check.hash}
    indices: dict[str, str] = {}
    for shard, check in zip(manifest.shards, checks, strict=True):
        if any(problem.kind == "index-hash" for problem in check.problems):
            try:
                indices[file_hash(read_bytes(dataset / shard.index))] = shard.index
            except NotFoundError:
                continue
    shards, reasons = [], []
    for shard, check in zip(manifest.shards, checks, strict=True):
        path = tars.get(shard.hash, shard.path) if check.hash != shard.hash else shard.path
        index = indices.get(shard.index_hash, shard.index)
        if (path, index) != (shard.path, shard.index):
            reasons.append(f"shard {shard.path}: its bytes are found in {path} and {index}")
        shards.append(shard.model_copy(update={"path": path, "index": index}))
    return (manifest.model_copy(update={"shards": tuple(shards)}) if reasons else manifest), reasons


def _by_indices(dataset: Location, manifest: Manifest, problems: list[list[Problem]]) -> tuple[Manifest, list[str]]:
    """Return the manifest with what sound indices say where it contradicts them; such problems are taken out."""
    disputed = [
        number
        for number, found in enumerate(problems)
        if any(problem.kind in _BY_MANIFEST for problem in found) and not any(p.kind in _UNTRUSTED for p in found)
    ]
    if not disputed:
        return manifest, []
    trusted = [n for n, found in enumerate(problems) if not any(problem.kind in _UNTRUSTED for problem in found)]
    mended = _said_by(dataset, manifest, trusted)
    settled = []
    for number in disputed:
        left = check_index(mended.shards[number], dataset, mended).problems
        if not left:
            problems[number][:] = [problem for problem in problems[number] if problem.kind not in _BY_MANIFEST]
            settled.append(number)
    if not settled:
        return manifest, []
    return mended, [f"it contradicted the index {manifest.shards[number].index}" for number in settled]


def _said_by(dataset: Location, manifest: Manifest, trusted: Sequence[int]) -> Manifest:
    """Return a manifest with what the indices of some shards say of columns, labels, intervals, members and sums."""
    said, shards = Said(), list(manifest.shards)
    for number in trusted:
        told = read_evidence(dataset / shards[number].index)
        said.add(told)
        if told.schema is not None:
            sums = {"samples": len(told.rows), "duration_s": told.duration_s()}
            shards[number] = shards[number].model_copy(update=sums)
    if said.first.schema is None:
        return manifest
    columns = {part.name: _told_type(part, manifest) for part in said.first.schema if part.name not in RESERVED}
    return manifest.model_copy(
        update={
            "columns": {name: str(kind) for name, kind in columns.items()},
            "labels": mended_vocabulary(manifest.labels, said.labels),
            "interval_names": tuple(sorted({*manifest.interval_names, *said.interval_names})),
            "fields": {
                name: _field(manifest.fields.get(name), kind, said.extensions.get(name, set()))
                for name, kind in kinds_of(said.first, said.extensions).items()
            },
            "shards": tuple(shards),
        }
    )


def _field(told: FieldInfo | None, kind: FieldKind, extensions: set[str]) -> FieldInfo:
    """Return what is known of a field: as the manifest has it, with all extensions, or else as the indices do."""
    by_columns = {"audio", "array"}  # the other kinds look alike in an index
    if told is None or (told.kind != kind and by_columns & {told.kind, kind}):
        return FieldInfo(kind=kind, extensions=tuple(sorted(extensions)))
    return FieldInfo(kind=told.kind, extensions=tuple(sorted({*told.extensions, *extensions})))


def mended_vocabulary(told: Sequence[str], seen: set[str]) -> tuple[str, ...]:
    """Return a vocabulary in which all labels that are seen have a class, and all others keep theirs.

    A label that the vocabulary lacks takes the place of one that no sample has, if there are as many of these: then
    that was its own, misspelt by the damage. Else it goes to the end.

    >>> mended_vocabulary(["cat", "dof", "emu"], {"cat", "dog", "emu"}), mended_vocabulary(["cat"], {"dog", "cat"})
    (('cat', 'dog', 'emu'), ('cat', 'dog'))
    """
    known = list(dict.fromkeys(told))
    unknown, unused = sorted(seen.difference(known)), [label for label in known if label not in seen]
    if unknown and len(unknown) == len(unused):
        places = dict(zip(unused, unknown, strict=True))
        return tuple(places.get(label, label) for label in known)
    return (*known, *unknown)


def _basis(dataset: Location, manifest: Manifest, problems: Sequence[Sequence[Problem]]) -> Basis:
    """Return what all rows have in common; a sound index knows best, the manifest's own words will do."""
    kinds = {name: info.kind for name, info in manifest.fields.items()}
    donor = Evidence()
    if any(problems):
        sound = [n for n, found in enumerate(problems) if not any(one.kind.startswith("index-") for one in found)]
        for number in [*sound, *(n for n in range(len(problems)) if n not in set(sound))]:
            donor = read_evidence(dataset / manifest.shards[number].index)
            if donor.schema is not None:
                break
    types = {}
    for name, text in manifest.columns.items():
        part = donor.schema.field(name) if donor.schema is not None and name in donor.schema.names else None
        kind = type_of_text(text) if part is None else _told_type(part, manifest)
        if kind is None:
            raise InputError(
                f"{dataset}: no index is left that shows what the type {text} of column {name!r} is; pack it again, or "
                "adopt the tars with 'shardkit index' into another folder"
            )
        types[name] = kind
    alone = manifest.model_copy(update={"shards": ()})
    return Basis(manifest=alone, schema=index_schema(kinds, types), hops_s=donor.hops_s())


def _told_type(part: pa.Field, manifest: Manifest) -> pa.DataType:
    """Return the type of an index's column, spelt as its writer had it, so that equal rows are equal bytes.

    ``pack`` has the manifest's spelling of the two there may be; ``featurize`` has that of the index it read.
    """
    own = manifest.features is not None or manifest.columns.get(part.name) == str(part.type)
    return part.type if own else plain_type(part.type)
