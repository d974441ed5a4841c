"""Sizes and durations as people type and read them."""

import re

from shardkit.core.errors import InputError

_UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
_PATTERN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def parse_size(text: str | int, *, what: str) -> int:
    """Return bytes of a text such as ``256MB`` (10^6) or ``1GiB`` (2^30); a plain number is bytes.

    >>> parse_size("1.5 KiB", what="size")
    1536
    """
    if isinstance(text, int) and text > 0:
        return text
    text = str(text)
    match = _PATTERN.fullmatch(text)
    unit = match.group(2).upper() if match else None
    if match is None or unit not in _UNITS:
        raise InputError(f"{what} {text!r} is not a size; write a number with B, KB, MB, GB, KiB, MiB or GiB: 256MB")
    return int(float(match.group(1)) * _UNITS[unit])


def format_size(num_bytes: float) -> str:
    """Return bytes in decimal units, three digits.

    >>> format_size(187_342)
    '187 KB'
    """
    for unit in ("B", "KB", "MB", "GB"):
        if num_bytes < 999.5:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.4g} TB"


def count(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> count(1, "shard"), count(1200, "shard")
    ('1 shard', '1,200 shards')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def format_duration(seconds: float) -> str:
    """Return seconds in the unit that suits them.

    >>> format_duration(5400)
    '1.50 h'
    """
    if seconds < 120:
        return f"{seconds:.3g} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:,.2f} h"
