"""``StreamState``: the one thing that PyTorch Lightning needs to resume a stream exactly.

Lightning saves the state of a loader that has one, but not always the right one, nor does it always load it:

- It asks an endless loader for one batch more than it trains on, to know whether a batch is the last, unless
  ``limit_train_batches`` says so. The loader's state is then one batch too far.
- It does not load it where a checkpoint was taken at the end of an epoch.
- Its next epoch begins where worker processes of a DataLoader started, not where they came to.

A callback knows which batch was trained on. It puts the stream there, so whatever asks the stream gets it right.
"""

# ruff: noqa: ARG002  the signatures of hooks are Lightning's

from collections.abc import Mapping
from typing import Any

from shardkit.core.errors import InputError
from shardkit.stream.stream import Stream
from shardkit.train.batch import TorchBatch
from shardkit.train.checks import check_stream

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError as err:
    raise ImportError(
        f"shardkit.train.lightning needs Lightning: pip install 'lightning>=2.5'; importing it failed: {err}"
    ) from err


class StreamState(Callback):
    """Keeps a stream at the last batch that was trained on, and its state in each checkpoint.

        trainer = Trainer(callbacks=[StreamState(stream), ModelCheckpoint(every_n_train_steps=1000)])
        trainer.fit(model, Loader(stream), ckpt_path="last")

    A one-pass stream begins anew with each epoch, an endless one goes on.

    Args:
        stream: What the train dataloader reads; its only one.

    Raises:
        InputError: It is no stream; or, when training begins, it belongs to another rank than Lightning's, or the
            dataloader reads another one, or has workers that keep a place of their own.
    """

    def __init__(self, stream: Stream) -> None:
        check_stream(stream)
        self.stream = stream

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a stream that was made before the ranks were known: every process would read the same."""
        ranks = (self.stream.rank, self.stream.world_size)
        if ranks != (trainer.global_rank, trainer.world_size):
            raise InputError(
                f"the stream is rank {ranks[0]} of {ranks[1]}, but Lightning's is {trainer.global_rank} of "
                f"{trainer.world_size}; start the processes with torchrun, or give the stream rank and world_size"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a dataloader that goes on elsewhere than where the stream stands."""
        loader = trainer.train_dataloader
        if getattr(getattr(loader, "dataset", loader), "stream", self.stream) is not self.stream:
            raise InputError("the train dataloader reads another stream than StreamState was given; give both the same")
        keeps_place = hasattr(loader, "state_dict") or getattr(loader, "persistent_workers", False)
        if getattr(loader, "num_workers", 0) and keeps_place:
            raise InputError(
                f"the workers of this {type(loader).__name__} keep their own place, which Lightning does not always "
                "restore; give it a Loader(stream, workers=...), or a plain DataLoader without persistent_workers"
            )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: TorchBatch, batch_idx: int
    ) -> None:
        """Until it was trained on, a batch is not done: a checkpoint of a step that fails resumes before it."""
        self.stream.advance(batch.position - self.stream.global_batch_size)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: TorchBatch, batch_idx: int
    ) -> None:
        """Note that a batch was trained on."""
        ended = trainer.is_last_batch and self.stream.passes is not None
        self.stream.advance(None if ended else batch.position)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the stream, for the checkpoint."""
        return self.stream.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Put the stream where a checkpoint was taken.

        Raises:
            StateError: The state is of another stream; the message names what differs.
        """
        self.stream.load_state_dict(state_dict)
