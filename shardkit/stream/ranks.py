"""Which rank this process is: the one place that looks at the environment for it."""

import os
import sys

from shardkit.core.checks import checked_whole
from shardkit.core.errors import InputError

Ranks = tuple[int, int]


def resolve_ranks(rank: int | None, world_size: int | None, *, check: bool = True) -> Ranks:
    """Return (rank, world size): torch.distributed's, else RANK and WORLD_SIZE, else as given, else (0, 1).

    torch is looked at only if the program has imported it already.

    Args:
        rank: As given by the caller, with ``world_size``, or None.
        world_size: Number of ranks.
        check: Whether what is given must agree with the other two; if not, it simply holds.

    Raises:
        InputError: Two of them contradict each other, only half of one is known, or a rank is not below its size.
    """
    claims = {}
    if rank is not None or world_size is not None:
        if rank is None or world_size is None:
            raise InputError(f"rank is {rank} and world_size is {world_size}; give both, or neither")
        world_size = checked_whole(world_size, "world_size", most=2**31)
        claims["the arguments"] = checked_whole(rank, "rank", least=0, most=2**31), world_size
        if not check:
            return _checked(claims["the arguments"])
    claims |= {name: found for name, found in _surroundings().items() if found is not None}
    if not claims:
        return 0, 1
    if len(set(claims.values())) > 1:
        listed = ", ".join(f"{name} say rank {found[0]} of {found[1]}" for name, found in claims.items())
        raise InputError(
            f"{listed}; leave rank and world_size out to follow the process group, or pass check_ranks=False where "
            "they are meant to differ (data-parallel groups, a stream of one process only)"
        )
    return _checked(next(iter(claims.values())))


def check_unchanged(ranks: Ranks) -> None:
    """Raise if the process is by now in a process group in which it has another rank than a stream was made for.

    Raises:
        InputError: The stream was made before the group, so it does not know its rank.
    """
    found = _from_torch()
    if found is not None and found != ranks:
        raise InputError(
            f"the stream was made as rank {ranks[0]} of {ranks[1]}, torch.distributed now says rank {found[0]} of "
            f"{found[1]}; make the stream after init_process_group, or pass check_ranks=False"
        )


def _checked(ranks: Ranks) -> Ranks:
    rank, world_size = ranks
    if world_size < 1 or not 0 <= rank < world_size:
        raise InputError(f"rank {rank} of world size {world_size}: the rank must be from 0 to world size - 1")
    return ranks


def _surroundings() -> dict[str, Ranks | None]:
    return {"torch.distributed": _from_torch(), "RANK and WORLD_SIZE": _from_environment()}


def _from_torch() -> Ranks | None:
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed.get_rank(), distributed.get_world_size()


def _from_environment() -> Ranks | None:
    rank, world_size = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    if rank is None and world_size is None:
        return None
    try:
        return int(rank), int(world_size)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(
            f"RANK={rank!r} and WORLD_SIZE={world_size!r} in the environment must both be whole numbers, or unset"
        ) from None
