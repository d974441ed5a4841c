"""Jobs killed at any instant and resumed with other numbers of ranks are, together, the uninterrupted run."""

import json
import math
import os
import random
import signal
import time
from itertools import islice
from pathlib import Path

import pytest

from tests.distributed import train_job
from tests.distributed.conftest import kill
from tests.distributed.train_job import GLOBAL_BATCH, STEP_S, facts, mixed_stream


class Run:
    """The folder of a run: its state, and the log of each part of it."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()

    @property
    def num_steps(self):
        """Steps that the state on disk says were done."""
        file = self.folder / "state.json"
        return json.loads(file.read_text())["position"] // GLOBAL_BATCH if file.exists() else 0

    def starts(self):
        """The position that each part of the run went on at."""
        return sorted({int(path.name.split("-")[0]) for path in self.folder.glob("*.log")})

    def given(self, start):
        """What the ranks of one part of the run were given, as far as they came to write it down."""
        lines = [
            line
            for path in self.folder.glob(f"{start:06}-*.log")
            for line in path.read_text().splitlines(keepends=True)
        ]
        return sorted(tuple(json.loads(line)) for line in lines if line.endswith("\n"))  # a kill may cut one off

    def log(self):
        """What the whole run was given, by position: of each part, what the next one did not do again."""
        starts = self.starts()
        return [
            fact
            for start, end in zip(starts, [*starts[1:], math.inf], strict=True)
            for fact in self.given(start)
            if fact[0] < end
        ]


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run")


def uninterrupted(sources, num_steps):
    """The log of one process that nobody kills."""
    stream = mixed_stream(*sources.values(), batch_size=GLOBAL_BATCH, rank=0, world_size=1)
    return [fact for batch in islice(stream, num_steps) for fact in facts(batch)]


def test_killed_and_resumed_with_other_numbers_of_ranks(sources, start_job, run):
    instants = random.Random(3)  # noqa: S311  any will do
    num_steps, redone = 0, 0
    for world_size in (2, 4, 2, 3, 4):
        num_steps += instants.randint(3, 9)
        job = start_job(train_job, world_size, run.folder, 1_000, 0)
        job.wait_until(lambda: run.num_steps >= num_steps)  # noqa: B023  called at once
        time.sleep(instants.random() * 2 * STEP_S)
        job.kill()
        num_steps = run.num_steps
        redone += sum(position >= num_steps * GLOBAL_BATCH for position, *_ in run.given(run.starts()[-1]))
    total = num_steps + 5
    start_job(train_job, 1, run.folder, total, 2).finish()
    assert run.log() == uninterrupted(sources, total)
    assert {source for _, source, *_ in run.log()} == {"large", "small"}
    assert len(list(run.folder.glob("*.log"))) == 2 + 4 + 2 + 3 + 4 + 1
    assert redone > 0  # or no kill came between a log and its state, and truncating was never tried


def test_torchrun_restarts_a_job_that_lost_a_rank_and_it_goes_on_from_the_state(sources, start_job, run):
    job = start_job(train_job, 3, run.folder, 14, 0, max_restarts=1)
    job.wait_until(lambda: run.num_steps >= 4)
    kill(job.processes()[1])
    job.finish()
    assert len(job.processes()) == 6
    first, second = run.starts()
    assert first == 0
    assert second >= 4 * GLOBAL_BATCH
    assert run.log() == uninterrupted(sources, 14)


def test_a_job_that_lost_a_rank_ends_as_a_whole_and_leaves_a_state(sources, start_job, run):
    job = start_job(train_job, 2, run.folder, 1_000, 0)
    job.wait_until(lambda: run.num_steps >= 3)
    os.kill(job.processes()[0], signal.SIGKILL)
    assert job.wait() != 0
    assert not [pid for pid in job.processes() if Path("/proc", str(pid)).exists()]
    done = [fact for fact in run.log() if fact[0] < run.num_steps * GLOBAL_BATCH]
    assert done == uninterrupted(sources, run.num_steps)
