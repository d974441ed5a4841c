"""``Compose``: steps one after the other; ``OneOf``: one of several steps for each row."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from shardkit.core.checks import is_number
from shardkit.core.errors import InputError
from shardkit.core.random import hash_int
from shardkit.nn.augment.step import (
    AudioBatch,
    Augmentation,
    B,
    Parameters,
    check_batch,
    choose_rows,
    replaced,
)
from shardkit.nn.draws import Draws

Step = Callable[..., Any]


class Compose(Augmentation):
    """Augmentations and feature modules, one after the other.

    A step that has ``takes_batch`` gets the batch; any other is called with ``batch.audio``, and what it returns is put
    into ``batch.features``. Each place in the list draws by a key of its own: two equal steps draw independently, and
    adding a step at the end changes nothing of those before.

    Args:
        steps: What to do, in this order.
        seed: Key of all draws; None: 0, or what a ``Compose`` around this one gives.
        p: Probability that a row is changed by the whole of it; below 1 there can be no feature modules in it.

    Attributes:
        sample_rate: Of the feature modules that say for which rate they are made; else not there.

    Raises:
        InputError: A step can't be called, or two are made for different rates.

    >>> import torch
    >>> from shardkit.nn import Clips, Gain, LogMel, PolarityInversion, SpecAugment
    >>> augment = Compose([Gain(), PolarityInversion(), LogMel(sample_rate=16_000), SpecAugment()], seed=1)
    >>> augment(Clips(audio=torch.randn(4, 1, 16_000), sample_rate=16_000)).features.shape
    torch.Size([4, 1, 80, 100])
    """

    def __init__(self, steps: Sequence[Step], *, seed: int | None = None, p: float = 1.0) -> None:
        super().__init__(p=p, seed=seed)
        for place, step in enumerate(steps):
            if not callable(step):
                raise InputError(f"Compose: step {place} is a {type(step).__name__}; give what can be called")
        self._steps = tuple(steps)
        self.modules_of_steps = nn.ModuleList([step for step in steps if isinstance(step, nn.Module)])
        rates = {rate for step in steps if (rate := getattr(step, "sample_rate", None)) is not None}
        if len(rates) > 1:
            raise InputError(f"Compose: steps are made for {' and '.join(map(str, sorted(rates)))} Hz; give one rate")
        if rates:
            self.sample_rate = rates.pop()

    def with_parameters(self, batch: B, *, seed: int | None = None) -> tuple[B, Parameters]:
        """Return the augmented batch, and by ``place.Name`` what each step drew."""
        check_batch(batch, "Compose")
        given, result, own = batch, batch, self._seed(seed)
        drawn: Parameters = {"chosen": _uniform(self, batch, own) < self.p}
        for place, step in enumerate(self._steps):
            result, of_step = _applied(step, result, seed_of_place(own, place))
            if of_step is not None:
                drawn[f"{place}.{type(step).__name__}"] = of_step
        return (choose_rows(drawn["chosen"], result, given) if self.p < 1.0 else result), drawn

    def draw(self, batch: AudioBatch, *, seed: int | None = None) -> Parameters:
        """Return what each step draws; to know what it sees, all are run."""
        return self.with_parameters(batch, seed=seed)[1]


class OneOf(Augmentation):
    """One of several augmentations for each row, drawn for each.

    All of them are computed for all rows, since which row takes which is known on the device only: the cost is their
    sum.

    Args:
        steps: Augmentations to choose from.
        weights: How likely each is, in proportion; None: all alike.
        p: Probability that a row is changed at all.
        seed: See ``Augmentation``.

    Draws:
        ``choice``: (batch,) int64, and by ``place.Name`` what each step draws.

    Raises:
        InputError: A step is no augmentation, or the weights do not fit.
    """

    def __init__(
        self,
        steps: Sequence[Augmentation],
        *,
        weights: Sequence[float] | None = None,
        p: float = 1.0,
        seed: int | None = None,
    ) -> None:
        super().__init__(p=p, seed=seed)
        for place, step in enumerate(steps):
            if not isinstance(step, Augmentation):
                raise InputError(f"OneOf: step {place} is a {type(step).__name__}; give augmentations")
        self._steps = tuple(steps)
        self.modules_of_steps = nn.ModuleList(steps)
        self._ends = _cumulative([1.0] * len(steps) if weights is None else weights, len(steps))

    def with_parameters(self, batch: B, *, seed: int | None = None) -> tuple[B, Parameters]:
        """Return the augmented batch, and what was drawn."""
        drawn, result, own = super().draw(batch, seed=seed), batch, self._seed(seed)
        for place, step in enumerate(self._steps):
            changed, drawn[f"{place}.{type(step).__name__}"] = step.with_parameters(
                batch, seed=seed_of_place(own, place)
            )
            result = choose_rows((drawn["choice"] == place) & drawn["chosen"], changed, result)
        return result, drawn

    def draw(self, batch: AudioBatch, *, seed: int | None = None) -> Parameters:
        """Return what is drawn; to know what the steps draw, all are run."""
        return self.with_parameters(batch, seed=seed)[1]

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        return {"choice": sum((uniforms[0] >= end).long() for end in self._ends) + uniforms[0].long()}


def seed_of_place(seed: int, place: int) -> int:
    """Return the seed of a step at a place of a list."""
    return hash_int(seed, place) >> 1


def _applied(step: Step, batch: B, seed: int) -> tuple[B, Parameters | None]:
    if isinstance(step, Augmentation):
        return step.with_parameters(batch, seed=seed)
    if getattr(step, "takes_batch", False):
        return step(batch), None
    return replaced(batch, features=step(batch.audio)), None


def _uniform(step: Augmentation, batch: AudioBatch, seed: int) -> Tensor:
    purpose = type(step).__name__
    return Draws(seed=seed, purpose=purpose, positions=batch.positions, views=batch.views).uniform()[0]


def _cumulative(weights: Sequence[float], num_steps: int) -> tuple[float, ...]:
    """Return where each step but the last ends in [0, 1)."""
    if not num_steps or len(weights) != num_steps or not all(is_number(weight) and weight >= 0 for weight in weights):
        raise InputError(f"OneOf: weights {list(weights)!r} for {num_steps} steps; give one from 0 on for each step")
    total = float(sum(weights))
    if total <= 0.0:
        raise InputError("OneOf: all weights are 0; give a positive one")
    return tuple(sum(weights[: place + 1]) / total for place in range(num_steps - 1))
