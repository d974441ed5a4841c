"""How long remote storage is waited for, and how often it is asked again: storage options of shardkit's own.

    connect_timeout   seconds until a connection stands
    read_timeout      seconds without a byte, after which a request is given up and made again
    retry_for         seconds for which what may pass is tried again, an outage for one
    tries             requests at most for one read; null: as many as fit into retry_for
    hedge             0.5 to 0.999: a read that takes longer than this part of those before is asked for a second time
    hedge_share       second requests at most, as a part of all

They stand among fsspec's options (``--storage-option retry_for=900``, ``storage_options={"hedge": 0.95}``) and are
taken out before fsspec sees them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shardkit.core.errors import InputError

# Five minutes outlast most outages of a store and end before NCCL's ten, after which the other ranks give up.
DEFAULTS: dict[str, Any] = {
    "connect_timeout": 3.0,
    "read_timeout": 20.0,  # S3 itself rarely lets one wait 0.2 s, a busy Ceph or MinIO does
    "retry_for": 300.0,
    "tries": None,
    "hedge": None,
    "hedge_share": 0.05,
}
_BOUNDS = {
    "connect_timeout": (0.001, 3600.0),
    "read_timeout": (0.001, 3600.0),
    "retry_for": (0.0, 7 * 86400.0),
    "tries": (1, 1_000_000),
    "hedge": (0.5, 0.999),
    "hedge_share": (0.0, 1.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """The options above, in seconds and parts of one."""

    connect_timeout: float
    read_timeout: float
    retry_for: float
    tries: int | None
    hedge: float | None
    hedge_share: float


def patience_of(options: Mapping[str, object]) -> Patience:
    """Return what storage options say, and the defaults for what they leave open.

    Raises:
        InputError: One of them is no number, or out of its bounds.
    """
    given = {name: options[name] for name in DEFAULTS if name in options}
    for name, value in given.items():
        if value is None and DEFAULTS[name] is None:
            continue
        least, most = _BOUNDS[name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not least <= value <= most or (name == "tries" and not isinstance(value, int)):  # type: ignore[operator]
            kind = "whole number" if name == "tries" else "number"
            raise InputError(f"storage option {name}={value!r}: give a {kind} from {least:g} to {most:g}")
    return Patience(**(DEFAULTS | given))


def without_patience(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are fsspec's."""
    return {name: value for name, value in options.items() if name not in DEFAULTS}
