"""``Loader.stats`` says whether the consumer waits, and for what."""

import copy
import pickle
import threading
import time
from itertools import islice

import pytest
import torch

from shardkit.stream.stream import Stream
from shardkit.train import Loader
from shardkit.train.waits import Waits

pytestmark = pytest.mark.usefixtures("no_thread_left")

STEP_S = 0.03
STEPS = 8


class SlowStream(Stream):
    """A stream of which each batch takes as long as a step."""

    def batches(self, position, **options):
        for batch in super().batches(position, **options):
            time.sleep(STEP_S)
            yield batch


def slow(audio):
    time.sleep(STEP_S)
    return audio.mean()


def run(loader, *, step_s=0.0):
    """The loader's stats after some steps."""
    for _ in islice(loader, STEPS):
        time.sleep(step_s)
    return loader.stats()


def test_a_slow_consumer_waits_for_nothing_and_finds_batches_ready(make_stream):
    stats = run(Loader(make_stream(), device="cpu"), step_s=STEP_S)
    assert stats["batches"] == STEPS
    assert stats["waiting_share"] < 0.5  # on an idle machine 0.003; one that is busy may wake a thread late
    assert stats["used_s"] >= (STEPS - 1) * STEP_S
    assert 1.0 < stats["ready"] <= 2.0


def test_a_quick_consumer_waits_for_a_slow_transform(make_stream):
    stats = run(Loader(make_stream(), device="cpu", transform=slow))
    assert stats["waits_for"] == "transform"
    assert stats["waiting_share"] > 0.5
    assert stats["ready"] < 1.0
    assert stats["transform_s"] >= STEPS * STEP_S
    assert stats["starting_s"] >= STEP_S


def test_a_quick_consumer_waits_for_a_slow_stream(make_stream):
    stream = make_stream()
    stream.__class__ = SlowStream
    stats = run(Loader(stream, device="cpu"))
    assert stats["waits_for"] == "reading"
    assert stats["waiting_share"] > 0.5
    assert stats["reading_s"] >= STEPS * STEP_S


def test_what_one_does_between_iterations_is_no_use_of_a_batch(make_stream):
    loader = Loader(make_stream(), device="cpu")
    list(islice(loader, 2))
    time.sleep(10 * STEP_S)
    list(islice(loader, 2))
    stats = loader.stats()
    assert stats["batches"] == 4
    assert stats["used_s"] < 10 * STEP_S


def test_before_there_are_two_batches_nothing_is_said(make_stream):
    loader = Loader(make_stream(), device="cpu")
    nothing = {name: value for name, value in loader.stats().items() if value is None}
    assert nothing.keys() == {"waiting_share", "ready", "device_waiting_share", "waits_for"}
    list(islice(loader, 1))
    assert loader.stats()["batches"] == 1
    assert loader.stats()["waits_for"] is None


def counted(*, waited_s, used_s, **spent_s):
    """What the stats say after one pair of these."""
    waits = Waits()
    waits._spent.update(spent_s)
    waits.delivered(ready=0, waited_s=9.0, used_s=None, events=None)
    waits.delivered(ready=1, waited_s=waited_s, used_s=used_s, events=None)
    return waits.snapshot()


@pytest.mark.parametrize(
    ("times", "verdict", "share"),
    [
        ({"waited_s": 0.01, "used_s": 0.99, "reading": 5.0}, "nothing", 0.01),
        ({"waited_s": 0.25, "used_s": 0.75, "reading": 5.0, "transform": 1.0}, "reading", 0.25),
        ({"waited_s": 0.25, "used_s": 0.75, "reading": 0.0, "transfer": 1.0}, "transfer", 0.25),
        ({"waited_s": 1.0, "used_s": 0.0, "transform": 1.0}, "transform", 1.0),
    ],
)
def test_the_verdict_is_what_the_thread_spends_most_on_if_the_consumer_waits(times, verdict, share):
    found = counted(**times)
    assert (found["waits_for"], found["waiting_share"], found["ready"]) == (verdict, share, 1.0)
    assert found["starting_s"] == 9.0


def test_stats_may_be_asked_for_in_any_thread_while_batches_come(make_stream):
    loader, seen, stop = Loader(make_stream(), device="cpu", transform=torch.mean), [], threading.Event()

    def ask():
        while not stop.is_set():
            seen.append(loader.stats()["batches"])

    asking = threading.Thread(target=ask)
    asking.start()
    list(islice(loader, 50))
    stop.set()
    asking.join()
    assert seen == sorted(seen)
    assert loader.stats()["batches"] == 50


def test_a_copy_of_a_loader_counts_for_itself(make_stream):
    loader = Loader(make_stream(), device="cpu")
    list(islice(loader, 2))
    for other in (copy.deepcopy(loader), pickle.loads(pickle.dumps(loader))):  # noqa: S301  our own bytes
        assert other.stats()["batches"] == 0
        assert [batch.position for batch in islice(other, 2)] == [9, 12]
        assert other.stats()["batches"] == 2
