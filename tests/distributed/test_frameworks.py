"""Two ranks under Accelerate and under Lightning, checkpointed and resumed, are the uninterrupted single process."""

import json
from itertools import islice

import pytest

from tests.distributed.train_job import facts, mixed_stream

pytest.importorskip("accelerate")
pytest.importorskip("lightning")

from tests.distributed import frameworks_job

WORLD_SIZE = 2

pytestmark = pytest.mark.filterwarnings("ignore:.*_get_vc_env is private:UserWarning")  # distutils, as torch imports it


@pytest.fixture(scope="module")
def ranks(start_job):
    """What each rank was given."""
    job = start_job(frameworks_job, WORLD_SIZE)
    job.finish()
    return [json.loads((job.folder / f"{rank}.json").read_text()) for rank in range(WORLD_SIZE)]


@pytest.mark.parametrize("framework", ["accelerate", "lightning"])
def test_ranks_together_are_given_what_one_process_is(sources, ranks, framework):
    batch_size = WORLD_SIZE * frameworks_job.BATCH_SIZE
    stream = mixed_stream(*sources.values(), batch_size=batch_size, rank=0, world_size=1)
    expected = [fact for batch in islice(stream, 2 * frameworks_job.NUM_STEPS) for fact in facts(batch)]
    assert sorted(tuple(fact) for rank in ranks for fact in rank[framework]) == expected


def test_a_stream_divided_among_the_ranks_twice_is_an_error(ranks):
    assert ["TypeError" in rank["prepare"] for rank in ranks] == [True] * WORLD_SIZE
