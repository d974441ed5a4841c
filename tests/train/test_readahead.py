"""A bounded read-ahead thread, without streams."""

import gc
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.train.readahead import ReadAhead


class Source:
    """Counts what was made of it, and whether it was closed."""

    def __init__(self, num_items, error=None):
        self.num_items, self.error = num_items, error
        self.num_made, self.closed = 0, False

    def __call__(self):
        try:
            for item in range(self.num_items):
                self.num_made += 1
                yield item
            if self.error is not None:
                raise self.error
        finally:
            self.closed = True


def reading_threads():
    return [thread for thread in threading.enumerate() if thread.name == "reading"]


def read(source, ahead=2):
    return ReadAhead(source, ahead=ahead, name="reading")


@given(num_items=st.integers(0, 20), ahead=st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_items_come_in_order_and_the_thread_ends_with_them(num_items, ahead):
    source = Source(num_items)
    assert list(read(source, ahead)) == list(range(num_items))
    assert source.closed
    assert not reading_threads() or not _alive_after(1.0)


def test_no_more_items_are_begun_than_were_taken_and_may_lie_ready():
    source = Source(100)
    items = read(source, ahead=3)
    for taken in range(1, 6):
        next(items)
        time.sleep(0.02)
        assert source.num_made <= taken + 3
    items.close()


def test_nothing_is_begun_before_the_first_item_is_asked_for():
    source = Source(3)
    items = read(source)
    items.close()
    assert source.num_made == 0
    assert list(items) == []


def test_an_exception_comes_after_the_items_before_it_and_once():
    items = read(Source(3, error=KeyError("lost")))
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="lost"):
        next(items)
    assert list(items) == []


def test_closing_ends_the_thread_and_closes_the_source_though_items_lie_ready():
    source = Source(100)
    items = read(source)
    next(items)
    items.close()
    items.close()
    assert source.closed
    assert not reading_threads()
    assert list(items) == []


def test_the_collector_may_close_it_from_within_its_own_thread():
    def items():
        yield 0
        reader.close()
        gc.collect()
        yield 1

    reader = read(items, ahead=1)  # so that the second item is begun once the first was taken
    assert list(reader) == [0]
    assert not _alive_after(1.0)


def test_closing_in_a_thread_that_the_reading_waits_for_does_not_wait_in_turn():
    def items():
        yield 0
        closing = threading.Thread(target=reader.close)
        closing.start()
        closing.join()
        yield 1

    reader = read(items, ahead=1)
    assert list(reader) == [0]
    assert not _alive_after(1.0)


def _alive_after(limit_s):
    for thread in reading_threads():
        thread.join(limit_s)
    return reading_threads()
