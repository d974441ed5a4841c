"""One process of a job that trains with a framework. Started by torchrun: frameworks_job.py FOLDER LARGE SMALL.

Each rank writes to FOLDER/RANK.json what it was given: before the checkpoint, and after it was resumed.
"""

import json
import os
import signal
import sys
from itertools import islice
from pathlib import Path

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from shardkit.train import Loader, StreamingDataset
from shardkit.train.lightning import StreamState
from tests.distributed.train_job import ALARM_S, facts, mixed_stream

BATCH_SIZE = 4
NUM_STEPS = 3  # before the checkpoint, and after it


class Model(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Linear(1, 1)
        self.given = []

    def training_step(self, batch, batch_idx):
        self.given += facts(batch)
        return self.weight(batch.audio.mean().reshape(1, 1)).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


def with_accelerate(make_stream, folder):
    given = []
    for resume in (False, True):
        accelerator = Accelerator(cpu=True)
        loader = Loader(make_stream(), device=accelerator.device)
        accelerator.register_for_checkpointing(loader)
        if resume:
            accelerator.load_state(folder)
        given += [fact for batch in islice(loader, NUM_STEPS) for fact in facts(batch)]
        if not resume:
            accelerator.save_state(folder)
        accelerator.wait_for_everyone()
    return given


def through_prepare(make_stream):
    """What becomes of a DataLoader over a stream that Accelerate divides among the ranks once more."""
    accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(dispatch_batches=False))
    prepared = accelerator.prepare(DataLoader(StreamingDataset(make_stream()), batch_size=None))
    try:
        return [fact for batch in islice(prepared, 1) for fact in facts(batch)]
    except TypeError as err:
        return f"TypeError: {err}"


def with_lightning(make_stream, folder):
    given = []
    for num_steps, checkpoint in ((NUM_STEPS, None), (2 * NUM_STEPS, folder / f"step={NUM_STEPS}.ckpt")):
        stream, model = make_stream(), Model()
        saving = ModelCheckpoint(folder, every_n_train_steps=NUM_STEPS, save_top_k=-1, filename="{step}")
        trainer = Trainer(
            accelerator="cpu",
            strategy="ddp",
            devices=int(os.environ["WORLD_SIZE"]),
            max_steps=num_steps,
            callbacks=[StreamState(stream), saving],
            logger=False,
            enable_progress_bar=False,
        )
        trainer.fit(model, Loader(stream, device="cpu"), ckpt_path=checkpoint)
        given += model.given
    return given


def main(folder, large, small):
    signal.alarm(ALARM_S)
    Path(folder, "pids", str(os.getpid())).touch()

    def make_stream():
        return mixed_stream(large, small, batch_size=BATCH_SIZE)

    found = {
        "accelerate": with_accelerate(make_stream, Path(folder, "accelerate")),
        "prepare": through_prepare(make_stream),
        "lightning": with_lightning(make_stream, Path(folder, "lightning")),
    }
    Path(folder, f"{os.environ['RANK']}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
