"""What all processes that share a block cache must agree on, and the file in which it stands."""

import errno
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from shardkit.core.errors import InputError
from shardkit.storage.blockset import PAGE, locked, space_of

NAME = "shardkit-cache.json"
_TEMPORARY = ".shardkit-cache.tmp"
_WAYS = 64  # blocks a set, or a little more: enough that few sets are full while others are not
_VERSION = 1
_LOCK_TRIES = 1000  # two seconds, for writing one small file


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a cache is divided: ``num_sets`` folders, each with an equal share of the limit; sizes in bytes."""

    limit_bytes: int
    block_bytes: int
    num_sets: int

    @property
    def share_bytes(self) -> int:
        """What the files of one set may take."""
        return self.limit_bytes // self.num_sets


def choose(folder: Path, limit_bytes: int, block_bytes: int) -> Geometry:
    """Return the geometry for a limit and a block size.

    Raises:
        InputError: The block size is not a positive multiple of 4,096, or the limit too small for one block.
    """
    if block_bytes <= 0 or block_bytes % PAGE:
        raise InputError(f"{folder}: cache blocks of {block_bytes:,} bytes; give a positive multiple of {PAGE:,}")
    smallest = space_of(block_bytes)
    if limit_bytes < smallest:
        raise InputError(f"{folder}: a cache limit of {limit_bytes:,} bytes holds no block; give {smallest:,} or more")
    return Geometry(limit_bytes, block_bytes, max(1, limit_bytes // (_WAYS * smallest)))


def agree(folder: Path, geometry: Geometry) -> None:
    """Make the folder and write the geometry there, if no process has yet; else check that it is the same.

    Raises:
        InputError: The cache there has another geometry, or what is there is no cache.
        OSError: The folder can't be made, read or written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(folder, _LOCK_TRIES) as descriptor:
        if descriptor is None:
            raise OSError(errno.EBUSY, "another process keeps its folder locked")
        asked = {"version": _VERSION} | asdict(geometry)
        found = _read(folder)
        if found is None:
            _write(folder, descriptor, asked)
        elif found != asked:
            raise InputError(_difference(folder, found, asked))


def _read(folder: Path) -> dict[str, object] | None:
    try:
        text = (folder / NAME).read_bytes()
    except FileNotFoundError:
        return None
    with suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            return found
    raise InputError(f"{folder / NAME}: not the file of a cache; remove that folder, or choose another for the cache")


def _write(folder: Path, descriptor: int, asked: dict[str, int]) -> None:
    temporary = folder / _TEMPORARY
    with temporary.open("w") as file:
        json.dump(asked, file, indent=1)
        file.flush()
        os.fsync(file.fileno())  # once in a cache's life; torn, it would need a person
    temporary.replace(folder / NAME)
    os.fsync(descriptor)


def _difference(folder: Path, found: dict[str, object], asked: dict[str, int]) -> str:
    differing = [name for name in asked if found.get(name) != asked[name]]
    there = ", ".join(f"{name} {found.get(name)}" for name in differing)
    here = ", ".join(f"{name} {asked[name]}" for name in differing)
    return (
        f"{folder}: the cache there has {there or 'other entries'}, asked for was {here or 'none of them'}; give the "
        "same limit and block size, choose another folder, or remove this one while nothing uses it"
    )
