"""What a stream says when no batch comes: what it waits for, since when, where; and that it is silent otherwise."""

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import pytest

import shardkit as sk
from shardkit.core.errors import InputError
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from shardkit.stream.inspection import Line
from shardkit.stream.processes import read_in_processes
from shardkit.stream.watchdog import Sight, Watch
from tests.stream.conftest import noise, write_source
from tests.stream.gated_server import gated

OPTIONS = {"crop": sk.RandomCrop(0.2), "batch_size": 4, "seed": 3}
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="real-time signals, /proc")


@pytest.fixture
def server(datasets):
    with gated(datasets["clips"].parent) as server:
        yield server


@pytest.fixture
def stalls(caplog):
    """The records of stalls so far, in a list that grows."""
    caplog.set_level(logging.WARNING, "shardkit")
    return lambda: [record for record in caplog.records if getattr(record, "event", "") == "stall"]


def until(condition, limit_s=60.0):
    limit = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < limit, "it did not come about"
        time.sleep(0.02)
    return found


def test_storage_that_does_not_answer_is_named_with_url_range_and_stacks_until_it_does(
    server, datasets, stalls, caplog
):
    stream = sk.Stream(sk.open(f"{server.url}/clips"), stall_s=0.2, threads=3, **OPTIONS)
    expected = next(iter(sk.Stream(sk.open(datasets["clips"]), **OPTIONS)))
    server.gate.clear()
    with ThreadPoolExecutor(1) as consumer:
        waiting = consumer.submit(next, iter(stream))
        first, second = until(lambda: len(stalls()) > 1 and stalls()[:2])
        assert stream.stats()["in_flight"] == second.num_requests > 0
        server.gate.set()
        batch = waiting.result()
    assert np.array_equal(batch.audio, expected.audio)
    assert (first.levelname, first.name) == ("WARNING", "shardkit.stream.watchdog")
    assert first.waits_for == "storage"
    assert first.shard.startswith(f"{server.url}/clips/")
    assert 0 <= first.start < first.stop
    assert f"storage: {first.shard}, bytes {first.start:,} to {first.stop:,}, for " in first.getMessage()
    assert "read_range" in first.stacks
    assert "shardkit_0" in first.stacks
    assert first.waited_s >= 0.2
    assert second.waited_s >= 2 * 0.2
    assert second.since_s > first.since_s
    assert stream.stats()["stalls"] == 1
    (over,) = [record for record in caplog.records if getattr(record, "event", "") == "stall_over"]
    assert over.waited_s >= second.waited_s


def test_a_slow_decoder_is_named_with_the_key_it_is_at(tmp_path, stalls):
    audio = {f"{i}.wav": (noise(i, 40 * 48_000, 2), 48_000) for i in range(4)}
    manifest = write_source(tmp_path, "long", [{"path": path} for path in audio], audio)
    pack(locate(manifest), locate(tmp_path / "long"), inputs=InputOptions(), options=PackOptions(workers=1))
    stream = sk.Stream(sk.open(tmp_path / "long"), batch_size=4, threads=1, stall_s=0.01)
    batch = next(iter(stream))
    decoding = [record for record in stalls() if record.waits_for == "decode"]
    assert decoding
    assert all(record.key in batch.keys and record.field == "audio" for record in decoding)
    assert f"decode: key {decoding[0].key!r}" in decoding[0].getMessage()


def test_a_consumer_that_takes_its_time_is_no_stall(datasets, stalls):
    stream = sk.Stream(sk.open(datasets["clips"]), stall_s=1.0, **OPTIONS)
    for _ in islice(stream, 2):
        time.sleep(1.5)
    assert stalls() == []
    assert stream.stats()["stalls"] == 0


def test_it_can_be_turned_off(server, stalls):
    stream = sk.Stream(sk.open(f"{server.url}/clips"), stall_s=None, **OPTIONS)
    server.gate.clear()
    with ThreadPoolExecutor(1) as consumer:
        waiting = consumer.submit(next, iter(stream))
        until(lambda: stream.stats()["in_flight"])
        time.sleep(0.3)
        server.gate.set()
        waiting.result()
    assert stalls() == []


@pytest.mark.parametrize("stall_s", [0, -1, "60", float("nan"), True])
def test_what_is_no_time_is_refused(datasets, stall_s):
    with pytest.raises(InputError, match="stall_s"):
        sk.Stream(sk.open(datasets["clips"]), stall_s=stall_s, **OPTIONS)


