"""Options of an importer: its keyword-only parameters, given as text, each checked by its annotation."""

import inspect
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

from shardkit.core.errors import InputError
from shardkit.pack.importers.contract import Importer
from shardkit.storage.location import Location, locate

_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def checked_options(
    importer: Importer, given: Mapping[str, str], *, kind: str, storage: Mapping[str, object]
) -> dict[str, Any]:
    """Return the values of an importer's options.

    Args:
        importer: Its keyword-only parameters are str, int, float, bool or ``Location``, or one of them and None.
        given: Text by name.
        kind: What the importer is called, for messages.
        storage: Storage options of locations.

    Raises:
        InputError: An option is unknown or missing, or its text is no such value.
    """
    hints = get_type_hints(importer)
    known = {
        name: parameter
        for name, parameter in inspect.signature(importer).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    values = {}
    for name, text in given.items():
        if name not in known:
            raise InputError(f"--from-option {name}: {kind} has no such option; {_listed(known)}")
        values[name] = _value(text, hints.get(name, str), name, storage)
    for name, parameter in known.items():
        if name not in values and parameter.default is inspect.Parameter.empty:
            raise InputError(f"{kind} needs --from-option {name}=VALUE")
    return values


def _listed(names: Mapping[str, object]) -> str:
    return f"it has {', '.join(names)}" if names else "it has none"


def _value(text: str, annotation: Any, name: str, storage: Mapping[str, object]) -> Any:
    choices = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    wanted = next(choice for choice in choices if choice is not type(None))
    if wanted is Location:
        return locate(text, storage if "://" in text else None)
    if wanted is bool:
        if text.lower() in _BOOLEANS:
            return _BOOLEANS[text.lower()]
        raise InputError(f"--from-option {name}={text}: write true or false")
    if wanted not in (int, float):
        return text
    try:
        return wanted(text)
    except ValueError:
        kind = "a whole number" if wanted is int else "a number"
        raise InputError(f"--from-option {name}={text}: not {kind}") from None
