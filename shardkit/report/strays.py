"""What lies in a dataset's folder and is not the dataset: told as notes, since it harms no reader.

shardkit.packing             a pack is under way, or was interrupted
.shardkit-partial-x/, …      what a killed process left half-written (local folders; object stores keep no halves)
train/000007.tar|.parquet    a shard that the manifest does not name
"""

import re
from collections.abc import Iterator

from shardkit.core.errors import FormatError, NotFoundError, StorageError
from shardkit.core.sizes import count
from shardkit.format.manifest import Manifest, load_manifest
from shardkit.pack.mark import MARK_NAME
from shardkit.pack.partial import PARTIAL_PREFIX
from shardkit.report.problems import KEPT_MANIFEST, REBUILD, Problem
from shardkit.storage.backend import TEMPORARY_PREFIX
from shardkit.storage.location import Location
from shardkit.storage.store import list_files, read_bytes

SHARD_FILE = re.compile(r"([^/]+)/[0-9]{6,}(\.repair-[0-9]+)?\.(tar|parquet|done)")
_FINISH = "run the same 'shardkit pack' again; where its inputs are gone, 'shardkit repair' keeps what is whole"


def missing_manifest(dataset: Location) -> Problem | None:
    """Return the problem of a folder with shards and no manifest; None where there are no shards either."""
    try:
        names = [file.name for file in list_files(dataset)]
    except StorageError:  # plain HTTP lists nothing
        return None
    tars = sum(bool(SHARD_FILE.fullmatch(name)) and name.endswith(".tar") for name in names)
    indices = sum(bool(SHARD_FILE.fullmatch(name)) and name.endswith(".parquet") for name in names)
    if not tars + indices:
        return None
    found = f"there is none, beside {count(tars, 'tar')} and {indices} of their indices"
    marked = MARK_NAME in names
    what = f"{found}: {MARK_NAME} says that a pack is under way, or was interrupted" if marked else found
    return Problem(kind="manifest-missing", shard=None, what=what, advice=_FINISH if marked else REBUILD)


def notes(dataset: Location, manifest: Manifest) -> Iterator[Problem]:
    """Yield what lies in a dataset's folder beside it; nothing where its storage can't be listed."""
    try:
        names = [file.name for file in list_files(dataset)]
    except StorageError:
        return
    if MARK_NAME in names:
        what = f"{MARK_NAME} says that a pack is under way, or was interrupted after it wrote the manifest"
        yield Problem(kind="interrupted", shard=None, what=what, advice="if none is under way, remove the mark")
    kept = _files_of(manifest)
    for name in names:
        if name.startswith(KEPT_MANIFEST):
            kept |= _files_of_kept(dataset / name)
    for name in names:
        match = SHARD_FILE.fullmatch(name)
        foreign = name.endswith(".tar") and manifest.options.get("adopted")  # the tars' owner may put more there
        if match and name not in kept and not foreign:
            yield _stray(name, "the manifest does not name it")
    for name in _half_written(dataset):
        yield _stray(name, "a process that was killed, or is still at work, left it half-written")


def _stray(name: str, what: str) -> Problem:
    return Problem(kind="stray", shard=name, what=what, advice="if nothing is being written here, it may be removed")


def _files_of(manifest: Manifest) -> set[str]:
    return {name for shard in manifest.shards for name in (shard.path, shard.index)}


def _files_of_kept(place: Location) -> set[str]:
    """Return what a manifest names that a repair kept: the way back."""
    try:
        return _files_of(load_manifest(read_bytes(place), where=str(place)))
    except (FormatError, NotFoundError):
        return set()


def _half_written(dataset: Location) -> list[str]:
    if not dataset.is_local:
        return []
    folder = dataset.local_path
    found = {path for path in folder.rglob(f"{TEMPORARY_PREFIX}*") if path.is_file()}
    found |= set(folder.glob(f"{PARTIAL_PREFIX}*"))
    inside = {path for path in found if not any(parent in found for parent in path.parents)}
    return sorted(path.relative_to(folder).as_posix() for path in inside)
