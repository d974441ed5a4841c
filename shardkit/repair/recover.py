"""A manifest for a folder that has none, or a damaged one: the shards from their indices, the rest from what is left.

shards                       the indices that lie there, each of which names its tar, with size and hash
fields, columns              the indices' columns
name, vocabulary, options    the damaged manifest, where a part of it can be read; the mark of the pack that was
                             interrupted; a manifest that a repair kept
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from shardkit.core.errors import FormatError, InputError, NotFoundError, StorageError
from shardkit.format.index import RESERVED
from shardkit.format.manifest import (
    MANIFEST_NAME,
    FeaturesInfo,
    FieldKind,
    Manifest,
    OntologyClass,
    ShardInfo,
    load_manifest,
)
from shardkit.pack.commit import build_manifest
from shardkit.pack.fields import kind_of_extension
from shardkit.pack.mark import MARK_NAME, read_mark
from shardkit.repair.evidence import Evidence, read_evidence
from shardkit.repair.names import UNKNOWN_HASH, base_stem, generation, number_of, stem
from shardkit.repair.said import Said
from shardkit.report.strays import SHARD_FILE
from shardkit.storage.location import Location
from shardkit.storage.store import StoredFile, is_folder, list_files, read_bytes

_PARTS: dict[str, Any] = {
    "name": str,
    "labels": tuple[str, ...],
    "options": dict[str, Any],
    "features": FeaturesInfo | None,
    "ontology": tuple[OntologyClass, ...] | None,
    "splits": dict[str, Any],
}


def recover_manifest(dataset: Location, damaged: bytes) -> tuple[Manifest, list[str]]:
    """Return the manifest of the shards that lie in a folder, and what the user should know of it.

    Args:
        dataset: The folder.
        damaged: The manifest that can't be read; empty: there is none.

    Raises:
        InputError: There is nothing to make a manifest of; the message says what to do.
    """
    files = list_files(dataset)
    told, notes = _told(dataset, damaged, files)
    said, infos = Said(), []
    for info, evidence in _shards(dataset, files):
        infos.append(info)
        said.add(evidence)
    if said.first.schema is None:
        raise InputError(
            f"{dataset}: no manifest and no index that can be read: there is nothing to repair a dataset from; where "
            "there are whole tars, 'shardkit index' adopts them"
        )
    _check_features(dataset, told, said)
    vocabulary = told.get("labels") or ()
    if not said.labels <= set(vocabulary):
        vocabulary = ()
    if not vocabulary and said.labels:
        notes.append("the vocabulary's order is gone with the manifest: labels are in their natural order now")
    manifest = build_manifest(
        name=told.get("name") or dataset.name,
        shards=sorted(infos, key=_by_split(told)),
        vocabulary=vocabulary,
        labels=said.labels,
        interval_names=said.interval_names,
        kinds=kinds_of(said.first, said.extensions),
        extensions=said.extensions,
        columns=_columns(said.first),
        options=told.get("options") or _options(said),
    )
    if any(file.name == MARK_NAME for file in files):
        notes.append(
            "this finishes a pack that was interrupted, with the shards that are whole: where its inputs are at hand, "
            "running the same 'shardkit pack' again is better, since that packs all of them"
        )
    return manifest.model_copy(update={"features": told.get("features"), "ontology": told.get("ontology")}), notes


def _told(dataset: Location, damaged: bytes, files: Sequence[StoredFile]) -> tuple[dict[str, Any], list[str]]:
    """Return the parts of a damaged manifest that can be read, and of one that a repair kept those that can't."""
    told: dict[str, Any] = {}
    kept = sorted((number, file.name) for file in files if (number := number_of(file.name)) is not None)
    for _, name in kept:
        try:
            older = load_manifest(read_bytes(dataset / name), where=name)
        except (FormatError, NotFoundError):
            continue
        told |= {part: getattr(older, part) for part in _PARTS}
    mark = read_mark(dataset)
    if mark is not None:  # of a pack that did not come to its end
        told |= {part: getattr(mark.draft, part) for part in ("name", "labels", "options", "ontology")}
    parts = dict(readable_parts(damaged.decode(errors="replace")))
    told |= parts
    notes = []
    if "options" not in told:
        notes.append("the options that it was packed with are gone with the manifest; no reader needs them")
    return told, notes


