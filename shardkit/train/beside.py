"""Streams beside a loader's own: for each of its batches one of theirs, of the same positions.

    position     0   1   2   3   4   5   6   7
    speech       a   b   c   d   e   f   g   h        Loader(speech, beside={"noise": noise})
    noise        v   w   x   v   y   z   w   x        its own order, crops and seed

What is drawn at a position is a function of the position in every stream, so the pairs are the same for any number of
ranks and workers, and after a resume; the position of the loader's stream is all that there is to be kept.

A state names the streams beside by fingerprints, each part of one in six digits. Where these would not fit into 1 KiB
it says only whether all are the same.
"""

import hashlib
import json
from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing
from typing import Any

from shardkit.core.errors import InputError, StateError
from shardkit.stream.batch import Batch
from shardkit.stream.pool import Empty
from shardkit.stream.processes import read_in_processes
from shardkit.stream.state import MAX_POSITION
from shardkit.stream.stream import Stream
from shardkit.stream.watchdog import Watch

Streams = Mapping[str, Stream]
Together = tuple[Batch, dict[str, Batch]]

_STATE_BYTES = 1024
_DIGITS = 6
_OF_THE_LOADER = "global_batch_size"  # is its own stream's too, and compared there


def checked_beside(beside: object, stream: Stream) -> dict[str, Stream]:
    """Return the streams beside a stream by name.

    Raises:
        InputError: They are no streams, would not deliver as many rows of the same positions, or end before it does.
    """
    if not isinstance(beside, Mapping):
        raise InputError(f'beside is a {type(beside).__name__}; give streams by name: {{"noise": stream}}')
    for name, other in beside.items():
        if not isinstance(name, str) or not isinstance(other, Stream):
            raise InputError(f"beside {name!r} is a {type(other).__name__}; give a shardkit.Stream")
        if sum(other is one for one in (stream, *beside.values())) > 1:
            raise InputError(f"beside {name!r} is given twice, or is what the loader reads; make a stream of its own")
        if _shape(other) != _shape(stream):
            raise InputError(
                f"the stream beside, {name!r}, is {_shape(other)}; the loader's is {_shape(stream)}; make both the same"
            )
        if other.passes is not None and (stream.passes is None or len(other) < len(stream)):
            raise InputError(
                f"the stream beside, {name!r}, ends after {len(other)} batches, before the loader's; make it endless, "
                "with passes=None"
            )
    return dict(beside)


def read_together(
    stream: Stream, beside: Streams, position: int, *, workers: int, empty: Empty | None, watch: Watch
) -> Generator[Together, None, None]:
    """Yield the stream's batches from a position on, each with those of the streams beside it.

    Args:
        stream: Says where they end.
        beside: Read as far, wherever an iteration over them would end.
        position: Where the first batch begins.
        workers: Processes for each stream; 0: this one.
        empty: Makes the large arrays where this process reads.
        watch: Told what is waited for.
    """
    end = stream.end_of_iteration(position)
    # In whole batches, because it is only the loader's stream whose last positions are padding.
    step = stream.global_batch_size
    others_end = MAX_POSITION if end is None else position - (position - end) // step * step
    with ExitStack() as stack:

        def read(one: Stream, one_end: int | None) -> Generator[Batch, None, None]:
            if workers:
                batches = read_in_processes(one, position, num_processes=workers, end=one_end, watch=watch)
            else:
                batches = one.batches(position, end=one_end, empty=empty, watch=watch)
            return stack.enter_context(closing(batches))

        readers = [read(stream, end), *(read(other, others_end) for other in beside.values())]
        for batch, *others in zip(*readers, strict=True):
            yield batch, dict(zip(beside, others, strict=True))


def dump_beside(state: Mapping[str, Any], beside: Streams) -> dict[str, Any]:
    """Return the state of a stream with what tells which streams are beside it, under 1 KiB."""
    if not beside:
        return dict(state)
    parts = _parts(beside, state["position"])
    full = {**state, "beside": {name: "".join(found.values()) for name, found in parts.items()}}
    return full if len(json.dumps(full)) < _STATE_BYTES else {**state, "beside": _digest(parts)}


def check_beside_state(state: object, beside: Streams) -> None:
    """Raise unless a state was taken beside the same streams.

    Raises:
        StateError: It was not; the message names the streams, and what differs of them.
    """
    if not isinstance(state, Mapping) or not isinstance(state.get("position"), int):
        return  # no state at all, as its stream will say
    differences = _differences(state.get("beside", {}), _parts(beside, state["position"]))
    if differences:
        raise StateError(
            f"the state was taken beside other streams: {', '.join(differences)}; give the loader the same ones, or if "
            'meant, load_state_dict(state, beside="new")'
        )


def _differences(saved: object, parts: Mapping[str, Mapping[str, str]]) -> list[str]:
    if not isinstance(saved, Mapping):
        return [] if saved == _digest(parts) else [f"some of {', '.join(map(repr, parts)) or 'them'}"]
    told = [f"{name!r} is not in it" for name in parts if name not in saved]
    told += [f"{name!r} is not given" for name in saved if name not in parts]
    for name, found in parts.items():
        codes = str(saved.get(name, "".join(found.values())))
        saved_parts = [codes[first : first + _DIGITS] for first in range(0, len(codes), _DIGITS)]
        if saved_parts != list(found.values()):
            wrong = [part for part, code in found.items() if code not in saved_parts]
            told.append(f"{name!r} differs in {', '.join(wrong) or 'everything'}")
    return told


def _parts(beside: Streams, position: int) -> dict[str, dict[str, str]]:
    """Return for each stream short hashes of what its draws from a position on depend on, in a fixed order."""
    found = {}
    for name, stream in beside.items():
        state = stream.state_at(position)
        parts = {part: code[:_DIGITS] for part, code in state["fingerprint"].items() if part != _OF_THE_LOADER}
        found[name] = parts | {"history": _hash(state["history"])[:_DIGITS]}
    return found


def _digest(parts: Mapping[str, Mapping[str, str]]) -> str:
    return _hash(sorted((name, *found.values()) for name, found in parts.items()))


def _hash(value: object) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=8).hexdigest()


def _shape(stream: Stream) -> str:
    views = f" of {stream.views} views each" if stream.views > 1 else ""
    return f"rank {stream.rank} of {stream.world_size} with batches of {stream.batch_size}{views}"
