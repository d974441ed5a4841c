"""Checks of what a caller hands over, with one wording for all of them."""

import math
from numbers import Integral, Real
from typing import Any

from shardkit.core.errors import InputError


def is_number(value: Any) -> bool:
    """Return whether a value is a finite real number; truth values are not."""
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


def checked_seconds(value: Any, name: str) -> float:
    """Return a duration as a float, so that 2 and 2.0 are the same, with the same repr and fingerprint.

    Raises:
        InputError: It is not a positive number.
    """
    if not is_number(value) or float(value) <= 0:
        raise InputError(f"{name} {value!r} is not a positive number of seconds; choose one such as 2.0")
    return float(value)


def checked_whole(value: Any, name: str, *, least: int = 1, most: int = 2**40) -> int:
    """Return a whole number, of Python's or NumPy's, as an int.

    Raises:
        InputError: It is something else, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"{name} is {value!r}; it must be a whole number")
    whole = int(value)  # of NumPy's integers too, which JSON does not take
    if not least <= whole <= most:
        bound = f"at least {least}" if whole < least else f"at most {most}"
        raise InputError(f"{name} is {whole}; it must be {bound}")
    return whole
