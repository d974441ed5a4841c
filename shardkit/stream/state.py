"""The state of a stream: a position, the mix so far, and a fingerprint that says which stream it belongs to."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from shardkit.core.errors import StateError

STATE_VERSION = 2
MAX_POSITION = 2**62
_DIGITS = 8  # 32 bits for each part: it guards against mistakes, not against attack


@dataclass(frozen=True, slots=True)
class SavedState:
    """What a state says, once its fingerprint has been compared."""

    position: int
    history: object
    mined: object = None


def fingerprint(parts: Mapping[str, Any]) -> dict[str, str]:
    """Return a short hash of each part of what a stream's order depends on.

    Parts are hashed one by one so that a mismatch can name what differs.
    """
    return {
        name: hashlib.blake2b(json.dumps(part, sort_keys=True).encode(), digest_size=_DIGITS // 2).hexdigest()
        for name, part in parts.items()
    }


def dump_state(position: int, history: object, expected: Mapping[str, str]) -> dict[str, Any]:
    """Return the state as plain JSON values, under 1 KiB."""
    return {"version": STATE_VERSION, "fingerprint": dict(expected), "position": position, "history": history}


def load_state(state: Mapping[str, Any], expected: Mapping[str, str], *, may_differ: Collection[str]) -> SavedState:
    """Return what a state says.

    Args:
        state: What ``dump_state`` returned.
        expected: The fingerprint of the stream.
        may_differ: Parts of the fingerprint that need not be equal.

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
    names = [name for name in {**expected, **found} if name not in may_differ]
    differs = [name for name in names if found.get(name) != expected.get(name)]
    if differs:
        raise StateError(
            f"the state belongs to another stream: {', '.join(differs)} differ; open the same sources with the same "
            f"settings, or start at position 0{_deliberately(differs)}"
        )
    position = state["position"]
    if isinstance(position, bool) or not isinstance(position, int) or not 0 <= position < MAX_POSITION:
        raise StateError(f"position {position!r} is not a whole number from 0 to 2^62; pass what state_dict() returned")
    return SavedState(position, state.get("history", []), state.get("mined"))


def _deliberately(differs: Collection[str]) -> str:
    changes = [f'{name}="new"' for name in ("weights", "global_batch_size") if name in differs]
    if len(changes) < len(differs):
        return ""
    return f"; if meant, load_state_dict(state, {', '.join(changes)})"
