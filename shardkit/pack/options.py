"""Options of ``shardkit pack``: frozen, validated when made."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from shardkit.audio.options import MAX_DECODED_BYTES
from shardkit.core.errors import InputError
from shardkit.core.sizes import parse_size

OnError = Literal["fail", "skip"]
DEFAULT_SPLIT = "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackOptions:
    """What to make of the inputs.

    Attributes:
        codec: ``auto``, ``flac``, ``wav`` or ``keep``; see ``shardkit.audio.transcode``.
        sample_rate: Resample to this rate, in Hz; None keeps each recording's own.
        channels: Mix to this many channels; None keeps each recording's own.
        bit_depth: Quantise to 16 or 24 bits on purpose; None never does.
        flac_level: 0 (fast) to 8 (small).
        loudness: Measure loudness, which salient crops and queries by it need; without, packing takes a quarter less.
        max_decoded_bytes: Most that a recording may decode to, at 4 bytes a sample; beyond, it can't be packed.
        shard_bytes: Aim for the size of a tar.
        splits: Name to fraction; empty puts everything into one split, ``train``, or where a column says.
        split_by: Column whose values are never spread over two splits.
        shuffle: Order the samples by a seeded hash of their keys rather than by key.
        seed: Of the order and of the split.
        on_error: What an input that can't be packed does: ``fail`` the run, or be ``skip``-ped and reported.
        workers: Processes, and threads where there is too little to do for so many of those.
        name: The dataset's name; None takes the output folder's.
    """

    codec: Literal["auto", "flac", "wav", "keep"] = "auto"
    sample_rate: int | None = None
    channels: int | None = None
    bit_depth: Literal[16, 24] | None = None
    flac_level: int = 5
    loudness: bool = True
    max_decoded_bytes: int = MAX_DECODED_BYTES
    shard_bytes: int = 256_000_000
    splits: Mapping[str, float] = field(default_factory=dict)
    split_by: str | None = None
    shuffle: bool = True
    seed: int = 0
    on_error: OnError = "fail"
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    name: str | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be done, before anything is read."""
        if self.on_error not in ("fail", "skip"):
            raise InputError(f"on_error is {self.on_error!r}; choose fail or skip")
        if self.shard_bytes < 1:
            raise InputError(f"shard size is {self.shard_bytes} bytes; it must be positive, like 256MB")
        if self.workers < 1:
            raise InputError(f"workers is {self.workers}; it must be at least 1")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed is {self.seed}; it must be from 0 to 2^63 - 1")
        if self.split_by and not self.splits:
            raise InputError(
                f"split_by is {self.split_by!r} but there is nothing to split into; give train=0.9,val=0.1"
            )
        _check_fractions(self.splits)

    def recorded(self) -> dict[str, object]:
        """Return what the manifest keeps: the options that shape the bytes (the number of workers does not)."""
        return {
            "codec": self.codec,
            "sample_rate": self.sample_rate,
            "channels": self.channels,
            "bit_depth": self.bit_depth,
            "flac_level": self.flac_level,
            "loudness": self.loudness,
            "shard_bytes": self.shard_bytes,
            "splits": dict(self.splits),
            "split_by": self.split_by,
            "shuffle": self.shuffle,
            "seed": self.seed,
        }


def parse_split(text: str) -> tuple[dict[str, float], str | None]:
    """Return (fractions, column) of a ``--split`` value: ``train=0.9,val=0.1``, or the name of a column.

    >>> parse_split("train=0.9,val=0.1")
    ({'train': 0.9, 'val': 0.1}, None)
    >>> parse_split("subset")
    ({}, 'subset')
    """
    if "=" not in text:
        return {}, text
    fractions: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            fraction = float(value)
        except ValueError:
            raise InputError(f"split {text!r}: {part!r} is not NAME=FRACTION; write train=0.9,val=0.1") from None
        if name.strip() in fractions:
            raise InputError(f"split {text!r}: {name.strip()!r} is given twice")
        fractions[name.strip()] = fraction
    _check_fractions(fractions)
    return fractions, None


def parse_shard_size(text: str) -> int:
    """Return the bytes of a ``--shard-size`` value such as ``256MB``."""
    return parse_size(text, what="shard size")


def check_split_name(name: str, *, where: str) -> None:
    """Raise unless ``name`` can be a folder of the dataset."""
    if not name or name in (".", "..") or any(sign in name for sign in "/\\\0") or name.startswith("."):
        raise InputError(f"{where}: {name!r} can't name a split; use letters, digits, '-' and '_'")


def _check_fractions(splits: Mapping[str, float]) -> None:
    for name, fraction in splits.items():
        check_split_name(name, where="split")
        if not 0.0 < fraction <= 1.0:
            raise InputError(f"split {name!r} has the fraction {fraction:g}; it must be above 0 and at most 1")
    if splits and abs(sum(splits.values()) - 1.0) > 1e-6:
        raise InputError(f"the splits' fractions add up to {sum(splits.values()):g}, not 1; nothing may be lost")
