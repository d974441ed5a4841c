"""Frontends that learn with the network behind them: what they compute is of their parameters.

    audio ─► filters at the audio's rate ─► pooled to frames ─► compressed
             LEAF: Gabor, |·|²              Gaussian            sPCEN
             SincNet: band-passes           maximum             layer norm

``docs/frontends.md`` says how to train them and what they cost.
"""

from shardkit.nn.frontends.leaf import LEAF
from shardkit.nn.frontends.sincnet import SincNet
from shardkit.nn.frontends.spcen import SPCEN

__all__ = ["LEAF", "SPCEN", "SincNet"]
