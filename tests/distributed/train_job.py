"""One process of a training job. Started by torchrun: train_job.py FOLDER LARGE SMALL RUN NUM_STEPS WORKERS.

RUN/state.json is where the run stands; it exists once there is something to go on from. What a rank was given since
then is in RUN/POSITION-RANK.log, POSITION being where it went on: a line for each sample, of each batch before the step
that used it was done.
"""

import json
import os
import signal
import sys
import time
from itertools import islice
from pathlib import Path

import torch
import torch.distributed as dist

from shardkit.core.crops import RandomCrop
from shardkit.stream.dataset import open_dataset
from shardkit.stream.stream import Stream
from shardkit.train import Loader

GLOBAL_BATCH = 12
STEP_S = 0.02
ALARM_S = 90  # whatever happens to those who started it, no process stays


def mixed_stream(large, small, **options):
    sources = {"large": open_dataset(large), "small": open_dataset(small)}
    return Stream(sources, weights={"large": 0.8, "small": 0.2}, crop=RandomCrop(0.3), seed=5, **options)


def facts(batch):
    """Position, source, key and start of the crop of each sample."""
    return list(zip(batch.positions.tolist(), batch.sources, batch.keys, batch.starts.tolist(), strict=True))


def save(state, path):
    written = path.with_suffix(".new")
    written.write_text(json.dumps(state))
    written.rename(path)


def main(folder, large, small, run, num_steps, workers):
    signal.alarm(ALARM_S)
    Path(folder, "pids", str(os.getpid())).touch()
    dist.init_process_group("gloo")
    rank, state_file = dist.get_rank(), Path(run, "state.json")
    stream = mixed_stream(large, small, batch_size=GLOBAL_BATCH // dist.get_world_size())
    loader = Loader(stream, device="cpu", workers=int(workers))
    if state_file.exists():
        loader.load_state_dict(json.loads(state_file.read_text()))
    dist.barrier()  # no state is written before all have read theirs
    with Path(run, f"{stream.position:06}-{rank}.log").open("w") as log:
        for batch in islice(loader, int(num_steps) - stream.position // GLOBAL_BATCH):
            log.writelines(json.dumps(fact) + "\n" for fact in facts(batch))
            log.flush()
            time.sleep(STEP_S)
            dist.all_reduce(torch.ones(1))  # the step: it is done once all ranks have done it
            if rank == 0:
                save(loader.state_dict(), state_file)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
