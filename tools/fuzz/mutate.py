"""Changes to files and to JSON values that readers trip over: structure kept, one thing in it wrong.

All choices come from a ``random.Random``, so that a seed repeats a change and Hypothesis can shrink one.
"""

import copy
import math
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

HEAD = 256  # bytes at the front of a file, where most of its structure is
MAX_GROWTH = 1 << 16  # bytes that one change adds at most
MAX_BYTES = 1 << 20

# Numbers at the ends of their types, and beside them.
EXTREMES = sorted({sign * (1 << bits) + off for bits in (0, 7, 8, 15, 16, 24, 31, 32, 40, 63) for sign in (1, -1)
                   for off in (-1, 0, 1)})  # fmt: skip
VALUES: list[Any] = [
    None, True, 0, -1, 1, 2**31, 2**53, 2**62, 2**63, -(2**63), 2**64, 10**30, 1e308, -1e308, 0.5, math.nan, math.inf,
    "", "\0", "a", "../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/x", "\ud800",
    "\x1b[2J", "x" * 5000, "1e400", "Ünïcödé", [], {}, [[]], [None], [1, "a", 2.5], {"a": None}, [0, 0, 0, 0],
]  # fmt: skip


def mutated(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Return a file with one to six changes; ``others`` are files that parts may come from."""
    for _ in range(random.randint(1, 6)):
        data = random.choice(_CHANGES)(data, others, random)[:MAX_BYTES]
    return data


def mutated_json(value: Any, random: Random) -> Any:
    """Return a JSON value with one to three changes anywhere in it."""
    value = copy.deepcopy(value)
    for _ in range(random.randint(1, 3)):
        value = _changed_value(value, random)
    return value


def nested(depth: int) -> str:
    """Return the text of a list in a list in a list …; no parser should recurse that deep."""
    return "[" * depth + "]" * depth


def _changed_value(value: Any, random: Random) -> Any:
    places = list(_places(value))
    if not places or random.random() < 0.02:
        return copy.deepcopy(random.choice(VALUES))
    holder, key = random.choice(places)
    kind = random.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[random.choice(["", "extra", "\0", str(key).upper()])] = holder.pop(key)
    elif kind == 2 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(random.choice(holder)))
    elif kind == 3:
        other, name = random.choice(places)
        holder[key] = copy.deepcopy(other[name])
    elif kind == 4 and isinstance(holder[key], int | float):
        holder[key] = random.choice([holder[key] + 1, -holder[key], holder[key] * 1000, random.choice(EXTREMES)])
    else:
        holder[key] = copy.deepcopy(random.choice(VALUES))
    return value


def _places(value: Any) -> Any:
    """Yield (container, key) of all that is in a value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from _places(value[key])


def _position(data: bytes, random: Random) -> int:
    """Return a place in the data, half of the time near their front."""
    if not data:
        return 0
    return random.randrange(min(len(data), HEAD) if random.random() < 0.5 else len(data))


def _span(data: bytes, random: Random) -> tuple[int, int]:
    start = _position(data, random)
    return start, min(len(data), start + random.choice([1, 2, 4, 8, 16, 64, 512, 4096]))


def _flip(data: bytes, _others: Sequence[bytes], random: Random) -> bytes:
    at = _position(data, random)
    return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :] if data else data


def _set(data: bytes, _others: Sequence[bytes], random: Random) -> bytes:
    at = _position(data, random)
    return data[:at] + bytes([random.choice([0, 1, 0x7F, 0x80, 0xFE, 0xFF, random.randrange(256)])]) + data[at + 1 :]


def _overwrite(data: bytes, _others: Sequence[bytes], random: Random) -> bytes:
    """Put a number at the end of its type where a number may be."""
    at, width = _position(data, random), random.choice([2, 3, 4, 8])
    number = (random.choice(EXTREMES) & (1 << 8 * width) - 1).to_bytes(width, random.choice(["little", "big"]))
    return data[:at] + number + data[at + width :]


def _truncate(data: bytes, _others: Sequence[bytes], random: Random) -> bytes:
    return data[: _position(data, random)]


def _delete(data: bytes, _others: Sequence[bytes], random: Random) -> bytes:
    start, stop = _span(data, random)
    return data[:start] + data[stop:]


def _repeat(data: bytes, _others: Sequence[bytes], random: Random) -> bytes:
    start, stop = _span(data, random)
    times = min(random.choice([2, 3, 100, 5000]), 1 + MAX_GROWTH // max(1, stop - start))
    return data[:start] + data[start:stop] * times + data[stop:]


def _blank(data: bytes, _others: Sequence[bytes], random: Random) -> bytes:
    start, stop = _span(data, random)
    return data[:start] + random.choice([b"\0", b"\xff"]) * (stop - start) + data[stop:]


def _move(data: bytes, _others: Sequence[bytes], random: Random) -> bytes:
    start, stop = _span(data, random)
    at = _position(data, random)
    return data[:at] + data[start:stop] + data[at + stop - start :]


def _splice(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    other = random.choice(others) if others else data
    return data[: _position(data, random)] + other[_position(other, random) :]


def _digits(data: bytes, _others: Sequence[bytes], random: Random) -> bytes:
    """Put another number where digits stand."""
    places = [at for at in range(min(len(data), 1 << 14)) if 0x30 <= data[at] <= 0x39]
    if not places:
        return data
    start = stop = random.choice(places)
    while stop < len(data) and 0x30 <= data[stop] <= 0x39:
        stop += 1
    return data[:start] + str(random.choice(EXTREMES)).encode() + data[stop:]


_CHANGES: list[Callable[[bytes, Sequence[bytes], Random], bytes]] = [
    _flip, _flip, _set, _set, _overwrite, _overwrite, _overwrite, _truncate, _delete, _repeat, _blank, _move, _splice,
    _digits,
]  # fmt: skip
