"""Weights of sources that stand in groups: groups share the draws, and the sources of a group its share."""

from collections.abc import Mapping, Sequence

from shardkit.core.errors import InputError


def group_weights(
    groups: Mapping[str, tuple[float, Sequence[str]]], own: Mapping[str, float | None]
) -> dict[str, float]:
    """Return the weight of each source: its share of its group's.

    Args:
        groups: Weight and sources of each group, by its name.
        own: The sources' own weights, which say how they share; None: equally.

    Raises:
        InputError: A source is unknown, in no group or in two, or the weights of a group are of no use.

    >>> group_weights({"speech": (1, ["a", "b"]), "music": (1, ["c"])}, {"a": None, "b": None, "c": None})
    {'a': 0.5, 'b': 0.5, 'c': 1.0}
    """
    weights: dict[str, float] = {}
    group_of: dict[str, str] = {}
    for name, (weight, sources) in groups.items():
        for source in sources:
            if source not in own:
                raise InputError(f"groups.{name}: no source {source!r}; there is {', '.join(own)}")
            if source in group_of:
                raise InputError(f"groups.{name}: source {source!r} is there twice, or in {group_of[source]!r} too")
            group_of[source] = name
        shares = _shares(name, [own[source] for source in sources])
        weights |= {source: weight * share / sum(shares) for source, share in zip(sources, shares, strict=True)}
    alone = next((source for source in own if source not in group_of), None)
    if alone is not None:
        raise InputError(f"sources.{alone} is in no group; put it into one")
    return {source: weights[source] for source in own}


def _shares(group: str, weights: Sequence[float | None]) -> list[float]:
    given = [weight for weight in weights if weight is not None]
    if not given:
        return [1.0] * len(weights)
    if len(given) < len(weights):
        raise InputError(f"groups.{group}: give each of its sources a weight, or none of them")
    if not sum(given):
        raise InputError(f"groups.{group}: the weights of its sources are all zero; raise one")
    return given