def readable_parts(text: str) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a manifest whose JSON is broken elsewhere.

    >>> dict(readable_parts('{"name": "speech", "labels": ["a", "b"], "shards": [{"spl'))
    {'name': 'speech', 'labels': ('a', 'b')}
    """
    decoder = json.JSONDecoder()
    for part, kind in _PARTS.items():
        for match in re.finditer(rf'[{{,]\s*"{part}":\s*', text):
            try:
                value, _ = decoder.raw_decode(text, match.end())
                yield part, TypeAdapter(kind).validate_python(value)
                break
            except (ValidationError, ValueError, RecursionError):
                continue


def _shards(dataset: Location, files: Sequence[StoredFile]) -> Iterator[tuple[ShardInfo, Evidence]]:
    """Yield what is known of each shard: by its index, or by its tar alone."""
    names = {file.name: file.size for file in files if SHARD_FILE.fullmatch(file.name)}
    latest: dict[str, str] = {}
    for name in sorted(names, key=generation):  # what a repair wrote goes before what it replaced
        if name.endswith(".parquet"):
            latest[base_stem(name)] = name
    with_index = set()
    for index in latest.values():
        evidence = read_evidence(dataset / index)
        path = _tar_of(dataset, index, evidence)
        with_index.add(base_stem(path))
        yield _info(index, path, names.get(path, 0), evidence), evidence
    for name, num_bytes in names.items():
        if name.endswith(".tar") and base_stem(name) not in with_index | latest.keys():
            yield _info(f"{stem(name)}.parquet", name, num_bytes, Evidence()), Evidence()


def _tar_of(dataset: Location, index: str, evidence: Evidence) -> str:
    told = evidence.note.get("tar")
    if not isinstance(told, str):
        return f"{base_stem(index)}.tar"
    return told.removeprefix(str(dataset).rstrip("/") + "/")


def _info(index: str, path: str, num_bytes: int, evidence: Evidence) -> ShardInfo:
    told_bytes, told_hash = evidence.note.get("bytes"), evidence.note.get("hash")
    known = isinstance(told_bytes, int) and isinstance(told_hash, str) and evidence.hash is not None
    return ShardInfo.model_validate(
        {
            "split": index.partition("/")[0],
            "path": path,
            "bytes": told_bytes if known else num_bytes,
            "hash": told_hash if known else UNKNOWN_HASH,
            "index": index,
            "index_hash": evidence.hash or UNKNOWN_HASH,
            "samples": len(evidence.rows),
            "duration_s": evidence.duration_s(),
        }
    )


def _check_features(dataset: Location, told: Mapping[str, Any], said: Said) -> None:
    """Raise if the shards hold features and nothing says what these are."""
    features = told.get("features")
    if said.features != {None} and (features is None or said.features != {features.key}):
        raise InputError(
            f"{dataset}: its shards hold features, and what these are is gone with the manifest; compute them again "
            "with 'shardkit featurize' into another folder"
        )


def _by_split(told: Mapping[str, Any]) -> Any:
    """Return the order of shards: by their splits' order where that is known, then by name."""
    order = list(told.get("splits") or (told.get("options") or {}).get("splits") or ())
    return lambda info: (order.index(info.split) if info.split in order else len(order), info.split, info.index)


def _options(said: Said) -> dict[str, object]:
    """Return the options that the indices give away: whether the tars were adopted, and their keys got prefixes."""
    if not any(tar.startswith("/") or "://" in tar for tar in said.tars):
        return {}
    return {"adopted": True, "label": None, "prefix_keys": said.prefixed}


def kinds_of(evidence: Evidence, extensions: Mapping[str, set[str]]) -> dict[str, FieldKind]:
    """Return the kind of each field by its columns, and where those don't tell, by the members' extensions."""
    kinds: dict[str, FieldKind] = {}
    for part in evidence.schema.field("fields").type if evidence.schema is not None else ():
        extension = next(iter(sorted(extensions.get(part.name, {part.name}))))
        names = {inner.name for inner in part.type}
        kinds[part.name] = (
            "audio" if "codec" in names else "array" if "dtype" in names else kind_of_extension(extension)
        )
    return kinds


def _columns(evidence: Evidence) -> dict[str, str]:
    schema: pa.Schema = evidence.schema
    return {part.name: str(plain_type(part.type)) for part in schema if part.name not in RESERVED}


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return a type with the names that Arrow gives to the parts of lists, which change on the way through Parquet.

    >>> str(plain_type(pa.list_(pa.field("element", pa.int8()))))
    'list<item: int8>'
    """
    types = pa.types
    if types.is_list(kind):
        return pa.list_(plain_type(kind.value_type))
    if types.is_large_list(kind):
        return pa.large_list(plain_type(kind.value_type))
    if types.is_struct(kind):
        return pa.struct([(part.name, plain_type(part.type)) for part in kind])
    return kind


def read_or_recover(dataset: Location) -> tuple[Manifest, bytes, list[str]]:
    """Return a dataset's manifest, its bytes as they are (empty: there is none) and notes, recovered where need be.

    Raises:
        InputError: There is no dataset, or it was written by a later shardkit.
        StorageError: The storage can't be read.
    """
    place = dataset / MANIFEST_NAME
    try:
        data = read_bytes(place)
    except NotFoundError:
        data = b""
    except StorageError:
        if not is_folder(place):
            raise
        raise InputError(f"{place}: it is a folder, not a file; move it away, then repair again") from None
    try:
        if data:
            found, notes = _with_all_shards(dataset, load_manifest(data, where=str(place)), data)
            return found, data, notes
        why = "there is no manifest"
    except FormatError as err:
        if "upgrade shardkit" in str(err):
            raise InputError(str(err)) from err
        why = str(err)
    manifest, notes = recover_manifest(dataset, data)
    return manifest, data, [f"manifest made from the indices: {why}", *notes]


def _with_all_shards(dataset: Location, manifest: Manifest, data: bytes) -> tuple[Manifest, list[str]]:
    """Return a manifest; where it lacks shards that it counts and that lie there, one made from the indices."""
    missing = manifest.totals.shards - len(manifest.shards)
    if missing <= 0:
        return manifest, []
    try:
        found, notes = recover_manifest(dataset, data)
    except (InputError, StorageError):
        return manifest, []
    if len(found.shards) != manifest.totals.shards:
        return manifest, []
    return found, [f"manifest made from the indices: {missing} of its shards were gone from it", *notes]
