"""Where the parts of a shard are, if not where its manifest says: names are what a manifest alone knows."""

from collections import Counter
from collections.abc import Iterator

from shardkit.core.errors import InputError, NotFoundError, StorageError
from shardkit.format.hashing import file_hash
from shardkit.format.manifest import Manifest, ShardInfo
from shardkit.repair.evidence import read_evidence
from shardkit.repair.names import stem
from shardkit.storage.location import Location
from shardkit.storage.reference import resolve
from shardkit.storage.store import list_files, read_bytes, size


def relocate(dataset: Location, manifest: Manifest) -> tuple[Manifest, list[str]]:
    """Return the manifest with each part under the name where it is, and with what that changed, a line each.

    A tar that is missing, or that two shards name, is looked for under the name in its index and under its index's own;
    an index under its tar's name. Parts are taken for what they should be by their size and hash.
    """
    listed = _listed(dataset)
    shards: list[ShardInfo] = []
    reasons: list[str] = []
    paths = Counter(shard.path for shard in manifest.shards)
    indices = Counter(shard.index for shard in manifest.shards)
    for shard in dict.fromkeys(manifest.shards):
        changes = {}
        folder = shard.index.partition("/")[0]
        if shard.split not in manifest.splits and folder in manifest.splits:
            changes["split"] = folder
        if indices[shard.index] > 1 or _is_missing(shard.index, listed):
            changes["index"] = next(_indices(dataset, shard), shard.index)
        if paths[shard.path] > 1 or _is_missing(shard.path, listed):
            changes["path"] = next(_tars(dataset, shard, changes.get("index", shard.index)), shard.path)
        changes = {name: value for name, value in changes.items() if value != getattr(shard, name)}
        reasons += [f"shard {shard.path}: its {name} is {value}" for name, value in changes.items()]
        shards.append(shard.model_copy(update=changes) if changes else shard)
    if len(shards) < len(manifest.shards):
        reasons.append("it names a shard twice")
    return (manifest.model_copy(update={"shards": tuple(shards)}) if reasons else manifest), reasons


def _listed(dataset: Location) -> frozenset[str] | None:
    """Return the names of the files in a folder; None where it can't be listed."""
    try:
        return frozenset(file.name for file in list_files(dataset))
    except StorageError:
        return None


def _is_missing(name: str, listed: frozenset[str] | None) -> bool:
    """Tell whether a file of the folder is missing; of tars elsewhere the checks that follow tell it."""
    outside = name.startswith(("/", "../")) or "://" in name
    return listed is not None and not outside and name not in listed


def _indices(dataset: Location, shard: ShardInfo) -> Iterator[str]:
    name = f"{stem(shard.path)}.parquet"
    if name.count("/") == 1 and not name.startswith((".", "/")) and _size(dataset, name) is not None:
        try:
            if file_hash(read_bytes(dataset / name)) == shard.index_hash:
                yield name
        except NotFoundError:
            return


def _tars(dataset: Location, shard: ShardInfo, index: str) -> Iterator[str]:
    told = read_evidence(dataset / index).note.get("tar")
    for name in (f"{stem(index)}.tar", told):
        if isinstance(name, str) and _size(dataset, name) == shard.bytes:
            yield name.removeprefix(str(dataset).rstrip("/") + "/")


def _size(dataset: Location, name: str) -> int | None:
    """Return the bytes of a file; None: there is none."""
    try:
        return size(resolve(dataset, name))
    except (InputError, NotFoundError):
        return None
    except StorageError:  # a folder; that storage fails is told by the checks that follow
        return None
