"""A fused path for CUDA devices, in Triton: from audio to log-mels in one kernel (``kernel.py`` says how)."""

from shardkit.nn.fused.launch import FusedMel, fused_mel

__all__ = ["FusedMel", "fused_mel"]
