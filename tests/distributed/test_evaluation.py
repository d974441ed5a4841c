"""Metrics of one pass over several ranks, the padding left out, are those of one process, to the last bit."""

import json

from tests.distributed import evaluate_job
from tests.distributed.evaluate_job import evaluated


def test_metrics_of_three_ranks_are_those_of_one(sources, start_job):
    num_rows, batch_size, world_size = 90 + 3, 5, 3
    _, expected = evaluated(*sources.values(), 7, rank=0, world_size=1)
    job = start_job(evaluate_job, world_size, batch_size)
    job.finish()
    ranks = [json.loads((job.folder / f"{rank}.json").read_text()) for rank in range(world_size)]
    assert expected[0] == num_rows
    assert [num_batches for num_batches, _, _ in ranks] == [7] * world_size  # 105 positions, 12 of them padding
    assert [own[0] for _, own, _ in ranks] == [31, 31, 31]
    assert [together for *_, together in ranks] == [expected.tolist()] * world_size
