"""The mix of a stream: weights, or counts of each batch, perhaps by a schedule, as stages; and its history."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shardkit.core.checks import checked_whole, is_number
from shardkit.core.errors import InputError, StateError
from shardkit.core.mixture import apportion
from shardkit.core.stages import Stage
from shardkit.stream.groups import Groups

Weights = Mapping[str, float]
Schedule = Sequence[tuple[int, Weights]]
Counts = Mapping[str, int]
Composition = Counts | Sequence[tuple[int, Counts]]
Stages = tuple[Stage, ...]

# A history in full, or only its digest where a state would grow beyond 1 KiB.
History = list[list[Any]] | str
_MAX_HISTORY = 600  # characters of JSON; fingerprint and position take less than 400


def stages_of(
    groups: Groups, sizes: Sequence[int], weights: Weights | Schedule | None, temperature: float | None
) -> Stages:
    """Return the stages of a mix.

    Args:
        groups: What the weights are of: the sources, or groups of them.
        sizes: Rows of the sources.
        weights: Weights by name; or a schedule, (from sample, weights by name) each; None: equal, or with a
            temperature the sizes.
        temperature: Power τ to which each weight is raised, w ** τ; None: 1.

    Raises:
        InputError: Something in the above can't be; the message says what would work.
    """
    if temperature is not None and (not is_number(temperature) or temperature < 0):
        raise InputError(f"temperature {temperature!r} is not a number of at least 0; 1 keeps the weights")
    if weights is None:
        found = [1.0 if temperature is None else float(sum(sizes[i] for i in group)) for group in groups.members]
        return (Stage(0, _shares(groups, found, temperature)),)
    if isinstance(weights, Mapping):
        return (Stage(0, _shares(groups, groups.in_order(weights, what="weight"), temperature)),)
    return _scheduled(
        "weights", 0.7, weights, lambda entry: _shares(groups, groups.in_order(entry, what="weight"), temperature)
    )


def composed_stages(groups: Groups, composition: Composition) -> tuple[Stages, int]:
    """Return the stages of a fixed composition, and the samples of a batch of it.

    Args:
        groups: What the counts are of: the sources, or groups of them.
        composition: Samples of each batch by name; or a schedule, (from sample, samples by name) each.

    Raises:
        InputError: Something in the above can't be; the message says what would work.
    """
    schedule = [(0, composition)] if isinstance(composition, Mapping) else composition
    counted = _scheduled("composition", 8, schedule, lambda entry: _counts(groups, entry))
    batch = sum(counted[0].shares)
    for stage in counted:
        if sum(stage.shares) != batch:
            raise InputError(
                f"composition: batches of {sum(stage.shares)} from sample {stage.start}, of {batch} before; the counts "
                "of all entries must have one sum"
            )
    if not batch:
        raise InputError("composition: all counts are zero; give at least one source some samples of each batch")
    return tuple(Stage(stage.start, groups.slots(stage.shares)) for stage in counted), batch


def _counts(groups: Groups, counts: Counts) -> tuple[int, ...]:
    for name, count in counts.items():
        checked_whole(count, f"composition: the samples of {name!r} in each batch", least=0, most=2**20)
    return tuple(int(count) for count in groups.in_order(counts, what="count in composition"))


def _scheduled(
    what: str, example: float, schedule: object, shares_of: Callable[[Mapping[str, Any]], tuple[int, ...]]
) -> Stages:
    given = f'{{"speech": {example:g}, …}}'
    advice = f"give {what} by name, {given}, or a schedule, [(0, {given}), (100_000, {{…}})]"
    if isinstance(schedule, str) or not isinstance(schedule, Sequence) or not schedule:
        raise InputError(f"{what}: {schedule!r} is neither; {advice}")
    stages: list[Stage] = []
    for entry in schedule:
        if not isinstance(entry, Sequence) or len(entry) != 2 or not isinstance(entry[1], Mapping):
            raise InputError(f"{what}: {entry!r} is no entry of a schedule; {advice}")
        start = checked_whole(entry[0], f"{what}: the first sample of an entry", least=0, most=2**62)
        if start <= (stages[-1].start if stages else -1) or (not stages and start):
            raise InputError(f"{what}: an entry from sample {start}; the first is from 0, each other from a later one")
        shares = shares_of(entry[1])
        if not stages or shares != stages[-1].shares:
            stages.append(Stage(start, shares))
    return tuple(stages)


def _shares(groups: Groups, weights: Sequence[float], temperature: float | None) -> tuple[int, ...]:
    if temperature is not None and all(is_number(weight) and weight >= 0 for weight in weights):
        weights = [0.0 if weight == 0 else float(weight) ** temperature for weight in weights]
    return tuple(apportion(groups.sources, groups.weights(weights)).tolist())


def stage_at(stages: Stages, position: int) -> Stage:
    """Return the stage that a position lies in."""
    return next(stage for stage in reversed(stages) if stage.start <= position)


def begun(stages: Stages, position: int) -> Stages:
    """Return the stages of which something has been drawn before a position."""
    return tuple(stage for stage in stages if stage.start < position)


def dump_history(stages: Stages, position: int) -> History:
    """Return the stages begun before a position as JSON values: [from sample, slots of each source] each."""
    history: list[list[Any]] = [[stage.start, list(stage.shares)] for stage in begun(stages, position)]
    text = json.dumps(history)
    return history if len(text) <= _MAX_HISTORY else hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def load_history(history: object, own: Stages, position: int, *, num_sources: int, new_weights: bool) -> Stages:
    """Return the stages that go on from a state.

    Args:
        history: What ``dump_history`` returned.
        own: The stages of the stream's own weights.
        position: Of the state.
        num_sources: Sources of the stream.
        new_weights: Whether the stream's weights may differ from those so far; they then hold from ``position`` on.

    Raises:
        StateError: No history, or one that can't be gone on from.
    """
    if history == dump_history(own, position):
        return own
    if isinstance(history, str):
        raise StateError(
            "the state's mix has changed too often for its history to fit into a state; to go on, give the whole "
            "schedule, those weights first, as weights=[(0, …), …]"
        )
    past = _checked_history(history, num_sources, position)
    stages = past
    now = stage_at(own, position)
    if not past:
        return own
    if now.shares != past[-1].shares:
        stages = (*past, Stage(position, now.shares))
    stages += tuple(stage for stage in own if stage.start > position)
    if new_weights and isinstance(dump_history(stages, position + 1), str):
        raise StateError(
            "with one more change of weights the state would not fit into 1 KiB; give the whole schedule as "
            "weights=[(0, …), …], that of the state first"
        )
    return stages


def _checked_history(history: object, num_sources: int, position: int) -> Stages:
    try:
        stages = tuple(Stage(int(start), tuple(int(share) for share in shares)) for start, shares in history)  # type: ignore[attr-defined]
    except (TypeError, ValueError, OverflowError):
        raise StateError(f"not the state of a stream: its history is {str(history)[:80]!r}") from None
    if any(len(stage.shares) != num_sources or not 0 <= stage.start < position for stage in stages):
        raise StateError(f"not a state of this stream: its history is {str(history)[:80]!r}")
    return stages
