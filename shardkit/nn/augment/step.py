"""``Augmentation``: what every augmentation of a batch has in common.

    batch ─► draw: one key a row ─► parameters ─► change all rows ─► keep the change where a row was chosen ─► batch

Drawing and changing are apart: ``draw`` says what ``forward`` will do, without doing it. Nothing is ever decided by the
values of a tensor on the host, so the host never waits for the device.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn

from shardkit.core.checks import is_number
from shardkit.core.errors import InputError
from shardkit.core.random import check_seed
from shardkit.nn.draws import Draws

Parameters = dict[str, Any]
# What a step may change, row by row; a batch may hold more, which stays as it is.
_ROWWISE = ("audio", "features", "labels", "lengths", "loudness", "masks")


class AudioBatch(Protocol):
    """A frozen dataclass that augmentations take: ``Clips``, or the batch of a loader. ``Clips`` says what each is."""

    @property
    def audio(self) -> Tensor: ...  # noqa: D102
    @property
    def features(self) -> Tensor | None: ...  # noqa: D102
    @property
    def labels(self) -> Tensor: ...  # noqa: D102
    @property
    def lengths(self) -> Tensor: ...  # noqa: D102
    @property
    def positions(self) -> Tensor: ...  # noqa: D102
    @property
    def views(self) -> int: ...  # noqa: D102
    @property
    def sample_rate(self) -> int: ...  # noqa: D102
    @property
    def valid(self) -> Tensor: ...  # noqa: D102
    @property
    def loudness(self) -> Tensor | None: ...  # noqa: D102
    @property
    def global_batch_size(self) -> int: ...  # noqa: D102
    @property
    def beside(self) -> Mapping[str, Any]: ...  # noqa: D102


B = TypeVar("B", bound=AudioBatch)


class Augmentation(nn.Module):
    """A module that changes a batch at random, each row independently, by a key.

    What happens to a row is a function of (seed, kind of step, position, view): not of the rank, of the other rows, or
    of what was drawn before. ``train()`` and ``eval()`` make no difference; leave augmentations out where they are not
    wanted.

    Subclasses say how many uniform numbers they need (``_num_uniforms``), make parameters of them (``_draw``) and
    change all rows (``_change``).

    Args:
        p: Probability that a row is changed at all. Rows that are not stay bit-identical.
        seed: Key of the draws; None: what ``Compose`` gives, another for each place in its list, or 0.

    Raises:
        InputError: An option can't be; the message says what would work.
    """

    takes_batch: ClassVar[bool] = True

    def __init__(self, *, p: float = 1.0, seed: int | None = None) -> None:
        super().__init__()
        if not is_number(p) or not 0.0 <= p <= 1.0:
            raise InputError(f"p is {p!r}; it must be a probability, from 0 to 1")
        self.p = float(p)
        self.seed = None if seed is None else check_seed(seed)

    def forward(self, batch: B, *, seed: int | None = None) -> B:
        """Return the batch, augmented; the one given is not modified.

        Args:
            batch: Any frozen dataclass with what ``Clips`` has.
            seed: Used if the step was made without one.

        Raises:
            InputError: The batch can't be augmented so; the message says why.
        """
        return self.with_parameters(batch, seed=seed)[0]

    def with_parameters(self, batch: B, *, seed: int | None = None) -> tuple[B, Parameters]:
        """Return the augmented batch, and what ``draw`` returns for it."""
        drawn = self.draw(batch, seed=seed)
        changed = self._change(batch, drawn)
        return (choose_rows(drawn["chosen"], changed, batch) if self.p < 1.0 else changed), drawn

    def draw(self, batch: AudioBatch, *, seed: int | None = None) -> Parameters:
        """Return what ``forward`` does to each row, as tensors of (batch, ...).

        ``chosen`` says which rows are changed; the other parameters are drawn for all rows, chosen or not.
        """
        check_batch(batch, type(self).__name__)
        draws = Draws(seed=self._seed(seed), purpose=type(self).__name__, positions=batch.positions, views=batch.views)
        uniforms = draws.uniform(1 + self._num_uniforms(batch))
        return {"chosen": uniforms[0] < self.p, **self._draw(uniforms[1:], draws, batch)}

    def extra_repr(self) -> str:
        """Return the options that ``print`` shows."""
        return ", ".join(
            f"{name}={value}"
            for name, value in vars(self).items()
            if not name.startswith("_") and name != "training" and not isinstance(value, nn.Module)
        )

    def _seed(self, given: int | None) -> int:
        return self.seed if self.seed is not None else given or 0

    def _num_uniforms(self, batch: AudioBatch) -> int:
        """Return how many uniform numbers ``_draw`` needs for each row."""
        return 1

    def _draw(self, uniforms: Tensor, draws: Draws, batch: AudioBatch) -> Parameters:
        """Return the parameters of all rows, from (num, batch) float64 uniform numbers."""
        raise NotImplementedError

    def _change(self, batch: B, drawn: Parameters) -> B:
        """Return the batch with all its rows changed."""
        raise NotImplementedError


def replaced(batch: B, **changes: Any) -> B:
    """Return the batch with some of its values replaced."""
    return dataclasses.replace(batch, **changes)  # type: ignore[type-var]  # protocols can't ask for a dataclass


def with_audio(batch: B, audio: Tensor, **changes: Any) -> B:
    """Return the batch with other audio, the loudness of which is not known unless it is given."""
    if "loudness" not in changes and batch.loudness is not None:
        changes["loudness"] = torch.full_like(batch.loudness, float("nan"))
    return replaced(batch, audio=audio, **changes)


def choose_rows(chosen: Tensor, changed: B, batch: B) -> B:
    """Return the rows of ``changed`` where ``chosen``, and those of ``batch``, bit-identical, elsewhere."""
    chosen_values: dict[str, Any] = {}
    for name in _ROWWISE:
        new, old = getattr(changed, name, None), getattr(batch, name, None)
        if new is old:
            continue
        if new is None or old is None:
            raise InputError(f"{name} can't be made for some rows only; make them outside of OneOf, and where p is 1")
        if isinstance(new, Mapping):
            chosen_values[name] = {key: _where(chosen, new[key], old[key]) for key in new}
        else:
            chosen_values[name] = _where(chosen, new, old)
    return replaced(batch, **chosen_values) if chosen_values else batch


def check_batch(batch: AudioBatch, step: str) -> None:
    """Refuse a batch that no augmentation takes.

    Raises:
        InputError: The message says what was found.
    """
    audio, positions = batch.audio, batch.positions
    if audio.ndim != 3 or audio.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"{step}: audio is {audio.dtype} of shape {tuple(audio.shape)}; give float32 of (batch, channel, time), "
            "and cast to half precision afterwards"
        )
    if positions.shape != audio.shape[:1] or positions.dtype != torch.int64:
        raise InputError(
            f"{step}: positions are {positions.dtype} of shape {tuple(positions.shape)}; give int64, one for each of "
            f"the {len(audio)} rows"
        )
    if batch.views < 1 or len(audio) % batch.views:
        raise InputError(f"{step}: {len(audio)} rows are no whole number of positions with {batch.views} views each")


def check_no_masks(batch: AudioBatch, step: str) -> None:
    """Refuse a batch with frame masks, for steps that move what they mark.

    Raises:
        InputError: The message says what to do.
    """
    if getattr(batch, "masks", None):
        raise InputError(f"{step} would move audio away from under batch.masks; leave the step or mask_hop out")


def _where(chosen: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(chosen.reshape(-1, *[1] * (new.ndim - 1)), new, old)
