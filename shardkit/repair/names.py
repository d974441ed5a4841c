"""Names of what a repair writes: beside what they replace, never in its place.

train/000003.tar    train/000003.parquet             as packed
train/000003.repair-1.tar    ….repair-1.parquet      what the first repair made of it
shardkit.json.before-repair-1                        the manifest that it replaced
"""

import re

from shardkit.format.hashing import PREFIX
from shardkit.report.problems import KEPT_MANIFEST

UNKNOWN_HASH = PREFIX + "0" * 32  # of a file of which nothing says what it should be
_REPAIRED = re.compile(r"\.repair-([0-9]+)$")


def base_stem(name: str) -> str:
    """Return the name of a shard's part without its extension, as it was before any repair.

    >>> base_stem("train/000003.repair-2.parquet"), base_stem("train/000003.parquet")
    ('train/000003', 'train/000003')
    """
    return _REPAIRED.sub("", stem(name))


def stem(name: str) -> str:
    """Return the name of a shard's part without its extension."""
    return name.removesuffix(".parquet").removesuffix(".tar")


def generation(name: str) -> int:
    """Return the number of the repair that wrote a part; 0: none did.

    >>> generation("train/000003.repair-2.tar"), generation("train/000003.tar")
    (2, 0)
    """
    found = _REPAIRED.search(stem(name))
    return int(found.group(1)) if found else 0


def is_rewritten(path: str) -> bool:
    """Tell whether a repair wrote a tar: then its members have whole keys as names."""
    return generation(path) > 0


def kept_manifest(number: int) -> str:
    """Return the name of the manifest that a repair replaced."""
    return f"{KEPT_MANIFEST}{number}"


def number_of(name: str) -> int | None:
    """Return the number in the name of a kept manifest; None: it is none.

    >>> number_of("shardkit.json.before-repair-3"), number_of("shardkit.json")
    (3, None)
    """
    digits = name.removeprefix(KEPT_MANIFEST)
    return int(digits) if name != digits and digits.isdecimal() else None
