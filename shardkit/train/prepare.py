"""``Preparation``: what is done with a batch where it was delivered, in the loader's thread, ahead of the consumer.

int16 ─► float32 ─► another rate ─► transform: features, or a batch made anew
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from shardkit.core.errors import InputError
from shardkit.stream.pool import ArrayPool
from shardkit.train.batch import TorchBatch
from shardkit.train.convert import Conversion
from shardkit.train.waits import Waits

Transform = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """Prepares batches, in one thread at a time.

    Attributes:
        conversion: Of the batches themselves.
        beside: Of the batches beside them, by name.
        transform: With ``takes_batch`` true, of batches; else of ``batch.audio``, and its result are the features.
        waits: Where the time it takes is counted.
    """

    conversion: Conversion
    beside: Mapping[str, Conversion]
    transform: Transform | None
    waits: Waits

    def __call__(self, batch: TorchBatch, pool: ArrayPool) -> TorchBatch:
        """Return a batch prepared.

        Args:
            batch: On the device, as its stream made it.
            pool: Has the memory for floats on the CPU.

        Raises:
            InputError: The transform takes batches and returned something else.
            Exception: Whatever the transform raises, with a note that says of which batch.
        """
        with self.waits.spent("transfer"):
            beside = {name: self.beside[name](other, pool.empty) for name, other in batch.beside.items()}
            batch = dataclasses.replace(self.conversion(batch, pool.empty), beside=beside)
        if self.transform is None:
            return batch
        with self.waits.spent("transform"), torch.no_grad():
            try:
                return _transformed(batch, self.transform)
            except Exception as err:
                first = batch.position - batch.global_batch_size
                err.add_note(f"raised by the loader's transform, of the batch of positions [{first}, {batch.position})")
                raise


def _transformed(batch: TorchBatch, transform: Transform) -> TorchBatch:
    if not getattr(transform, "takes_batch", False):
        return dataclasses.replace(batch, features=transform(batch.audio))
    made = transform(batch)
    if not isinstance(made, TorchBatch):
        raise InputError(
            f"transform {type(transform).__name__} takes a batch but returned a {type(made).__name__}; return the "
            "batch with what it changes, as dataclasses.replace makes it"
        )
    return made
