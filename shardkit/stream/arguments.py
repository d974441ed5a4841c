"""What is handed to a stream, checked."""

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from shardkit.core.checks import checked_seconds, checked_whole
from shardkit.core.crops import Crop
from shardkit.core.errors import InputError
from shardkit.core.shuffle import Shuffle
from shardkit.core.sizes import parse_size
from shardkit.storage.blockcache import BlockCache
from shardkit.storage.location import locate
from shardkit.stream.delivery import Threads
from shardkit.stream.fields import AudioType
from shardkit.stream.mix import Stages
from shardkit.stream.plan import Views
from shardkit.stream.sources import Source
from shardkit.stream.targets import LabelNames
from shardkit.stream.view import View
from shardkit.stream.workers import available_cores

_MAX_LOCAL_THREADS = 8  # decoding holds the GIL for part of its time; more threads stop paying
_REMOTE_THREADS = 64  # at most; a pace says how many of them run, see ``workers``
_DEFAULT_BATCH = 32


def named_sources(sources: Mapping[str, View] | View) -> list[Source]:
    """Return the sources of a stream; one view has its dataset's name."""
    if isinstance(sources, View):
        return [Source(sources.manifest.name, sources)]
    if not isinstance(sources, Mapping):
        raise InputError(f'sources are a {type(sources).__name__}; give a view, or views by name: {{"speech": view}}')
    if not sources:
        raise InputError("a stream needs at least one source")
    for name, view in sources.items():
        if not isinstance(name, str) or not isinstance(view, View):
            raise InputError(f"source {name!r} is a {type(view).__name__}; give what shardkit.open returns")
    return [Source(name, view) for name, view in sources.items()]


def checked_names(names: Sequence[str], what: str) -> tuple[str, ...]:
    """Return a list of names as a tuple."""
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{what} is {names!r}; give a list of names")
    return tuple(names)


def rank_batch_size(
    batch_size: int | None, global_batch_size: int | None, world_size: int, *, composed: int | None
) -> int:
    """Return the samples of one rank's batch; ``composed`` are those of a fixed composition, if there is one."""
    if composed is not None:
        if batch_size is None and global_batch_size is None:
            global_batch_size = composed
        whole = global_batch_size or checked_whole(batch_size, "batch_size") * world_size
        if isinstance(whole, int) and whole % composed:
            raise InputError(
                f"a global batch of {whole} is no multiple of the {composed} samples that composition adds up to; "
                f"choose {-(-whole // composed) * composed}, or other counts"
            )
    if global_batch_size is None:
        return checked_whole(_DEFAULT_BATCH if batch_size is None else batch_size, "batch_size", most=2**31)
    whole = checked_whole(global_batch_size, "global_batch_size", most=2**40)
    if whole % world_size:
        below = whole // world_size * world_size
        near = " or ".join(str(size) for size in (below, below + world_size) if size)
        raise InputError(f"a global batch of {whole} can't be divided among {world_size} ranks; choose {near}")
    share = whole // world_size
    if batch_size is not None and checked_whole(batch_size, "batch_size") != share:
        raise InputError(
            f"batch_size {batch_size} on {world_size} ranks is a global batch of {batch_size * world_size}, not "
            f"{whole}; give one of the two"
        )
    return share


def warn_of_short_epochs(sources: Sequence[Source], stages: Stages, epoch: int | None) -> None:
    """Warn of a source of one row for each value that does not come round in an epoch."""
    for stage in stages if epoch is not None else ():
        for source, share in zip(sources, stage.shares, strict=True):
            num_drawn = (epoch or 0) * share // sum(stage.shares)
            if source.view.steady and 0 < num_drawn < len(source.view):
                warnings.warn(
                    f"source {source.name!r}: an epoch of {epoch} samples draws {num_drawn} of its {len(source.view)} "
                    "values; give it a larger share of the batch, or take longer epochs",
                    stacklevel=3,
                )


def checked_label_names(labels: LabelNames) -> LabelNames:
    """Return what labels of one name in several sources are."""
    if labels not in get_args(LabelNames):
        raise InputError(f"labels is {labels!r}; choose {' or '.join(get_args(LabelNames))}")
    return labels


