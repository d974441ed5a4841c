"""One process of an evaluation. Started by torchrun: evaluate_job.py FOLDER LARGE SMALL BATCH_SIZE.

Each rank writes to FOLDER/RANK.json what it counted and what the ranks together did.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from shardkit.stream.dataset import open_dataset
from shardkit.stream.stream import Stream
from shardkit.train import Loader
from tests.distributed.train_job import ALARM_S


def evaluated(large, small, batch_size, **ranks):
    """Number of batches, and the metrics: number of samples, sum of the squares of all of them as PCM16."""
    sources = {"large": open_dataset(large), "small": open_dataset(small)}
    loader = Loader(Stream(sources, passes=1, batch_size=batch_size, **ranks), device="cpu")
    num_batches, metrics = 0, torch.zeros(2, dtype=torch.int64)
    for batch in loader:
        energies = (batch.audio * 32_768).long().square().sum(dim=(1, 2))
        metrics += torch.stack([batch.valid.sum(), energies[batch.valid].sum()])
        num_batches += 1
        if ranks == {}:
            dist.all_reduce(torch.ones(1))  # a step that needs all ranks: with unequal numbers of them, it would hang
    return num_batches, metrics


def main(folder, large, small, batch_size):
    signal.alarm(ALARM_S)
    Path(folder, "pids", str(os.getpid())).touch()
    dist.init_process_group("gloo")
    num_batches, metrics = evaluated(large, small, int(batch_size))
    own = metrics.tolist()
    dist.all_reduce(metrics)
    Path(folder, f"{dist.get_rank()}.json").write_text(json.dumps([num_batches, own, metrics.tolist()]))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
