"""Groups of sources: weights or counts are given by group, and the sources of a group share what it gets.

    groups   {"positive": {"strong": 3, "rare": 1}}     weights      {"positive": 1, "noise": 2}    strong 3/12 …
    sources   strong  rare  noise                       composition  {"positive": 8, "noise": 24}   8 of both a batch

A source that is in no group stands for itself, under its own name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shardkit.core.checks import is_number
from shardkit.core.errors import InputError
from shardkit.core.mixture import apportion, repeats_of, weights_in_order

GroupsOption = Mapping[str, Mapping[str, float] | Sequence[str]]


@dataclass(frozen=True, slots=True)
class Groups:
    """What weights and counts are given by.

    Attributes:
        sources: Names of the sources.
        names: Names of the groups, and of the sources that are in none, in the order of the sources.
        members: Sources of each, as places in ``sources``.
        shares: Weight of each source in its group.
        any: Whether there are groups, or only sources.
    """

    sources: tuple[str, ...]
    names: tuple[str, ...]
    members: tuple[tuple[int, ...], ...]
    shares: tuple[float, ...]
    any: bool

    @property
    def numbers(self) -> tuple[int, ...] | None:
        """The group of each source, as a place in ``names``; None: there are no groups."""
        group_of = {source: number for number, members in enumerate(self.members) for source in members}
        return tuple(group_of[source] for source in range(len(self.sources))) if self.any else None

    def told(self) -> list[list[str]] | None:
        """Return which sources are together, for a fingerprint; None: there are no groups."""
        return [[self.sources[source] for source in members] for members in self.members] if self.any else None

    def in_order(self, given: Mapping[str, float], *, what: str) -> tuple[float, ...]:
        """Return weights, or whatever is said to be one, in the order of ``names``.

        Raises:
            InputError: One is of nothing that there is, or of a source that shares what its group gets; or one lacks.
        """
        for name in given:
            if name in self.sources and name not in self.names:
                group = next(
                    group
                    for group, members in zip(self.names, self.members, strict=True)
                    if self.sources.index(name) in members
                )
                raise InputError(f"the {what} {name!r}: that source is in the group {group!r}; give the group one")
        return weights_in_order(self.names, given, what=what)

    def weights(self, by_name: Sequence[float]) -> Sequence[float]:
        """Return the weight of each source: its share of its group's."""
        if not self.any:
            return by_name
        found = [0.0] * len(self.sources)
        for name, weight, members in zip(self.names, by_name, self.members, strict=True):
            if not is_number(weight):
                raise InputError(f"the weight {weight!r} of {name!r} is not a number")
            total = sum(self.shares[source] for source in members)
            for source in members:
                found[source] = weight * self.shares[source] / total
        return found

    def slots(self, counts: Sequence[int]) -> tuple[int, ...]:
        """Return the slots of each source where each batch has so many samples of each group.

        Without groups they are the counts.

        Raises:
            InputError: A source's weight is too small for one slot of its group.
        """
        if not self.any:
            return tuple(counts)
        found, repeats = [0] * len(self.sources), repeats_of(max(1, sum(counts)))
        for count, members in zip(counts, self.members, strict=True):
            if count:
                names, shares = zip(*((self.sources[source], self.shares[source]) for source in members), strict=True)
                for source, slots in zip(members, apportion(names, shares, slots=count * repeats), strict=True):
                    found[source] = int(slots)
        return tuple(found)


def checked_groups(sources: Sequence[str], groups: GroupsOption | None) -> Groups:
    """Return the groups of some sources.

    Args:
        sources: Names of the sources.
        groups: By name, the sources of a group: with their weights, or a list, and they are equal. None: no groups.

    Raises:
        InputError: A group is none, a source is unknown or in two groups, or weights are of no use.
    """
    if groups is not None and not isinstance(groups, Mapping):
        raise InputError(f'groups are {groups!r}; give the sources of each by name: {{"positive": ["strong", "rare"]}}')
    group_of: dict[str, str] = {}
    shares: dict[str, float] = {}
    for group, members in (groups or {}).items():
        given = _weights(group, members)
        for source in members:
            if source not in sources:
                raise InputError(f"groups.{group}: no source {source!r}; there is {', '.join(sources)}")
            if source in group_of:
                raise InputError(f"groups.{group}: source {source!r} is there twice, or in {group_of[source]!r} too")
            group_of[source] = group
        shares |= given
    for group in groups or {}:
        if group in sources and group not in group_of:
            raise InputError(f"groups.{group}: a source in no group has that name too; call one of them otherwise")
    names = tuple(dict.fromkeys(group_of.get(source, source) for source in sources))
    members_of = tuple(
        tuple(place for place, source in enumerate(sources) if group_of.get(source, source) == name) for name in names
    )
    return Groups(
        tuple(sources), names, members_of, tuple(shares.get(source, 1.0) for source in sources), bool(group_of)
    )


def _weights(group: str, members: object) -> dict[str, float]:
    """Return the weights of a group's sources among each other."""
    if not isinstance(group, str) or isinstance(members, str) or not isinstance(members, Mapping | Sequence):
        raise InputError(f"groups.{group}: {members!r} is no group; give names of sources, or their weights by name")
    if not members or not all(isinstance(source, str) for source in members):
        raise InputError(f"groups.{group}: {members!r} has no sources, or not by name; name some, or leave it out")
    weights = dict(members) if isinstance(members, Mapping) else dict.fromkeys(members, 1.0)
    for source, weight in weights.items():
        if not is_number(weight) or not 0 <= weight < float("inf"):
            raise InputError(
                f"groups.{group}: the weight {weight!r} of {source!r} is not a finite number of at least 0"
            )
    if not sum(weights.values()):
        raise InputError(f"groups.{group}: the weights of its sources are all zero; raise one")
    return {source: float(weight) for source, weight in weights.items()}
