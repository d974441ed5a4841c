"""``Loader.stats`` says whether the consumer waits, and for what."""

import copy
import logging
import multiprocessing
import pickle
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest
import torch

import shardkit as sk
from shardkit.stream.stream import Stream
from shardkit.train import Loader, StreamingDataset
from shardkit.train.waits import Waits
from tests.stream.gated_server import gated

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


READ = ("requests", "bytes_read", "bytes_used", "samples", "batches")
forks = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # Python 3.12


def counted_by(stream, num_batches):
    for _ in stream.batches(0, end=num_batches * stream.global_batch_size):
        pass
    return stream.stats()


@forks
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_what_processes_of_a_loader_read_is_in_the_streams_stats(make_stream, method, monkeypatch):
    monkeypatch.setattr(multiprocessing, "Process", multiprocessing.get_context(method).Process)
    num_batches = 8
    stream = make_stream(passes=1)  # a pass ends, so that workers read no further
    expected = counted_by(make_stream(passes=1), num_batches)
    for times in (1, 2):
        assert sum(1 for _ in Loader(stream, device="cpu", workers=2)) == num_batches
        found = stream.stats()
        assert {name: found[name] for name in READ} == {name: times * expected[name] for name in READ}
        assert found["decode_s"] > 0 < found["storage_s"]
        assert found["sources"].keys() == expected["sources"].keys()


@forks
def test_samples_that_processes_fail_to_read_are_listed(bursts, tmp_path):
    shutil.copytree(bursts, tmp_path / "copy")
    tar = sorted((tmp_path / "copy").rglob("*.tar"))[0]
    tar.write_bytes(bytes(tar.stat().st_size))
    options = {"passes": 1, "batch_size": 3, "crop": sk.RandomCrop(0.5), "rank": 0, "world_size": 1}
    alone = sk.Stream(sk.open(tmp_path / "copy"), **options)
    for _ in alone:
        pass
    stream = sk.Stream(sk.open(tmp_path / "copy"), **options)
    for _ in Loader(stream, device="cpu", workers=2):
        pass
    assert alone.failures
    assert sorted(stream.failures, key=lambda fault: fault.position) == alone.failures
    assert stream.stats()["failures"] == len(alone.failures)


@forks
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_what_the_workers_of_a_data_loader_read_is_in_the_datasets_stats(make_stream, method):
    expected = counted_by(make_stream(passes=1), 8)
    dataset = StreamingDataset(make_stream(passes=1))
    for times in (1, 2):
        loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context=method)
        assert sum(1 for _ in loader) == 8
        found = dataset.stats()
        assert {name: found[name] for name in READ} == {name: times * expected[name] for name in READ}
        assert dataset.stats() == found
    assert copy.deepcopy(dataset).stats()["batches"] == 16
    assert pickle.loads(pickle.dumps(dataset)).stats()["batches"] == 16  # noqa: S301  our own


def shown(stalls):
    limit = time.monotonic() + 60
    while not (found := stalls()):
        assert time.monotonic() < limit
        time.sleep(0.02)
    return found[0]


@pytest.fixture
def stalls(caplog):
    caplog.set_level(logging.WARNING, "shardkit")
    return lambda: [record for record in caplog.records if getattr(record, "event", "") == "stall"]


def test_a_transform_that_hangs_is_told_with_its_stack(make_stream, stalls):
    go_on = threading.Event()

    def hanging(audio):
        go_on.wait()
        return audio

    loader = Loader(make_stream(), device="cpu", transform=hanging, stall_s=0.3)
    batches = iter(loader)
    with ThreadPoolExecutor(1) as consumer:
        waiting = consumer.submit(next, batches)
        record = shown(stalls)
        go_on.set()
        waiting.result()
    assert record.waits_for == "transform"
    assert "in hanging" in record.stacks
    assert "transform of the batch in the loader's thread, for 0." in record.getMessage()
    assert loader.stats()["stalls"] == 1
    # That the thread ends with the iterator, as ``no_thread_left`` sees to, shows that looking keeps nothing alive.


@forks
@pytest.mark.parametrize("workers", [0, 2])
def test_storage_is_told_through_all_layers_by_the_one_who_waits(bursts, workers, stalls):
    with gated(bursts.parent) as server:
        options = {"crop": sk.RandomCrop(0.5), "batch_size": 3, "seed": 7, "rank": 0, "world_size": 1}
        loader = Loader(sk.Stream(sk.open(f"{server.url}/dataset"), stall_s=0.3, **options), workers=workers)
        server.gate.clear()
        batches = iter(loader)
        with ThreadPoolExecutor(1) as consumer:
            waiting = consumer.submit(next, batches)
            record = shown(lambda: [one for one in stalls() if one.waits_for == "storage"])
            assert {one.threadName for one in stalls()} == {record.threadName}  # and not by the loader's thread
            server.gate.set()
            waiting.result()
            num_told = len(stalls())
            server.gate.clear()  # now the thread waits, ahead of the consumer, who does not
            time.sleep(1.0)
            assert len(stalls()) == num_told
            server.gate.set()
            consumer.submit(batches.close).result()
    assert record.shard.startswith(server.url)
    assert ("worker_pid" in vars(record)) == (workers > 0)
