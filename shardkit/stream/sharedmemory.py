"""Memory that one process fills with arrays and another one sees them in: not copied, and filled again.

    reading process   Lender    empty ─► decode into it ─► dumps ─┐                 ┌─► take_back ─► empty ...
    consumer          Borrower                          loads ◄───┘ ... collected ──┘

As shared memory that is made for each batch, tens of megabytes cost page faults in both processes, the kernel's
clearing of each page, and a copy. Here all blocks of a reading process lie in one file without a name, which either
process maps once, at a size that is never reached: pages exist from when they are first written to, so blocks of any
number and size take one descriptor and one mapping. Their sizes are powers of two, so that few kinds must be told
apart; what is not used of a block takes no memory either.

Whose a block is: the lender's from ``empty`` on while anything refers to the array; then the borrower's too, from
``loads`` on while anything refers to what came of it there, be it views, tensors or buffers; and when neither has a use
for it, the next array's. A forked child of the borrower sees its blocks too, but nobody asks it whether it still does.

The file is ``memfd_create``'s. It has no name that could be left behind, and the size of ``/dev/shm``, in containers
often 64 MB, does not bound it (the limit on the container's memory does). Where there is none (macOS), or
where so much address space is not to be had (``ulimit -v``), arrays are copied along with the rest.
"""

import math
import mmap
import os
import pickle
import weakref
from collections import defaultdict, deque
from collections.abc import Iterable
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

SPACE = 2**40  # bytes of addresses, not of memory
MIN_SHARED = 2**16  # bytes; to copy fewer costs less than to keep account of them
MAX_FREE = 16  # blocks of one size that keep their memory when nobody uses them: more than are free at once, unless
# the consumer had kept batches and dropped them


class Loan(NamedTuple):
    """Bytes that the borrower may see until it says that it no longer does."""

    number: int
    offset: int
    nbytes: int


class Borrower:
    """Sees what a lender in another process has put into memory. Arrays may be collected in any thread.

    Attributes:
        file: Descriptor of the memory, for the lender; the caller closes it. None: there is no such memory here.
    """

    def __init__(self) -> None:
        self.file, self._memory = _new_memory()
        self._process = os.getpid()
        self._held: dict[int, Loan] = {}
        self._returned: deque[int] = deque()
        self._closed = False

    def loads(self, data: bytes, loans: Iterable[Loan]) -> Any:
        """Return the value that a lender's ``dumps`` was given; its large arrays view the memory."""
        return pickle.loads(data, buffers=[self._view(loan) for loan in loans])  # noqa: S301  our own process wrote it

    def returned(self) -> list[int]:
        """Return the numbers of the loans that have ended since the last call, for ``Lender.take_back``."""
        return [self._returned.popleft() for _ in range(len(self._returned))]

    def close(self) -> None:
        """Give the memory back that nobody sees, now that the lender has gone; the rest follows when it is dropped."""
        self._closed = True
        self._give_up_rest()

    def _view(self, loan: Loan) -> NDArray[np.uint8]:
        # All views of an array refer to the one that owns the memory, or like this one refers to what is no array.
        array = _block(self._memory, loan.offset, loan.nbytes)
        self._held[loan.number] = loan
        weakref.finalize(array, self._end, loan.number).atexit = False
        return array

    def _end(self, number: int) -> None:
        if os.getpid() != self._process:  # a forked child dropped its copy
            return
        del self._held[number]
        self._returned.append(number)
        if self._closed:
            self._give_up_rest()

    def _give_up_rest(self) -> None:
        if self._memory is None:
            return
        start = 0
        for loan in sorted(self._held.values(), key=lambda loan: loan.offset):
            _give_up(self._memory, start, loan.offset)
            start = max(start, loan.offset + loan.nbytes)
        _give_up(self._memory, start, SPACE)


