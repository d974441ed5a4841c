"""The Arrow types of the manifest's columns, read back from their names."""

import re

import pyarrow as pa

_DECIMAL = re.compile(r"decimal(128|256)\(([0-9]+), (-?[0-9]+)\)")
_ZONED = re.compile(r"timestamp\[(s|ms|us|ns), tz=([^\]]+)\]")
_MAX_DEPTH = 32


def type_of_text(text: str, *, depth: int = 0) -> pa.DataType | None:
    """Return the type that Arrow writes as ``text``; None: it is not one that can be told.

    >>> type_of_text("list<item: struct<a: int64, b: list<item: string>>>")
    ListType(list<item: struct<a: int64, b: list<item: string>>>)
    >>> type_of_text("timestamp[us, tz=UTC]"), type_of_text("no type") is None
    (TimestampType(timestamp[us, tz=UTC]), True)
    """
    if depth > _MAX_DEPTH:
        return None
    head, bracket, inner = text.partition("<")
    if bracket and inner.endswith(">"):
        return _nested(head, inner[:-1], depth)
    if match := _DECIMAL.fullmatch(text):
        make = pa.decimal128 if match.group(1) == "128" else pa.decimal256
        return make(int(match.group(2)), int(match.group(3)))
    if match := _ZONED.fullmatch(text):
        return pa.timestamp(match.group(1), tz=match.group(2))
    try:
        return pa.type_for_alias(text)
    except ValueError:
        return None


def _nested(head: str, inner: str, depth: int) -> pa.DataType | None:
    parts = []
    for part in _split(inner):
        name, colon, kind = part.partition(": ")
        found = type_of_text(kind, depth=depth + 1)
        if not colon or found is None:
            return None
        parts.append(pa.field(name, found))
    if head == "struct" and parts:
        return pa.struct(parts)
    if head in ("list", "large_list") and len(parts) == 1:
        return (pa.list_ if head == "list" else pa.large_list)(parts[0])
    return None


def _split(text: str) -> list[str]:
    """Return the parts of a text between commas that lie in no brackets."""
    parts, depth, start = [], 0, 0
    for at, sign in enumerate(text):
        depth += (sign in "<([") - (sign in ">)]")
        if depth == 0 and text.startswith(", ", at):
            parts.append(text[start:at])
            start = at + 2
    return [*parts, text[start:]]
