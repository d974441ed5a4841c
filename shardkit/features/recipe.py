"""What decides the values of features, and its hash: features are stale when that differs, and only then."""

import json
from collections.abc import Sequence
from typing import Any

import torch

from shardkit.features.compute import Computer
from shardkit.features.options import FeaturizeOptions
from shardkit.format.hashing import file_hash
from shardkit.format.manifest import FeaturesInfo, ShardInfo

# Raised whenever the same module's description and recordings give other values, in whatever bit.
REVISION = 1


def recipe(computer: Computer, options: FeaturizeOptions, shards: Sequence[ShardInfo], *, source: str) -> FeaturesInfo:
    """Return what the features of some shards are, with its key.

    Args:
        computer: What computes them.
        options: How.
        shards: The recordings' shards.
        source: Where these lie, for people.
    """
    decides: dict[str, Any] = {
        "field": options.field,
        "config": computer.config(),
        "revision": REVISION,
        "sample_rate": computer.sample_rate,
        "hop_length": computer.hop_length,
        "channels": options.channels,
        "dtype": computer.dtype,
        # An index has the hash of its tar, so with it all of the content is named.
        "source_hash": file_hash(json.dumps([[shard.split, shard.index_hash] for shard in shards]).encode()),
    }
    return FeaturesInfo(
        key=file_hash(json.dumps(decides, sort_keys=True).encode()),
        silence=computer.silence,
        source=source,
        torch=torch.__version__,
        device=computer.device.type,
        **decides,
    )


def what_differs(there: FeaturesInfo, wanted: FeaturesInfo) -> str:
    """Return in what features that are there differ from those that are wanted, for a message."""
    differing = there.differences(wanted)
    if there.source_hash != wanted.source_hash:
        other = "" if there.source == wanted.source else f", of {there.source}"
        differing.append(f"other content of the recordings' dataset{other}")
    return ", ".join(differing) or "another key"
