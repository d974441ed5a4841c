"""Work in steps: the order of the steps, and what becomes of those that fail."""

import pytest

from shardkit.audio.steps import run, run_together
from shardkit.core.errors import AudioError


def count(name, steps, log, fails_at=None):
    for step in range(steps):
        log.append((step, name))
        if step == fails_at:
            raise AudioError(name)
        yield
    return name * 2


def test_alone_steps_run_to_their_result():
    log = []
    assert run(count("a", 3, log)) == "aa"
    assert [step for step, _ in log] == [0, 1, 2]


def test_together_each_step_is_done_for_all_before_the_next():
    log = []
    results = run_together([count("a", 2, log), count("b", 0, log), count("c", 3, log, fails_at=1), count("d", 3, log)])
    assert (results[0], results[1], results[3]) == ("aa", "bb", "dd")
    assert isinstance(results[2], AudioError)
    assert log == [(0, "a"), (0, "c"), (0, "d"), (1, "a"), (1, "c"), (1, "d"), (2, "d")]


def test_what_is_not_the_recording_s_fault_is_raised():
    def broken():
        yield
        raise MemoryError

    with pytest.raises(MemoryError):
        run_together([broken()])