def checked_dtype(dtype: AudioType) -> AudioType:
    """Return the type of the delivered audio."""
    if dtype not in get_args(AudioType):
        raise InputError(f"dtype is {dtype!r}; choose {' or '.join(get_args(AudioType))}")
    return dtype


def checked_passes(
    passes: Literal[1] | None,
    weights: object,
    temperature: object,
    epoch_samples: object,
    composition: object,
    groups: object,
) -> Literal[1] | None:
    """Return ``passes`` if it can be, together with what else was given."""
    if composition is not None and (weights is not None or temperature is not None):
        raise InputError("composition says the samples of each source in a batch, so weights and temperature can't")
    if passes is None:
        return None
    if isinstance(passes, bool) or passes != 1:
        raise InputError(f"passes is {passes!r}; choose 1 (each row once) or None (endless)")
    if weights is not None or temperature is not None:
        raise InputError("passes=1 delivers each row exactly once, so weights have no meaning; leave one of them out")
    if composition is not None:
        raise InputError(
            "passes=1 delivers each row exactly once, so composition has no meaning; leave one of them out"
        )
    if groups is not None:
        raise InputError("passes=1 delivers each row exactly once, so groups have no meaning; leave one of them out")
    if epoch_samples is not None:
        raise InputError("passes=1 ends with the pass, so epoch_samples has no meaning; leave one of them out")
    return 1


def checked_views(views: int, distance_s: float | None, crop: Crop | None) -> Views:
    """Return how many crops are taken of each sample, and where."""
    count = checked_whole(views, "views", most=2**10)
    if count == 1:
        if distance_s is not None:
            raise InputError(
                "view_distance_s without views: say how many crops to take of each sample, such as views=2"
            )
        return Views()
    if crop is None:
        raise InputError(f"views={count} without a crop are {count} times the same; give a crop, or views=1")
    return Views(count=count, distance_s=None if distance_s is None else checked_seconds(distance_s, "view_distance_s"))


def node_cache(folder: str | os.PathLike[str] | None, size: str | int | None) -> BlockCache | None:
    """Return the cache of this node, if one is asked for."""
    if folder is None:
        if size is not None:
            raise InputError("cache_size without cache: name a folder on a disk of this node")
        return None
    if size is None:
        raise InputError(
            f"cache={str(folder)!r} without cache_size: say what it may take on that disk, such as '200GB'"
        )
    location = locate(folder)
    if not location.is_local:
        raise InputError(f"cache={str(folder)!r} is no folder of this node; name one on a disk of its own")
    return BlockCache(location.local_path, parse_size(size, what="cache_size"))


def checked_shuffle(shuffle: Shuffle | str) -> Shuffle:
    """Return a shuffle that may be given by its kind."""
    if isinstance(shuffle, Shuffle):
        return shuffle
    if not isinstance(shuffle, str):
        raise InputError(f"shuffle is {shuffle!r}; choose full, block or none, or give a Shuffle")
    return Shuffle(kind=shuffle)  # type: ignore[arg-type]


def is_new(value: object, name: str) -> bool:
    """Return whether a part of a state may differ: whether ``"new"`` was given for it."""
    if value not in (None, "new"):
        raise InputError(f'load_state_dict: {name} is {value!r}; give "new" to let it differ, or leave it out')
    return value == "new"


def checked_threads(threads: int | None, sources: Sequence[Source]) -> Threads:
    """Return the threads that read and decode: so many, or as many as what is read from asks for."""
    if threads is not None:
        return Threads(checked_whole(threads, "threads", most=1024), paced=False)
    return Threads(default_threads(sources), paced=_any_remote(sources))


def default_threads(sources: Sequence[Source]) -> int:
    """Return how many threads there may be that read and decode: for remote sources more than there are cores."""
    return _REMOTE_THREADS if _any_remote(sources) else min(_MAX_LOCAL_THREADS, available_cores())


def _any_remote(sources: Sequence[Source]) -> bool:
    """Return whether some tars are not on this machine."""
    return any(not tar.is_local for source in sources for tar in source.catalog.tars)
