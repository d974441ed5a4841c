"""Samples prepared on threads: their order, how far ahead, and failures."""

import threading
import time

import pytest

from shardkit.core.errors import AudioError
from shardkit.pack.ahead import in_order
from shardkit.pack.inputs import PackInput
from shardkit.storage.location import locate


def inputs(count: int, size: int) -> list[PackInput]:
    return [PackInput(key=str(i), location=locate("/x"), path=str(i), size=size, where=str(i)) for i in range(count)]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("size", [10, 300_000, 5_000_000])
def test_they_come_in_the_order_of_the_inputs(threads: int, size: int) -> None:
    def work(run: list[PackInput]) -> list[str]:
        time.sleep(0.002 * (hash(run[0].key) % 3))
        return [item.key for item in run]

    found = list(in_order(inputs(100, size), work, threads=threads))
    assert [item.key for item, _ in found] == [result for _, result in found] == [str(i) for i in range(100)]


def test_no_more_is_prepared_ahead_than_memory_allows() -> None:
    lock, done, most = threading.Lock(), 0, 0

    def work(run: list[PackInput]) -> list[int]:
        nonlocal done
        with lock:
            done += len(run)
        return [0] * len(run)

    for taken, _ in enumerate(in_order(inputs(60, 10_000_000), work, threads=3)):
        time.sleep(0.002)
        most = max(most, done - taken)
    assert most <= 4  # one for each thread, and the one that is being written


def test_a_failure_comes_when_it_is_its_turn_and_ends_the_threads() -> None:
    def work(run: list[PackInput]) -> list[str]:
        if run[0].key == "7":
            raise AudioError("seven")
        return [item.key for item in run]

    found = []
    with pytest.raises(AudioError, match="seven"):
        for item, _ in in_order(inputs(50, 2_000_000), work, threads=4):
            found.append(item.key)
    assert found == [str(i) for i in range(7)]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("shardkit-pack")]


def test_closing_ends_the_threads() -> None:
    found = in_order(inputs(50, 2_000_000), lambda run: [item.key for item in run], threads=4)
    assert next(found)[1] == "0"
    found.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("shardkit-pack")]