def test_queries_of_urls_which_may_be_signed_are_not_told(datasets, stalls, caplog):
    with gated(datasets["clips"].parent) as server:
        stream = sk.Stream(sk.open(f"{server.url}/clips?sig=s3cret"), stall_s=0.05, **OPTIONS)
        server.gate.clear()
        with ThreadPoolExecutor(1) as consumer:
            waiting = consumer.submit(next, iter(stream))
            (record, *_) = until(stalls)
            server.gate.set()
            waiting.result()
    assert record.shard.endswith(".tar?…")
    assert not any("s3cret" in str(vars(one)) + one.getMessage() for one in caplog.records)


@needs_linux
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_reading_process_tells_what_it_waits_for(server, stalls):
    stream = sk.Stream(sk.open(f"{server.url}/clips"), stall_s=0.3, **OPTIONS)
    server.gate.clear()
    with ThreadPoolExecutor(1) as consumer:
        batches = read_in_processes(stream, 0, num_processes=2)
        waiting = consumer.submit(next, batches)
        record = until(lambda: [one for one in stalls() if one.waits_for == "storage"])[0]
        server.gate.set()
        waiting.result()
        batches.close()
    assert record.worker == "reading process 0"
    assert record.shard.startswith(server.url)
    assert f"(pid {record.worker_pid}), storage" in record.getMessage()
    assert "read_range" in record.stacks


@needs_linux
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_reading_process_that_was_stopped_is_said_to_be(datasets, stalls):
    stream = sk.Stream(sk.open(datasets["clips"]), stall_s=0.3, **OPTIONS)
    batches = read_in_processes(stream, 0, num_processes=1)
    next(batches)
    (process,) = multiprocessing.active_children()
    pid = process.pid
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as consumer:
        waiting = consumer.submit(lambda: [next(batches) for _ in range(10)])  # some were ready
        (record, *_) = until(stalls)
        os.kill(pid, signal.SIGCONT)
        assert len(waiting.result()) == 10
        batches.close()
    assert record.waits_for == "process"
    assert f"(pid {pid}), which is stopped by a signal" in record.getMessage()


def hold_the_interpreter(end, started, seconds):
    end.answer_in_thread(lambda: Sight("threads", "never told"))
    started.set()
    ctypes.PyDLL(None).sleep(seconds)  # unlike CDLL, keeps the interpreter's lock


@needs_linux
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_process_in_which_the_interpreter_hangs_still_tells_its_stacks(method):
    context = multiprocessing.get_context(method)
    line, started = Line(), context.Event()
    process = context.Process(target=hold_the_interpreter, args=(line.other, started, 30))
    process.start()
    try:
        assert started.wait(60)
        seen = line.ask("reading process 0", process.pid)
        assert seen.waits_for == "process"
        assert "does not answer" in seen.message
        assert "in hold_the_interpreter" in seen.stacks
    finally:
        process.kill()
        process.join()
        line.close()
        with line.other:
            pass
    assert "does not answer" in line.ask("reading process 0", None).message  # of a closed line


def test_waits_are_repeated_at_twice_the_time_and_counted_once_a_batch():
    late, looks, began = [], [], time.monotonic()
    watch = Watch(0.1, lambda: late.append(1))
    watch.look = lambda: looks.append(time.monotonic() - began) or Sight("threads", "something")
    for _ in range(2):
        looks.clear()
        began = time.monotonic()
        watch.begin()
        watch.wait(lambda timeout_s: time.sleep(timeout_s / 2) or len(looks) == 3)
        watch.end()
        assert all(at >= 0.1 * 2**number for number, at in enumerate(looks))
    assert len(late) == 2


def test_threads_that_do_the_same_are_told_once(server, stalls):
    stream = sk.Stream(sk.open(f"{server.url}/clips"), stall_s=0.2, threads=8, **OPTIONS)
    server.gate.clear()
    with ThreadPoolExecutor(1) as consumer:
        waiting = consumer.submit(next, iter(stream))
        (record, *_) = until(lambda: stalls() and stalls()[0].num_requests > 1 and stalls())
        server.gate.set()
        waiting.result()
    headings = [line for line in record.stacks.splitlines() if line.startswith("shardkit_")]
    names = [name for line in headings for name in line.rstrip(":").split(", ")]
    assert len(set(names)) == len(names) > len(headings)
