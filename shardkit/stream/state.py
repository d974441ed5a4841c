"""The state of a stream: a position, and a fingerprint that says which stream it belongs to."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from shardkit.core.errors import StateError

STATE_VERSION = 1
_DIGITS = 8  # 32 bits for each part: it guards against mistakes, not against attack


def fingerprint(parts: Mapping[str, Any]) -> dict[str, str]:
    """Return a short hash of each part of what a stream's order depends on.

    Parts are hashed one by one so that a mismatch can name what differs.
    """
    return {
        name: hashlib.blake2b(json.dumps(part, sort_keys=True).encode(), digest_size=_DIGITS // 2).hexdigest()
        for name, part in parts.items()
    }


def dump_state(position: int, expected: Mapping[str, str]) -> dict[str, Any]:
    """Return the state as plain JSON values, under 1 KiB."""
    return {"version": STATE_VERSION, "fingerprint": dict(expected), "position": position}


def load_state(state: Mapping[str, Any], expected: Mapping[str, str], *, global_batch: int) -> int:
    """Return the position of a state.

    Raises:
        StateError: Not a state, or the state of another stream; the message names what differs.
    """
    if not isinstance(state, Mapping) or not {"version", "fingerprint", "position"} <= state.keys():
        raise StateError(f"not the state of a stream: {str(state)[:80]!r}; pass what state_dict() returned")
    if state["version"] != STATE_VERSION:
        raise StateError(f"state version {state['version']}, this shardkit reads {STATE_VERSION}")
    found = state["fingerprint"]
    if not isinstance(found, Mapping):
        raise StateError(f"not the state of a stream: its fingerprint is {found!r}; pass what state_dict() returned")
    differs = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
    if differs:
        raise StateError(
            f"the state belongs to another stream: {', '.join(differs)} differ; open the same sources with the same "
            "settings, or start at position 0"
        )
    position = state["position"]
    if not isinstance(position, int) or position < 0 or position % global_batch:
        raise StateError(f"position {position!r} is not a multiple of the global batch {global_batch}")
    return position
