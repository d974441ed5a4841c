"""One process of a gloo group: writes what its rank was given. Started by torchrun: rank_batches.py DATASET FOLDER.

The ranks are never named here: the streams find them through torch.distributed.
"""

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
import torch.distributed as dist

from shardkit.core.crops import RandomCrop
from shardkit.core.mining import Mining
from shardkit.stream.dataset import open_dataset
from shardkit.stream.stream import Stream
from shardkit.train import Loader
from tests.train.stream_facts import facts

NUM_BATCHES = 6
BATCH_SIZE = 3
SEED = 7


def mined_epochs(loader: Loader, num_epochs: int) -> list[tuple[Any, ...]]:
    """Return what this rank is given in some epochs, after each of which it tells how hard it was."""
    found: list[tuple[Any, ...]] = []
    for _ in range(num_epochs):
        batches = list(loader)
        found += facts(batches)
        positions = torch.cat([batch.positions for batch in batches])
        scores = torch.tensor([crc32(key.encode()) % 100 / 100 for batch in batches for key in batch.keys])
        loader.feedback(positions, scores)
    return found


def mined_stream(dataset: str, **options: Any) -> Stream:
    """Return a stream in which a third of each batch is for hard examples."""
    view = open_dataset(dataset)
    return Stream(
        {"all": view, "hard": view},
        composition={"all": 4, "hard": 2},
        mining=Mining("hard", size=5, above=0.2),
        epoch_samples=12,
        crop=RandomCrop(0.5),
        seed=SEED,
        **options,
    )


def main(dataset: str, folder: str) -> None:
    dist.init_process_group("gloo")
    view = open_dataset(dataset)
    endless = Loader(Stream(view, crop=RandomCrop(0.5), batch_size=BATCH_SIZE, seed=SEED), device="cpu")
    one_pass = Loader(Stream(view, batch_size=BATCH_SIZE, seed=SEED, passes=1), device="cpu")
    mined = Loader(mined_stream(dataset), device="cpu")
    last = list(one_pass)
    counts = torch.tensor([len(last), sum(int(batch.valid.sum()) for batch in last)])
    gathered = [torch.zeros_like(counts) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, counts)
    found = {
        "endless": facts(islice(endless, NUM_BATCHES)),
        "state": endless.state_dict(),
        "one_pass": facts(last),
        "mined": mined_epochs(mined, 3),
        "mined_state": mined.state_dict(),
        "valid": [flag for batch in last for flag in batch.valid.tolist()],
        "counts_of_all_ranks": [each.tolist() for each in gathered],
    }
    Path(folder, f"{dist.get_rank()}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
