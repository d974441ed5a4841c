"""A stream as torch batches: through threads and onto the GPU, or through DataLoader's worker processes.

    Stream ──► Loader (thread or workers, side stream) ───► TorchBatch on the device, with features
           ──► StreamingDataset ──► DataLoader (workers) ─► TorchBatch on the CPU

Needs torch, as ``shardkit[train]`` installs it.
"""

try:
    import torch as _torch  # noqa: F401  imported here so that its absence is told in words that help
except ImportError as err:
    raise ImportError(
        "shardkit.train needs torch, which shardkit alone does not install: pip install 'shardkit[train]' "
        f"(torch>=2.11,<2.15 with torchaudio==2.11.*); importing it failed: {err}"
    ) from err

from shardkit.train.batch import TorchBatch
from shardkit.train.dataset import StreamingDataset
from shardkit.train.loader import Loader

__all__ = ["Loader", "StreamingDataset", "TorchBatch"]
