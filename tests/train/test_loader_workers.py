"""Worker processes of the loader: what they deliver, in whose memory, and that nothing of them is left behind."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import zlib
from contextlib import suppress
from itertools import islice
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch
import xxhash

import shardkit as sk
from shardkit.core.errors import CorruptDataError, ShardkitError, StorageError
from shardkit.stream.processes import _LEAVE_S, _sendable, read_in_processes
from shardkit.stream.sharedmemory import MIN_SHARED
from shardkit.train import Loader
from tests.stream import scenes
from tests.train.conftest import shardkit_threads
from tests.train.stream_facts import facts

pytestmark = [
    pytest.mark.usefixtures("no_thread_left", "nothing_left"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),  # Python 3.12: there are other threads
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

METHODS = ["fork", "spawn", "forkserver"]
LARGE = {"batch_size": 16}  # crops of 4,000 samples: 256 kB of float32


@pytest.fixture
def nothing_left():
    """Fail the test if it leaves processes or what connects with them behind."""
    before = num_descriptors()
    yield
    assert not active_children()
    limit = time.monotonic() + 10.0
    while num_descriptors() > before and time.monotonic() < limit:  # connections of other tests come and go, too
        gc.collect()
        time.sleep(0.05)
    assert num_descriptors() <= before


@pytest.fixture(scope="module")
def scene_dataset(tmp_path_factory):
    return scenes.pack_scenes(tmp_path_factory.mktemp("workers"))


def num_descriptors():
    """Connections, pipes and memory; tars stay open for whoever reads them next."""
    kinds = ("socket:", "pipe:", "anon_inode:", "/memfd:")
    return sum(target.startswith(kinds) for target in open_files("self"))


def open_files(process):
    for path in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # the folder's own
            yield str(path.readlink())


def in_shm(process):
    """Return what a process maps or holds open of /dev/shm."""
    mapped = (line.partition("/")[2] for line in Path(f"/proc/{process}/maps").read_text().splitlines())
    names = (*(f"/{name}" for name in mapped), *open_files(process))
    return {name for name in names if name.startswith("/dev/shm")}  # noqa: S108


def digest(audio):
    return zlib.crc32(np.ascontiguousarray(audio))


@pytest.mark.parametrize(
    "options", [{"dtype": "float32"}, {"dtype": "int16"}, {"crop": None}, {"crop": None, "dtype": "int16"}]
)
def test_every_value_is_that_of_a_loader_without_workers(make_stream, options):
    one = Loader(make_stream(**LARGE, **options), device="cpu")
    other = Loader(make_stream(**LARGE, **options), device="cpu", workers=2)
    for found, expected in zip(islice(other, 12), islice(one, 12), strict=True):
        assert facts([found]) == facts([expected])
        assert found.audio.dtype == torch.float32
        assert all(torch.equal(*tensors) for tensors in zip(found.tensors(), expected.tensors(), strict=True))
        for name in ("keys", "sources", "metadata", "views", "position", "sample_rate"):
            assert getattr(found, name) == getattr(expected, name)


def test_audio_fields_and_arrays_come_as_they_are(scene_dataset):
    def stream():
        options = {"fields": ["stem", "target", "frames", "mask"], "batch_size": 32, "mask_hop": 160}
        return sk.Stream(sk.open(scene_dataset), crop=sk.RandomCrop(0.5), sample_rate=scenes.RATE, **options)

    for found, expected in zip(islice(Loader(stream(), device="cpu", workers=2), 5), stream(), strict=False):
        assert expected.fields["frames"].nbytes > MIN_SHARED > expected.fields["mask"].nbytes
        for part in ("fields", "masks", "present"):
            assert getattr(found, part).keys() == getattr(expected, part).keys()
            for name, value in getattr(expected, part).items():
                assert np.array_equal(getattr(found, part)[name], value)


def test_batches_that_are_kept_never_change_and_the_memory_of_others_serves_again(make_stream):
    rng = np.random.default_rng(0)
    kept, addresses = [], set()
    for batch in islice(Loader(make_stream(**LARGE), device="cpu", workers=2), 300):
        addresses.add(batch.audio.data_ptr())
        part = batch if rng.random() < 0.2 else batch.audio[rng.integers(16), :, 100:900]
        kept.append((part, digest(getattr(part, "audio", part))))
        while len(kept) > 5 and rng.random() < 0.6:
            kept.pop(rng.integers(len(kept)))
        assert all(digest(getattr(part, "audio", part)) == at_first for part, at_first in kept)
    assert len(addresses) < 80  # each is a place of its own in the memory of its worker


def test_a_consumer_that_drops_its_batches_sees_few_places(make_stream):
    batches = islice(Loader(make_stream(**LARGE), device="cpu", workers=2), 200)
    assert len({batch.audio.data_ptr() for batch in batches}) <= 24


def test_any_number_of_batches_may_be_kept_with_no_more_descriptors(make_stream):
    loader = Loader(make_stream(**LARGE), device="cpu", workers=2)
    batches, kept = iter(loader), []
    kept += islice(batches, 5)
    before = num_descriptors()
    kept += islice(batches, 295)
    assert num_descriptors() <= before
    del batches
    assert not active_children()
    assert facts(kept) == facts(islice(make_stream(**LARGE), 300))  # also after the workers have gone


def test_batches_travel_in_memory_without_a_name(make_stream):
    """So nothing can be left in /dev/shm, and its size is no bound."""
    before = in_shm("self")  # what other tests have left, workers are forked with
    batches = iter(Loader(make_stream(**LARGE), device="cpu", workers=2))
    kept = list(islice(batches, 3))
    for process in (os.getpid(), *(child.pid for child in active_children())):
        assert "/memfd:shardkit" in Path(f"/proc/{process}/maps").read_text()
        assert in_shm(process) <= before
    assert len(kept) == 3


def test_iterations_that_are_broken_off_leave_nothing(make_stream):
    loader = Loader(make_stream(**LARGE), device="cpu", workers=2)
    before, seconds = num_descriptors(), []
    for num_taken in (0, 1, 5):
        for _ in range(2):
            batches = islice(loader, num_taken)
            list(batches)
            began = time.monotonic()
            del batches
            seconds.append(time.monotonic() - began)
            assert not active_children()
            assert num_descriptors() <= before
    assert max(seconds) < _LEAVE_S  # they went when told to, and were not killed


def test_two_loaders_at_once_each_have_their_own(make_stream):
    expected = facts(islice(make_stream(**LARGE), 8))
    first, second = (iter(Loader(make_stream(**LARGE), device="cpu", workers=2)) for _ in range(2))
    both = [(next(first), next(second)) for _ in range(4)]
    del first  # its workers end, though those of the second were forked with copies of its connections
    both_ended = time.monotonic() + 10
    while len(active_children()) > 2 and time.monotonic() < both_ended:
        time.sleep(0.01)
    assert len(active_children()) == 2
    rest = list(islice(second, 4))
    assert facts([one for one, _ in both]) == expected[: 4 * 16]
    assert facts([other for _, other in both] + rest) == expected


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_is_killed_is_named_with_its_signal(make_stream, sign):
    batches = iter(Loader(make_stream(**LARGE), device="cpu", workers=2))
    kept, _ = next(batches), next(batches)  # one of each: before it serves, a forked worker has its parent's handlers
    worker = active_children()[0]
    os.kill(worker.pid, sign)
    with pytest.raises(ShardkitError, match=rf"reading process \d \(pid {worker.pid}\) was killed by {sign.name}"):
        list(islice(batches, 100))
    assert not active_children()
    assert facts([kept]) == facts(islice(make_stream(**LARGE), 1))


def test_an_error_in_a_worker_keeps_its_type_and_says_where_it_was(tmp_path, bursts):
    shutil.copytree(bursts, tmp_path / "copy")
    for tar in (tmp_path / "copy").rglob("*.tar"):
        tar.write_bytes(bytes(tar.stat().st_size))
    stream = sk.Stream(sk.open(tmp_path / "copy"), batch_size=2, rank=0, world_size=1, max_failures=0)
    with pytest.raises(CorruptDataError, match=r"\.tar") as caught:
        next(read_in_processes(stream, 0, num_processes=2))
    (note,) = caught.value.__notes__
    assert note.startswith("raised in reading process 0 ")
    assert "Traceback" in note
    assert not active_children()


class TwoPartError(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def test_an_error_that_can_not_be_pickled_is_told_in_words():
    assert _sendable(TwoPartError(1, 2), "note").__class__ is RuntimeError
    assert str(_sendable(TwoPartError(1, 2), "note")) == "TwoPartError: 1 and 2"
    same = StorageError("gone")
    assert _sendable(same, "note") is same


PROGRAM = """
import multiprocessing, os, resource, signal, sys, time
from itertools import islice

