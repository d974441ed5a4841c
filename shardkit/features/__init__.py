"""Features computed once, into shards of their own: what ``shardkit featurize`` does, and how a loader takes them.

    recordings' dataset ──► featurize(module) ──► features' dataset: same keys, labels, intervals, splits, loudness
    features' dataset ──► Stream ──► Loader(transform=StoredFeatures()) ──► batch.features

Needs torch, as ``shardkit[train]`` installs it.
"""

try:
    import torch as _torch  # noqa: F401  imported here so that its absence is told in words that help
except ImportError as err:
    raise ImportError(
        "computing features needs torch, which shardkit alone does not install: pip install 'shardkit[train]' "
        f"(torch>=2.11,<2.15 with torchaudio==2.11.*); importing it failed: {err}"
    ) from err

from shardkit.features.options import FeaturizeOptions
from shardkit.features.run import featurize
from shardkit.features.stored import StoredFeatures

__all__ = ["FeaturizeOptions", "StoredFeatures", "featurize"]
