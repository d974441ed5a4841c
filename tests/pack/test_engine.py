"""Jobs on several processes, of which this one is one."""

import os
import threading

import pytest

from shardkit.core.errors import InputError
from shardkit.pack.engine import Progress, Report, run_jobs


def place(job: int, report: Report) -> tuple[int, int]:
    """Return the job and the process that did it."""
    if job < 0:
        raise InputError(f"job {job}")
    for _ in range(job):
        report(Progress(0.5, 10))
    return job, os.getpid()


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_outcomes_are_in_order_and_this_process_works_too(workers: int) -> None:
    reported: list[tuple[Progress, int]] = []
    jobs = [5, 4, 3, 2, 1, 0]
    found = run_jobs(
        place, jobs, workers=workers, report=lambda progress: reported.append((progress, threading.get_ident()))
    )
    assert [job for job, _ in found] == jobs
    assert found[0][1] == os.getpid()
    assert len({process for _, process in found}) <= workers
    assert {thread for _, thread in reported} == {threading.get_ident()}  # a progress bar is of one thread
    own = sum(job for job, process in found if process == os.getpid())
    assert own <= sum(progress.num_inputs for progress, _ in reported) <= sum(jobs)


@pytest.mark.parametrize("jobs", [[-1, 1, 2, 3], [3, -1, 2, 1]], ids=["here", "elsewhere"])
def test_the_first_failure_is_raised_wherever_it_happens(jobs: list[int]) -> None:
    with pytest.raises(InputError, match="job -1"):
        run_jobs(place, jobs, workers=2, report=lambda _: None)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("shardkit-pack")]