def main():  # imports here, as workers that are spawned import this file
    import xxhash
    import shardkit as sk
    from shardkit.train import Loader
    from tests.train.stream_facts import facts
    multiprocessing.set_start_method({method!r})
    stream = sk.Stream(sk.open({dataset!r}), crop=sk.RandomCrop(0.5), batch_size=16, seed=7, rank=0, world_size=1)
    loader = Loader(stream, device="cpu", workers=2)
    {body}

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    main()
"""
PRINT_FACTS = "print(xxhash.xxh3_64_hexdigest(repr(facts(islice(loader, 12))).encode()))"
PRINT_PIDS_AND_READ = (
    "for _ in loader: print(*[child.pid for child in multiprocessing.active_children()], flush=True); time.sleep(0.02)"
)


def program(bursts, method, body):
    code = textwrap.dedent(PROGRAM).format(method=method, dataset=str(bursts), body=body)
    path = bursts.parent / f"program-{zlib.crc32(code.encode())}.py"  # a file: spawned workers import it
    path.write_text(code)
    return {
        "args": [sys.executable, str(path)],
        "env": os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(sk.__file__).parents[1]), *sys.path])},
        "text": True,
    }


def expected_facts(bursts):
    stream = sk.Stream(sk.open(bursts), crop=sk.RandomCrop(0.5), batch_size=16, seed=7, rank=0, world_size=1)
    return xxhash.xxh3_64_hexdigest(repr(facts(islice(stream, 12))).encode())


@pytest.mark.parametrize("method", METHODS)
def test_processes_may_be_started_in_any_way(bursts, method):
    result = subprocess.run(**program(bursts, method, PRINT_FACTS), capture_output=True, timeout=120, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip() == expected_facts(bursts)


def test_where_address_space_is_short_batches_come_all_the_same(bursts):
    limited = "resource.setrlimit(resource.RLIMIT_AS, (2**37, 2**37)); " + PRINT_FACTS
    result = subprocess.run(**program(bursts, "fork", limited), capture_output=True, timeout=120, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip() == expected_facts(bursts)


@pytest.mark.parametrize(
    ("method", "sign"),
    [
        ("fork", signal.SIGKILL),
        ("fork", signal.SIGTERM),
        ("fork", signal.SIGINT),
        ("spawn", signal.SIGKILL),
        ("spawn", signal.SIGINT),
    ],
)
def test_workers_end_with_a_program_that_is_killed_or_interrupted(bursts, method, sign):
    running = subprocess.Popen(
        **program(bursts, method, PRINT_PIDS_AND_READ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    )
    with running:
        workers = [int(pid) for pid in running.stdout.readline().split()]
        assert len(workers) == 2
        assert all(is_running(pid) for pid in workers)
        if sign == signal.SIGINT:
            os.killpg(running.pid, sign)  # as a terminal does
        else:
            running.send_signal(sign)
        _, errors = running.communicate(timeout=30)
        assert running.returncode == -sign
    limit = time.monotonic() + 10
    while any(is_running(pid) for pid in workers) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not any(is_running(pid) for pid in workers)
    assert errors.count("Traceback") == (1 if sign == signal.SIGINT else 0), errors


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_slow_consumer_does_not_make_workers_read_on(make_stream):
    """Law L10: beside what its stream reads ahead, a worker has two batches ready."""
    batches = iter(Loader(make_stream(**LARGE), device="cpu", workers=2, prefetch=1))
    places = set()
    for batch in islice(batches, 12):
        time.sleep(0.1)
        places.add(batch.audio.data_ptr())
    assert len(places) <= 16
    assert shardkit_threads()
    del batches
