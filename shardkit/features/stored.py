"""Stored features where a model expects features."""

from dataclasses import replace
from typing import Any, TypeVar

from torch import Tensor, nn

from shardkit.core.errors import InputError

BatchT = TypeVar("BatchT", bound=Any)


class StoredFeatures(nn.Module):
    """Puts the features that a stream read where a module would have put those it computed: ``batch.features``.

    In a dataset they lie frame by frame, so that crops are bytes in a row; here they become
    (batch, channel, band, frame) of float32, as ``LogMel`` gives them. To be a loader's transform, or the first of
    several augmentations.

    Args:
        field: The field that holds them.
    """

    takes_batch = True

    def __init__(self, field: str = "features") -> None:
        super().__init__()
        self.field = field

    def forward(self, batch: BatchT) -> BatchT:
        """Return the batch with ``features`` set.

        Raises:
            InputError: The batch has no such field, or its samples have features of different shapes.
        """
        found = batch.fields.get(self.field)
        if found is None:
            known = ", ".join(batch.fields) or "none"
            raise InputError(f"the batch has no field {self.field!r}; there is {known}: read a dataset of features")
        if not isinstance(found, Tensor) or found.ndim != 4:
            raise InputError(
                f"field {self.field!r} is no array of (batch, frame, channel, band): the stream delivers whole "
                "recordings, or recordings of several channels; give it a crop, or compute with --channels 1"
            )
        return replace(batch, features=found.movedim(1, -1).float())

    def extra_repr(self) -> str:
        """Return the options that ``print`` shows."""
        return f"field={self.field!r}"
