"""Which rank this process is: the one place that looks at the environment for it."""

import os
import sys

from shardkit.core.errors import InputError


def resolve_ranks(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return (rank, world size): as given, else torch.distributed's, else RANK and WORLD_SIZE, else (0, 1).

    torch is looked at only if the program has imported it already.

    Raises:
        InputError: Only one of the two is known, or the rank is not below the world size.
    """
    if rank is None and world_size is None:
        rank, world_size = _from_torch() or _from_environment() or (0, 1)
    if rank is None or world_size is None:
        raise InputError(f"rank is {rank} and world_size is {world_size}; give both, or neither")
    if world_size < 1 or not 0 <= rank < world_size:
        raise InputError(f"rank {rank} of world size {world_size}: the rank must be from 0 to world size - 1")
    return rank, world_size


def _from_torch() -> tuple[int, int] | None:
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed.get_rank(), distributed.get_world_size()


def _from_environment() -> tuple[int | None, int | None] | None:
    rank, world_size = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    if rank is None and world_size is None:
        return None
    try:
        return (None if rank is None else int(rank)), (None if world_size is None else int(world_size))
    except ValueError:
        raise InputError(
            f"RANK={rank!r} and WORLD_SIZE={world_size!r} in the environment must be whole numbers"
        ) from None