class Lender:
    """Hands out arrays in memory that a borrower sees. For one thread, but arrays may be collected in any.

    Args:
        file: Descriptor of the borrower's memory; the caller closes it. None: there is none, and arrays are this
            process's own.
    """

    def __init__(self, file: int | None) -> None:
        self._memory = None if file is None else _mapped(file)
        self._address = 0 if self._memory is None else _address(_block(self._memory, 0, 1))
        self._end = 0
        self._free: defaultdict[int, deque[int]] = defaultdict(deque)  # offsets by size of block
        self._unbacked: defaultdict[int, deque[int]] = defaultdict(deque)  # the same, those that hold no memory
        self._numbers = count()
        self._lent: dict[int, pickle.PickleBuffer] = {}

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array whose content is whatever it is, as ``numpy.empty``."""
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        block = self._new_block(nbytes) if nbytes >= MIN_SHARED else None
        return np.empty(shape, dtype) if block is None else block.view(dtype).reshape(shape)

    def dumps(self, value: Any) -> tuple[bytes, list[Loan]]:
        """Return a value in a form in which it can be sent; its large arrays are lent, and may not change any more."""
        loans: list[Loan] = []

        def goes_along(buffer: pickle.PickleBuffer) -> bool:
            loan = self._lend(buffer)
            if loan is not None:
                loans.append(loan)
            return loan is None

        return pickle.dumps(value, protocol=5, buffer_callback=goes_along), loans

    def take_back(self, numbers: Iterable[int]) -> None:
        """End loans."""
        for number in numbers:
            del self._lent[number]

    def _lend(self, buffer: pickle.PickleBuffer) -> Loan | None:
        """Lend what a buffer holds, moved into the memory if need be; None: that is not worth it, or can't be."""
        content = np.frombuffer(buffer.raw(), np.uint8) if buffer.raw().nbytes >= MIN_SHARED else None
        if self._memory is None or content is None:
            return None
        if not 0 <= _address(content) - self._address < SPACE:
            block = self._new_block(content.nbytes)
            if block is None:
                return None
            block[:] = content
            content, buffer = block, pickle.PickleBuffer(block.data)
        loan = Loan(next(self._numbers), _address(content) - self._address, content.nbytes)
        self._lent[loan.number] = buffer  # which refers to the array
        return loan

    def _new_block(self, nbytes: int) -> NDArray[np.uint8] | None:
        size = 1 << (nbytes - 1).bit_length()
        free = self._free[size] or self._unbacked[size]
        if free:
            offset = free.pop()
        elif self._memory is None or self._end + size > SPACE:
            return None
        else:
            offset, self._end = self._end, self._end + size
        block = _block(self._memory, offset, nbytes)
        weakref.finalize(block, self._put_back, offset, size).atexit = False
        return block

    def _put_back(self, offset: int, size: int) -> None:
        """Take note that nothing refers to a block any more."""
        if len(self._free[size]) < MAX_FREE or self._memory is None:
            self._free[size].append(offset)
        else:
            _give_up(self._memory, offset, offset + size)
            self._unbacked[size].append(offset)


def _new_memory() -> tuple[int | None, mmap.mmap | None]:
    """Return a descriptor of memory and its mapping; nothing where there is no such memory."""
    if not (hasattr(os, "memfd_create") and hasattr(mmap, "MADV_REMOVE")):
        return None, None
    try:
        file = os.memfd_create("shardkit")
    except OSError:  # not in this sandbox
        return None, None
    try:
        os.ftruncate(file, SPACE)
    except OSError:  # ulimit -f
        memory = None
    else:
        memory = _mapped(file)
    if memory is None:
        os.close(file)
        return None, None
    return file, memory


def _mapped(file: int) -> mmap.mmap | None:
    try:
        return mmap.mmap(file, SPACE)
    except (OSError, OverflowError):  # ulimit -v; a machine of 32 bits
        return None


def _block(memory: Any, offset: int, nbytes: int) -> NDArray[np.uint8]:
    return np.frombuffer(memory, np.uint8, nbytes, offset)


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _give_up(memory: mmap.mmap, start: int, stop: int) -> None:
    """Return the pages that lie within a part of the memory to the system, whoever maps them."""
    start, stop = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, stop // mmap.PAGESIZE * mmap.PAGESIZE
    if start < stop:
        memory.madvise(mmap.MADV_REMOVE, start, stop - start)
