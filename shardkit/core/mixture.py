"""Which source owns which position: shares become slots of a period, and the slots are spread by a lattice.

A period has SLOTS = LANES · DEPTH positions. Each source gets its share of them by largest remainder, so a weight has
a resolution of 1/4096, and the mix that a stream keeps for ever is that of the slots. With the slots sorted by
source, position i takes entry i · STEP mod SLOTS. STEP / SLOTS is near the golden section, whose multiples are spread
more evenly than those of any other number: each contiguous run of positions has nearly the exact mix. So has each
lane, and each residue class mod a power of two (the positions of one rank), because those are lattices again.

A batch of fixed composition is a period too: one of as many slots as the batch has samples, with counts for shares
and each slot a lane of its own.

    composition {a: 4, b: 2, c: 2}     sorted a a a a b b c c   step 5 of 8   ─►   a b a c b a c a   each batch alike

A step prime to the period takes the positions g ≡ r (mod R), for any R that divides the period, to the places of one
residue class mod R of the sorted list, and of a run of m places each class has ⌊m / R⌋ or ⌈m / R⌉. So each of R ranks
has its exact share of a source wherever R divides its count, and else is within one of it; no step is better.

The samples of a batch may be those of groups of sources. A period is then REPEATS batches, in which a group has its
own slots, and a second lattice, over them alone, gives them to its sources: a batch has its exact count of each group,
and any run of the group's draws nearly its mix.

    groups {a b: 2, c: 1}, weights a 3, b 1     batch by batch   g c g   g c g   g c g …   ─►   a c a   b c a   a c a …

Source: Balinski and Young (1982), "Fair representation", chapter 3 (largest remainder); Niederreiter (1992), "Random
number generation and quasi-Monte Carlo methods", section 3.1 (the discrepancy of multiples of the golden section).
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from shardkit.core.errors import InputError

LANES = 64  # a power of two, so that ranks and workers in powers of two own whole lanes
DEPTH = 64
SLOTS = LANES * DEPTH
STEP = 2531  # odd, so the lattice meets every slot; SLOTS / golden ratio = 2531.5
_LEAST_REPEATS = 64  # of a batch in a period, so that sources of a group of one sample can have 1/64 of it
_GROUPED_SLOTS = 2**14  # of a period with groups, at least: small batches are repeated until sources can have 1/4096


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mixture:
    """The slots of one period.

    Attributes:
        shares: Slots of each source, (source,); their sum is the period.
        slot_source: Source of each slot, (slot,).
        slot_prior: How many earlier slots of the same lane have the same source, (slot,).
        lane_slots: Slots of each source in each lane, (lane, source).
    """

    shares: NDArray[np.int64]
    slot_source: NDArray[np.int64]
    slot_prior: NDArray[np.int64]
    lane_slots: NDArray[np.int64]

    @property
    def period(self) -> int:
        """Slots of a period."""
        return len(self.slot_source)

    @property
    def num_lanes(self) -> int:
        """Lanes; a position g lies in lane g mod num_lanes."""
        return len(self.lane_slots)


def spread(shares: NDArray[np.int64], *, num_lanes: int, groups: Sequence[int] | None = None) -> Mixture:
    """Return the mixture in which each source has so many slots of a period.

    Args:
        shares: Slots of each source, (source,); their sum is the period.
        num_lanes: Lanes; they divide the period.
        groups: The group of each source, numbered from 0, of which each batch, ``num_lanes`` slots, has the same count.
            None: no groups.

    Returns:
        The slots, as read-only tables.

    Raises:
        InputError: The slots of a group can't be shared out evenly among the batches of a period.
    """
    slot_source = (
        _lattice(shares, _step(int(shares.sum())))
        if groups is None
        else _grouped_lattice(shares, np.array(groups), num_lanes)
    )
    slot_prior, lane_slots = _count_in_lanes(slot_source, len(shares), num_lanes)
    for table in (shares, slot_source, slot_prior, lane_slots):
        table.setflags(write=False)
    return Mixture(shares=shares, slot_source=slot_source, slot_prior=slot_prior, lane_slots=lane_slots)


def _lattice(shares: NDArray[np.int64], step: int) -> NDArray[np.int64]:
    """Return the source of each slot."""
    period = int(shares.sum())
    lattice = np.arange(period, dtype=np.int64) * step % period
    return np.repeat(np.arange(len(shares), dtype=np.int64), shares)[lattice]


def _grouped_lattice(shares: NDArray[np.int64], groups: NDArray[np.int64], batch: int) -> NDArray[np.int64]:
    """Return the source of each slot, where each batch of slots has the same groups at the same places."""
    repeats = int(shares.sum()) // batch
    of_groups = np.bincount(groups, weights=shares).astype(np.int64)
    if (of_groups % repeats).any():
        raise InputError(f"groups of {of_groups.tolist()} slots can't be shared out among {repeats} batches")
    slot_group = np.tile(_lattice(of_groups // repeats, _step(batch)), repeats)
    slot_source = np.empty(len(slot_group), dtype=np.int64)
    for group in np.flatnonzero(of_groups).tolist():
        members = np.flatnonzero(groups == group)
        slot_source[slot_group == group] = members[_lattice(shares[members], _even_step(int(of_groups[group])))]
    return slot_source


def repeats_of(batch: int) -> int:
    """Return how many batches of a composition with groups are a period: a power of two, by the batch alone."""
    return max(_LEAST_REPEATS, 1 << (-(-_GROUPED_SLOTS // batch) - 1).bit_length())


def weights_in_order(
    names: Sequence[str], weights: Mapping[str, float] | Sequence[float], *, what: str = "weight"
) -> tuple[float, ...]:
    """Return the weights, or whatever is said to be one, in the order of the names.

    Raises:
        InputError: A weight names no source, or a source has no weight.
    """
    if not isinstance(weights, Mapping):
        if len(weights) != len(names):
            raise InputError(f"{len(weights)} {what}s for {len(names)} sources ({_listed(names)}); give one each")
        return tuple(weights)
    for name in weights:
        if name not in names:
            near = difflib.get_close_matches(str(name), names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ";"
            raise InputError(f"the {what} {name!r} names no source{hint} The sources are {_listed(names)}")
    missing = [name for name in names if name not in weights]
    if missing:
        raise InputError(f"no {what} for {_listed(missing)}; give every source one (0 leaves it out)")
    return tuple(weights[name] for name in names)


def apportion(names: Sequence[str], weights: Sequence[float], *, slots: int = SLOTS) -> NDArray[np.int64]:
    """Return how many of some slots each source gets, by largest remainder in exact arithmetic.

    Args:
        names: Names of the sources, for the errors; a tie between remainders goes to the earlier source.
        weights: One weight for each source.
        slots: How many there are.

    Returns:
        Slots, (source,); zero only for a weight of zero.

    Raises:
        InputError: A weight is negative, not finite, or too small for one slot; or all are zero.
    """
    whole = _as_whole_numbers(names, weights)
    if not any(whole):
        raise InputError(f"all weights are zero ({_listed(names)}); give at least one source a positive weight")
    if sum(weight > 0 for weight in whole) > slots:
        raise InputError(f"more than {slots} sources have a positive weight; merge some, or give them weight 0")
    shares = _largest_remainder(whole, slots)
    for name, weight, share in zip(names, whole, shares, strict=True):
        if weight and not share:
            index = list(names).index(name)
            raise InputError(
                f"the weight {weights[index]!r} of {name!r} is too small for one of {slots} slots; the smallest that "
                f"works is {_smallest_working(weights, index, slots):.3g} (or 0, to leave the source out)"
            )
    return np.array(shares, dtype=np.int64)


def _as_whole_numbers(names: Sequence[str], weights: Sequence[float]) -> list[int]:
    """Return integers in the exact ratio of the weights: a float is a fraction with a power of two below."""
    fractions = []
    for name, weight in zip(names, weights, strict=True):
        try:
            value = float(weight)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"the weight {weight!r} of {name!r} is not a number") from None
        if not math.isfinite(value) or value < 0:
            raise InputError(f"the weight {weight!r} of {name!r} is not a finite number of at least 0")
        fractions.append(Fraction(value))
    return _scaled(fractions)


def _scaled(fractions: Sequence[Fraction]) -> list[int]:
    common = math.lcm(*(fraction.denominator for fraction in fractions))
    return [int(fraction * common) for fraction in fractions]


def _largest_remainder(whole: Sequence[int], slots: int) -> list[int]:
    total = sum(whole)
    shares, remainders = zip(*(divmod(slots * weight, total) for weight in whole), strict=True)
    by_remainder = sorted(range(len(whole)), key=lambda i: -remainders[i])  # stable: ties keep the order of sources
    extra = set(by_remainder[: slots - sum(shares)])
    return [share + (i in extra) for i, share in enumerate(shares)]


def _smallest_working(weights: Sequence[float], index: int, slots: int) -> float:
    """Return the least weight, rounded up to three digits, that gets the source a slot while the others stay."""
    fractions = [Fraction(float(weight)) for weight in weights]
    too_small, enough = fractions[index], (sum(fractions) - fractions[index]) / (slots - 1)  # a quota of exactly one
    while (enough - too_small) * 10_000 > enough:
        fractions[index] = (too_small + enough) / 2
        if _largest_remainder(_scaled(fractions), slots)[index]:
            enough = fractions[index]
        else:
            too_small = fractions[index]
    digits = Fraction(10) ** (math.floor(math.log10(enough)) - 2)
    return float(math.ceil(enough / digits) * digits)


def _step(period: int) -> int:
    """Return the number nearest to period / golden ratio that is prime to the period; of SLOTS that is STEP."""
    return next(step for step in _golden_steps(period) if math.gcd(step, period) == 1)


def _even_step(period: int) -> int:
    """Return, of the numbers near period / golden ratio that are prime to the period, the one of the evenest multiples.

    How far a run of multiples strays is bounded by the partial quotients of step / period (Niederreiter, theorem
    3.4): near the golden section the first ones are 1, and of the others the largest had best be small.
    """
    prime = [step for step in _golden_steps(period) if math.gcd(step, period) == 1]
    return min(prime, key=lambda step: max(_partial_quotients(step, period)))  # of equal ones the nearest


def _golden_steps(period: int) -> list[int]:
    """Return whole numbers around period / golden ratio, the nearest first."""
    golden = period * (math.sqrt(5) - 1) / 2
    return sorted(range(max(1, int(golden) - 64), int(golden) + 65), key=lambda step: abs(step - golden))


def _partial_quotients(step: int, period: int) -> list[int]:
    """Return the partial quotients of step / period behind the first, which is 0.

    >>> _partial_quotients(8, 13), _partial_quotients(2, 9)
    ([1, 1, 1, 1, 2], [4, 2])
    """
    found = []
    while step:
        found.append(period // step)
        period, step = step, period % step
    return found


def _count_in_lanes(
    slot_source: NDArray[np.int64], num_sources: int, num_lanes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return slot_prior and lane_slots: slots grouped by (lane, source), each ranked within its group."""
    slots = np.arange(len(slot_source), dtype=np.int64)
    group = slots % num_lanes * num_sources + slot_source
    order = np.argsort(group, kind="stable")  # within a group, in the order of the period
    first = np.searchsorted(group[order], group[order])
    prior = np.empty(len(slots), dtype=np.int64)
    prior[order] = slots - first
    counts = np.bincount(group, minlength=num_lanes * num_sources).astype(np.int64)
    return prior, counts.reshape(num_lanes, num_sources)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
