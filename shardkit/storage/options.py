"""Storage options as typed on the command line: ``--storage-option key=value``."""

import re
from collections.abc import Iterable

from shardkit.core.errors import InputError

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+")
_WORDS: dict[str, object] = {"true": True, "false": False, "null": None}
# Credentials stay text however they look: an access key of digits only is still a name.
_ALWAYS_TEXT = frozenset({"key", "secret", "token", "username", "password", "profile"})

_ALWAYS_TRUTH = frozenset({"anon", "use_ssl", "requester_pays", "version_aware"})  # any text would count as true


def parse_options(items: Iterable[str]) -> dict[str, object]:
    """Return storage options from ``key=value`` texts.

    ``true``, ``false``, ``null`` and numbers are read as such, everything else as text; a dot nests.

    >>> parse_options(["endpoint_url=http://127.0.0.1:9000", "anon=true", "client_kwargs.region_name=eu-west-1"])
    {'endpoint_url': 'http://127.0.0.1:9000', 'anon': True, 'client_kwargs': {'region_name': 'eu-west-1'}}

    Raises:
        InputError: An item has no ``=``, an empty or repeated key, or a key is both a value and a group. Messages
            never repeat values, which may be secrets.
    """
    options: dict[str, object] = {}
    for number, item in enumerate(items, 1):
        name, equals, value = item.partition("=")
        keys = name.strip().split(".")
        if not equals or not all(keys):
            raise InputError(f"storage option number {number} is not key=value; write it like endpoint_url=http://HOST")
        _put(options, keys, _value(keys[-1], value))
    return options


def _put(options: dict[str, object], keys: list[str], value: object) -> None:
    group = options
    for depth, key in enumerate(keys[:-1], 1):
        inner = group.setdefault(key, {})
        if not isinstance(inner, dict):
            raise InputError(
                f"storage option {'.'.join(keys[:depth])!r} is a value, so {'.'.join(keys)!r} can't be set"
            )
        group = inner
    if keys[-1] in group:
        raise InputError(f"storage option {'.'.join(keys)!r} is given twice; give it once")
    group[keys[-1]] = value


def _value(key: str, text: str) -> object:
    if key in _ALWAYS_TEXT:
        return text
    if key in _ALWAYS_TRUTH and not isinstance(_WORDS.get(text), bool):
        raise InputError(f"storage option {key!r} is neither true nor false; write {key}=true or {key}=false")
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text
