"""What the options of several sources have in common, checked in the same words.

Each check is written so that a NaN fails it.
"""

from collections.abc import Collection, Sequence

from shardkit.core.errors import InputError

MAX_DURATION_S = 3600.0  # a recording is made in memory
MAX_SAMPLE_RATE = 384_000  # the fastest rate that converters are sold with; beyond it a typing error is likelier


def check_count(name: str, value: int) -> None:
    """Raise unless ``value`` counts at least one thing."""
    if value < 1:
        raise InputError(f"{name} is {value}; ask for at least 1")


def check_rate(sample_rate: int, *, lowest: int) -> None:
    """Raise unless ``sample_rate`` is one at which the source can be heard."""
    if not lowest <= sample_rate <= MAX_SAMPLE_RATE:
        raise InputError(f"sample_rate is {sample_rate} Hz; choose one from {lowest} to {MAX_SAMPLE_RATE}")


def check_durations(shortest_s: float, longest_s: float, *, lowest_s: float) -> None:
    """Raise unless the two bound a range of durations that can be made."""
    if not lowest_s <= shortest_s <= longest_s <= MAX_DURATION_S:
        raise InputError(
            f"durations are from {shortest_s:g} to {longest_s:g} s; "
            f"choose a range within {lowest_s:g} and {MAX_DURATION_S:g} s, the shorter first"
        )


def check_choices(name: str, values: Sequence[str], known: Collection[str]) -> None:
    """Raise unless ``values`` are one or more of ``known``, none of them twice."""
    choices = ", ".join(known)
    if isinstance(values, str) or not values:
        raise InputError(f"{name} is {values!r}; give a sequence of one or more of {choices}")
    for position, value in enumerate(values):
        if value not in known:
            raise InputError(f"{name} has {value!r}; choose from {choices}")
        if value in values[:position]:
            raise InputError(f"{name} has {value!r} twice; leave one out, or its files would be written twice")


def scaled_count(count: int, factor: float) -> int:
    """Return ``count`` times ``factor``, rounded, and at least 1."""
    return max(1, round(count * factor))
