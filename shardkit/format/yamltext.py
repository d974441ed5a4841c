"""YAML that a user wrote, or somebody else: parsed to plain values, bounded in number.

An alias (``*name``) stands for all that its anchor holds, and may stand in what another anchor holds: ten lines can
mean a billion values. So the values are counted, aliases written out, before any is made.
"""

from typing import Any

import yaml

from shardkit.core.errors import InputError

MAX_BYTES = 4 << 20  # of a file; PyYAML takes some ten seconds for them
MAX_VALUES = 200_000  # with aliases written out
_MAX_DEPTH = 64
_MAX_SCALAR = 4_000  # characters of what is no text: numbers in base 60 take the square of their length
_TEXT = "tag:yaml.org,2002:str"


def parse_yaml(text: str | bytes, *, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """Return the value of a text.

    Args:
        text: In UTF-8 or UTF-16, if bytes.
        loader: Makes the values; a safe one.

    Raises:
        InputError: Not YAML, or too much of it.
    """
    if len(text) > MAX_BYTES:
        raise InputError(f"has {len(text):,} bytes, more than the {MAX_BYTES:,} that a YAML may have here")
    try:
        made = loader(text)
        try:
            node = made.get_single_node()
            if node is None:
                return None
            _count(node, {}, 0)
            return made.construct_document(node)
        finally:
            made.dispose()
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as err:  # Python's own, of numbers and dates
        if isinstance(err, InputError):
            raise
        raise InputError(f"not YAML: {' '.join(str(err).split())[:300]}") from err


def _count(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """Return how many values a node stands for."""
    place = f"line {node.start_mark.line + 1}"
    if depth > _MAX_DEPTH:
        raise InputError(f"{place}: nested more than {_MAX_DEPTH} deep; make it flatter")
    if id(node) in known:
        if not known[id(node)]:
            raise InputError(f"{place}: an alias stands in what it stands for; write it out")
        return known[id(node)]
    if not isinstance(node, yaml.CollectionNode):
        if node.tag != _TEXT and len(node.value) > _MAX_SCALAR:
            raise InputError(f"{place}: a value of {len(node.value):,} characters that is no text; mend it")
        return 1
    known[id(node)] = 0  # under way
    parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    total = 1
    for part in parts:
        total += _count(part, known, depth + 1)
        if total > MAX_VALUES:
            raise InputError(f"{place}: its aliases, written out, are more than {MAX_VALUES:,} values; use fewer")
    known[id(node)] = total
    return total
