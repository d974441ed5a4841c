"""JSON that a user wrote: parsed, with what could not be kept told apart from what can."""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from shardkit.core.errors import InputError

MAX_DEPTH = 32  # of lists and objects in each other; Parquet's readers give up at 100 levels, and a list has two


def parse_json(text: str) -> Any:
    """Return the value of a text in which no object names a key twice.

    Raises:
        InputError: Not JSON, nested too deeply, or a key occurs twice; json.loads would drop the first.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except InputError:
        raise
    except ValueError as err:
        raise InputError(f"not JSON: {err}") from err
    except RecursionError as err:
        raise InputError(f"JSON nested more than {MAX_DEPTH} deep; make it flatter") from err


def value_fault(value: Any, *, depth: int = 0) -> str | None:
    r"""Return what keeps a value from being stored, or None.

    >>> value_fault({"a": ["b", 1.5, None]}) is None, value_fault(["\ud800"])
    (True, 'holds half of a surrogate pair, which is no text; mend it')
    """
    if isinstance(value, str):
        return None if is_text(value) else "holds half of a surrogate pair, which is no text; mend it"
    if not isinstance(value, dict | list | tuple):
        return None
    if depth == MAX_DEPTH:
        return f"is nested more than {MAX_DEPTH} deep; make it flatter"
    parts: Iterable[Any] = [*value, *value.values()] if isinstance(value, dict) else value
    return next((fault for part in parts if (fault := value_fault(part, depth=depth + 1))), None)


def is_text(text: str) -> bool:
    """Tell whether UTF-8 can hold a text: JSON may spell half of a surrogate pair, which Python keeps."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise InputError(f"an object names {twice!r} twice; take one of them out")
    return found
