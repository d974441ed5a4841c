"""Which sample goes into which shard: a pure function of the inputs and the options, settled before work starts.

So any number of processes gives the same bytes, and a process that dies costs its shard and nothing else. The size
of a recording after encoding is not known yet; it is estimated from its size now and a ratio measured on a few
recordings of its kind (``shardkit.pack.estimate``).
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shardkit.core.errors import InputError
from shardkit.core.random import hash64, key_of, uniform
from shardkit.pack.inputs import PackInput
from shardkit.pack.options import DEFAULT_SPLIT, PackOptions, check_split_name

_ORIGIN = np.zeros(1, dtype=np.int64)  # a group's chance depends on its name alone, not on a position
_PER_SAMPLE_BYTES = 2_048  # tar headers, padding and the JSON member


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """The inputs of one shard, in order. ``stem`` is its path without an extension: ``train/000003``."""

    split: str
    stem: str
    inputs: tuple[PackInput, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes of the inputs' files."""
        return sum(item.size for item in self.inputs)


def plan_shards(
    inputs: Sequence[PackInput],
    options: PackOptions,
    *,
    bytes_ratio: Mapping[str, float],
    first_numbers: Mapping[str, int] | None = None,
    split_of: Mapping[str, str] | None = None,
) -> list[ShardPlan]:
    """Return the shards to write.

    Args:
        inputs: All samples; their keys are unique.
        options: Size, order and splits.
        bytes_ratio: Encoded bytes for each byte of input, by lower-case extension.
        first_numbers: Number of the first shard of each split, where not 0.
        split_of: Where inputs are appended: the splits of the groups that are there.

    Raises:
        InputError: A split would be empty, or a split column holds a name that can't be a folder.
    """
    plans: list[ShardPlan] = []
    if not inputs:
        return plans
    for split, members in _by_split(inputs, options, split_of).items():
        ordered = _in_order(members, options)
        estimates = [_PER_SAMPLE_BYTES + item.size * bytes_ratio.get(_extension(item), 1.0) for item in ordered]
        first = (first_numbers or {}).get(split, 0)
        for number, shard in enumerate(_cut(ordered, estimates, options.shard_bytes), first):
            plans.append(ShardPlan(split, f"{split}/{number:06d}", shard))
    return plans


def _by_split(
    inputs: Sequence[PackInput], options: PackOptions, known: Mapping[str, str] | None
) -> dict[str, list[PackInput]]:
    if any(item.split is not None for item in inputs):
        splits: dict[str, list[PackInput]] = {}
        for item in inputs:
            check_split_name(item.split or "", where=item.where)
            splits.setdefault(item.split or "", []).append(item)
        return dict(sorted(splits.items()))
    if not options.splits:
        return {DEFAULT_SPLIT: list(inputs)}
    groups = [_group(item, options.split_by) for item in inputs]
    split_of = split_groups(set(groups), options) if known is None else {**_by_hash(set(groups), options), **known}
    splits = {name: [] for name in options.splits}
    for item, group in zip(inputs, groups, strict=True):
        splits[split_of[group]].append(item)
    return {name: members for name, members in splits.items() if members}


def split_groups(groups: Collection[str], options: PackOptions) -> dict[str, str]:
    """Return the split of each group: where a hash of (seed, group) falls among the fractions.

    So a speaker stays in his split when more speakers are added. Only where that leaves a split empty, as it may
    with a handful of groups, does the group whose hash lies nearest move into it.

    Raises:
        InputError: There are fewer groups than splits.
    """
    kind = f"values of {options.split_by!r}" if options.split_by else "samples"
    if len(groups) < len(options.splits):
        raise InputError(f"{len(groups)} {kind} can't fill {len(options.splits)} splits; ask for fewer splits")
    split_of = _by_hash(groups, options)
    points, bounds = _points(groups, options), _bounds(options)
    for index, name in enumerate(options.splits):
        if name not in split_of.values():
            sizes = Counter(split_of.values())
            spare = [group for group in points if sizes[split_of[group]] > 1]
            low, high = bounds[index], bounds[index + 1]
            split_of[min(spare, key=lambda group: max(low - points[group], points[group] - high))] = name
    return split_of


def _by_hash(groups: Collection[str], options: PackOptions) -> dict[str, str]:
    """Return the split in whose fraction each group's hash falls."""
    names, bounds = list(options.splits), _bounds(options)
    return {
        group: names[int(np.searchsorted(bounds, point, side="right")) - 1]
        for group, point in _points(groups, options).items()
    }


def _points(groups: Collection[str], options: PackOptions) -> dict[str, float]:
    return {group: float(uniform(options.seed, _ORIGIN, f"split of {group}")[0]) for group in sorted(groups)}


def _bounds(options: PackOptions) -> NDArray[np.float64]:
    bounds = np.cumsum([0.0, *options.splits.values()])
    bounds[-1] = 1.0  # the fractions may fall short of it by rounding
    return bounds


def _group(item: PackInput, column: str | None) -> str:
    if column is None:
        return item.key
    if column not in item.metadata:
        raise InputError(
            f"{item.where}: no column {column!r} to split by; there is {', '.join(map(repr, item.metadata))}"
        )
    return str(item.metadata[column])


def _in_order(inputs: Sequence[PackInput], options: PackOptions) -> list[PackInput]:
    by_key = sorted(inputs, key=lambda item: item.key)
    if not options.shuffle:
        return by_key
    keys = np.array([key_of(item.key) for item in by_key], dtype=np.uint64)
    return [by_key[i] for i in np.argsort(hash64(options.seed, key_of("shard order"), keys), kind="stable")]


def _cut(inputs: Sequence[PackInput], estimates: Sequence[float], shard_bytes: int) -> list[tuple[PackInput, ...]]:
    """Cut into shards of nearly equal estimated size, at most about ``shard_bytes``."""
    ends = np.cumsum(estimates)
    num_shards = math.ceil(ends[-1] / shard_bytes)
    middle = ends - np.asarray(estimates) / 2
    shard_of = np.minimum((middle * num_shards / ends[-1]).astype(np.int64), num_shards - 1)
    cuts = [0, *(np.flatnonzero(np.diff(shard_of)) + 1).tolist(), len(inputs)]
    return [tuple(inputs[start:stop]) for start, stop in pairwise(cuts)]


def _extension(item: PackInput) -> str:
    return item.path.rpartition(".")[2].lower()
