"""What a lender writes a borrower sees in place, and memory is filled again only when neither can see it."""

import os
import sys
import zlib
from collections import deque

import numpy as np
import pytest

from shardkit.stream.sharedmemory import MAX_FREE, MIN_SHARED, Borrower, Lender

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs memfd_create")

SHAPE = (4, 1, 10_000)  # of float32: 160 kB, in blocks of 256 KiB


class Pair:
    """Both sides, of one memory, in one process; ``used`` tells how much of it exists."""

    def __init__(self):
        self.borrower = Borrower()
        self.file = self.borrower.file
        self.lender = Lender(self.file)

    def send(self, value):
        return self.borrower.loads(*self.lender.dumps(value))

    def settle(self):
        self.lender.take_back(self.borrower.returned())

    def used(self):
        return os.fstat(self.file).st_blocks * 512


@pytest.fixture
def pair():
    made = Pair()
    yield made
    os.close(made.file)


def filled(lender, value, shape=SHAPE, dtype=np.float32):
    array = lender.empty(shape, dtype)
    array[...] = value
    return array


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.float64])
def test_what_is_written_is_seen_without_a_copy(pair, dtype):
    array = filled(pair.lender, 1, dtype=dtype)
    seen = pair.send({"audio": array, "keys": ["a"]})
    assert (seen["keys"], seen["audio"].shape, seen["audio"].dtype) == (["a"], SHAPE, dtype)
    array[1, 0, 5:9] = 7  # what nobody does once it is lent, but it shows where the memory is
    assert np.array_equal(seen["audio"], array)
    seen["audio"][...] = 3
    assert (array == 3).all()


def test_other_arrays_are_moved_there_if_large_and_sent_along_if_small(pair):
    large, small = np.arange(MIN_SHARED, dtype=np.int64), np.arange(5)
    data, loans = pair.lender.dumps([large, small, large[::2], large.reshape(2, -1).T])
    assert len(loans) == 2  # what lies in one piece; of the slice pickle makes a copy
    assert len(data) < large.nbytes
    seen = pair.borrower.loads(data, loans)
    for found, given in zip(seen, [large, small, large[::2], large.reshape(2, -1).T], strict=True):
        assert np.array_equal(found, given)


HOLDERS = {
    "the array": lambda array: array,
    "a view of a view": lambda array: array[1:].T[0],
    "a memoryview": lambda array: memoryview(array)[1:],
    "another type": lambda array: array.view(np.int32),
    "a buffer's view": lambda array: np.frombuffer(array, np.uint8),
    "a tensor": lambda array: pytest.importorskip("torch").from_numpy(array)[2:],
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("side", ["lender", "borrower"])
def test_a_block_comes_again_when_nothing_on_either_side_refers_to_it(pair, holder, side):
    array = filled(pair.lender, 1)
    address = array.ctypes.data
    held = HOLDERS[holder](array if side == "lender" else pair.send(array))
    if side == "lender":
        pair.send(array)
    del array
    pair.settle()
    assert pair.lender.empty(SHAPE, np.float32).ctypes.data != address
    del held
    pair.settle()
    assert address in [other.ctypes.data for other in [pair.lender.empty(SHAPE, np.float32) for _ in range(2)]]


def test_what_is_kept_never_changes_and_what_is_dropped_is_used_again(pair):
    rng = np.random.default_rng(0)
    kept, addresses, on_the_way = [], set(), deque()
    for _ in range(400):
        shape = (int(rng.integers(4, 8)), 1, int(rng.integers(5_000, 40_000)))  # of three sizes of block
        array = filled(pair.lender, 0, shape, np.int16)
        array[...] = rng.integers(-30_000, 30_000, shape)
        addresses.add(array.ctypes.data)
        on_the_way.append(pair.lender.dumps(array))
        del array
        if len(on_the_way) > 2:
            seen = pair.borrower.loads(*on_the_way.popleft())
            kept.append((seen, zlib.crc32(seen)))
            del seen
        while len(kept) > 6:
            kept.pop(rng.integers(len(kept)))
        if rng.random() < 0.5:
            pair.settle()
        assert all(zlib.crc32(array) == at_first for array, at_first in kept)
    assert len(addresses) < 60


def test_arrays_of_one_batch_that_share_a_block_return_it_together(pair):
    array = filled(pair.lender, 5)
    first, second = pair.send([array[:2], array[2:]])
    del array, first
    pair.settle()
    filled(pair.lender, 6)
    assert (second == 5).all()


def test_of_many_blocks_that_were_kept_few_keep_their_memory(pair):
    size = filled(pair.lender, 0).nbytes
    kept = [pair.send(filled(pair.lender, number)) for number in range(3 * MAX_FREE)]
    assert [array[3, 0, -1] for array in kept] == list(range(3 * MAX_FREE))
    assert pair.used() >= 3 * MAX_FREE * size
    kept.clear()
    pair.settle()
    assert pair.used() <= MAX_FREE * 2 * size
    for _ in range(2):  # and those that were given up serve again
        again = [pair.send(filled(pair.lender, number)) for number in range(3 * MAX_FREE)]
        assert [array[3, 0, -1] for array in again] == list(range(3 * MAX_FREE))
        again.clear()
        pair.settle()


def test_when_the_lender_has_gone_only_what_is_seen_takes_memory(pair):
    size = filled(pair.lender, 0).nbytes
    kept = [pair.send(filled(pair.lender, number)) for number in range(10)]
    unseen = [filled(pair.lender, -1) for _ in range(5)]
    del kept[4], unseen
    pair.lender = None
    pair.borrower.close()
    assert [array[3, 0, -1] for array in kept] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert pair.used() <= 9 * (size + 4096)
    del kept[2:]
    assert pair.used() <= 2 * (size + 4096)
    assert [float(array.sum()) for array in kept] == [0.0, 40_000.0]


def test_a_forked_child_that_drops_its_copy_takes_nothing_away(pair):
    kept = pair.send(filled(pair.lender, 5))
    pair.borrower.close()
    child = os.fork()
    if child == 0:
        del kept
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (kept == 5).all()


def test_without_such_memory_arrays_are_sent_along():
    lender, borrower = Lender(None), Borrower()
    os.close(borrower.file)
    array = filled(lender, 4)
    data, loans = lender.dumps(array)
    assert loans == []
    assert np.array_equal(borrower.loads(data, loans), array)
