"""Features computed once, into shards of their own: what ``shardkit featurize`` does, and how a loader takes them.

    recordings' dataset ──► featurize(module) ──► features' dataset: same keys, labels, intervals, splits, loudness
    features' dataset ──► Stream ──► Loader(transform=StoredFeatures()) ──► batch.features

Needs torch, as ``shardkit[train]`` installs it.
"""

from shardkit.features.options import FeaturizeOptions
from shardkit.features.run import featurize
from shardkit.features.stored import StoredFeatures

__all__ = ["FeaturizeOptions", "StoredFeatures", "featurize"]
