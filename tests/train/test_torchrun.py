"""Two real processes under torchrun: their batches, interleaved by position, are the single process's."""

import json
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from shardkit.core.crops import RandomCrop
from shardkit.stream.dataset import open_dataset
from shardkit.stream.stream import Stream
from shardkit.train import Loader
from tests.train import rank_batches
from tests.train.stream_facts import facts

WORLD_SIZE = 2
GLOBAL_BATCH = WORLD_SIZE * rank_batches.BATCH_SIZE
TORCHRUN = "-m torch.distributed.run --nproc-per-node 2 --rdzv-backend c10d --rdzv-endpoint 127.0.0.1:0 --local-addr"


@pytest.fixture(scope="module")
def ranks(bursts, tmp_path_factory):
    """What each rank wrote."""
    folder = tmp_path_factory.mktemp("ranks")
    root = Path(__file__).resolve().parents[2]
    # One thread each, as torchrun would set with a warning; gloo on the loopback, whatever the host's name resolves to.
    env = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, *TORCHRUN.split(), "127.0.0.1", rank_batches.__file__, str(bursts), str(folder)]
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORLD_SIZE)]


def single_process(bursts, **options):
    return Stream(
        open_dataset(bursts), batch_size=GLOBAL_BATCH, seed=rank_batches.SEED, rank=0, world_size=1, **options
    )


def interleaved(ranks, name):
    return sorted(tuple(fact) for rank in ranks for fact in rank[name])


def test_ranks_interleave_to_the_single_process_sequence(bursts, ranks):
    expected = facts(islice(single_process(bursts, crop=RandomCrop(0.5)), rank_batches.NUM_BATCHES))
    assert interleaved(ranks, "endless") == expected
    for number, rank in enumerate(ranks):
        assert [position % WORLD_SIZE for position, *_ in rank["endless"]] == [number] * len(rank["endless"])


def test_the_state_of_every_rank_is_the_single_process_state(bursts, ranks):
    expected = single_process(bursts, crop=RandomCrop(0.5)).state_at(rank_batches.NUM_BATCHES * GLOBAL_BATCH)
    assert [rank["state"] for rank in ranks] == [expected] * WORLD_SIZE


def test_hard_examples_that_each_rank_tells_of_its_own_batches_are_drawn_again_by_all(bursts, ranks):
    stream = rank_batches.mined_stream(str(bursts), rank=0, world_size=1)
    expected = rank_batches.mined_epochs(Loader(stream, device="cpu"), 3)
    assert interleaved(ranks, "mined") == sorted(map(tuple, expected))
    assert [rank["mined_state"] for rank in ranks] == [stream.state_dict()] * WORLD_SIZE
    assert len(stream.feedback_state()["pending"]) == 5


def test_worker_processes_draw_hard_examples_too(bursts):
    alone, worked = (
        rank_batches.mined_epochs(
            Loader(rank_batches.mined_stream(str(bursts), rank=0, world_size=1), device="cpu", workers=workers), 3
        )
        for workers in (0, 2)
    )
    assert alone == worked


def test_in_one_pass_ranks_step_together_and_each_row_is_valid_once(bursts, ranks):
    num_rows = len(open_dataset(bursts))
    num_batches = -(-num_rows // GLOBAL_BATCH)
    num_valid = [-(-(num_rows - rank) // WORLD_SIZE) for rank in range(WORLD_SIZE)]
    for rank in ranks:
        assert rank["counts_of_all_ranks"] == [[num_batches, valid] for valid in num_valid]
        assert len(rank["valid"]) == num_batches * rank_batches.BATCH_SIZE
    keys = [key for rank in ranks for (_, key, *_), valid in zip(rank["one_pass"], rank["valid"], strict=True) if valid]
    assert sorted(keys) == sorted(open_dataset(bursts).keys())
