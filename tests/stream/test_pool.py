"""Arrays are filled again only when nobody can see it."""

import ctypes
import pickle
import zlib
from itertools import islice

import numpy as np
import pytest

import shardkit as sk
from shardkit.stream.pool import ArrayPool

SHAPE = (4, 3)


def test_an_array_that_nobody_holds_is_used_again():
    pool = ArrayPool()
    address = pool.empty(SHAPE, np.float32).ctypes.data
    assert pool.empty(SHAPE, np.float32).ctypes.data == address


HOLDERS = {
    "the array": lambda array: array,
    "a view": lambda array: array[1:, ::2],
    "a view of a view": lambda array: array[1:].T[0],
    "a memoryview": memoryview,
    "a slice of a memoryview": lambda array: memoryview(array)[1:],
    "another type": lambda array: array.view(np.int32),
    "a list": lambda array: [array],
    "NumPy's view of a buffer": lambda array: np.frombuffer(array, np.uint8),
    "ctypes": lambda array: (ctypes.c_char * array.nbytes).from_buffer(array),
    "an iterator": iter,
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_an_array_that_is_held_in_any_way_is_not(holder):
    pool = ArrayPool()
    array = pool.empty(SHAPE, np.float32)
    address = array.ctypes.data
    held = HOLDERS[holder](array)
    del array
    assert pool.empty(SHAPE, np.float32).ctypes.data != address
    del held
    assert address in [pool.empty(SHAPE, np.float32).ctypes.data for _ in range(2)]


def test_nor_one_that_a_tensor_was_made_of():
    torch = pytest.importorskip("torch")
    pool = ArrayPool()
    tensor = torch.from_numpy(pool.empty(SHAPE, np.float32))[1:]
    assert pool.empty(SHAPE, np.float32).ctypes.data != tensor.data_ptr() - 12
    shared = torch.utils.dlpack.from_dlpack(pool.empty(SHAPE, np.float32))
    assert pool.empty(SHAPE, np.float32).ctypes.data != shared.data_ptr()


def test_arrays_of_many_shapes_and_types_share_no_memory_while_they_are_held():
    pool = ArrayPool()
    held = [pool.empty(shape, dtype) for shape in (SHAPE, (3, 4), (5,), (0, 2)) for dtype in (np.float32, np.int16)]
    for number, array in enumerate(held):
        array[...] = number
    for number, array in enumerate(held):
        assert (array == number).all()
        assert array.flags.writeable
        assert array.flags.c_contiguous


def test_a_block_serves_for_less_but_not_for_much_less():
    pool = ArrayPool()
    address = pool.empty((100,), np.float32).ctypes.data
    assert pool.empty((60,), np.float32).ctypes.data == address
    kept = pool.empty((20,), np.float32)
    assert kept.base is not None
    assert kept.base.nbytes == kept.nbytes


def test_blocks_of_sizes_that_nobody_asks_for_again_do_not_add_up():
    pool = ArrayPool()
    held = [pool.empty((1000,), np.float32)]
    for size in range(1, 10_000, 7):
        pool.empty((size,), np.float32)
    assert len(pool._handed_out) == 2
    assert sum(block.nbytes for block in pool._handed_out) <= held[0].nbytes + 2 * 40_000


def test_a_pickled_pool_is_empty():
    pool = ArrayPool()
    pool.empty((1000, 1000), np.float32)
    assert len(pickle.dumps(pool)) < 200
    assert pickle.loads(pickle.dumps(pool)).empty(SHAPE, np.float32).shape == SHAPE  # noqa: S301


def test_batches_that_are_kept_never_change(datasets):
    """Whatever of them is kept, and for however long."""
    rng = np.random.default_rng(0)
    stream = sk.Stream(sk.open(datasets["clips"]), crop=sk.RandomCrop(0.2), batch_size=4)
    kept = []
    for batch in islice(stream, 120):
        part = batch if rng.random() < 0.2 else batch.audio[rng.integers(4), :, 100:900]
        kept.append((part, digest(part)))
        while len(kept) > 5 and rng.random() < 0.6:
            kept.pop(rng.integers(len(kept)))
        assert all(digest(part) == at_first for part, at_first in kept)


def digest(part):
    audio = part.audio if isinstance(part, sk.Batch) else part
    return zlib.crc32(np.ascontiguousarray(audio).tobytes())
