"""Laws of values that take turns."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.core.order import MixedOrder
from shardkit.core.stages import SourceRows, Stage
from shardkit.core.turns import TurnSpace

KEYS = st.integers(0, 2**64 - 1)


@st.composite
def spaces(draw):
    num_recordings = draw(st.integers(1, 12))
    of_value = draw(
        st.lists(st.lists(st.integers(0, num_recordings - 1), min_size=1, unique=True), min_size=1, max_size=9)
    )
    num_parts = draw(st.none() | st.lists(st.integers(1, 4), min_size=num_recordings, max_size=num_recordings))
    members = np.array([row for rows in of_value for row in rows])
    ends = np.cumsum([len(rows) for rows in of_value])
    space = TurnSpace(members, ends, None if num_parts is None else np.array(num_parts))
    parts = num_parts or [1] * num_recordings
    items = [[(row, part) for row in rows for part in range(parts[row])] for rows in of_value]
    return space, items


@settings(max_examples=60)
@given(spaces(), KEYS)
def test_each_pass_has_each_value_once_and_each_round_of_a_value_each_of_its_items_once(made, key):
    space, items = made
    assert space.num_rows == len(items)
    passes = 2 * max(len(of_value) for of_value in items)
    rows, numbers = np.meshgrid(np.arange(space.num_rows), np.arange(passes))
    recordings, parts = space.locate(rows.ravel(), passes=numbers.ravel(), key=key)
    drawn = list(zip(recordings.tolist(), parts.tolist(), strict=True))
    columns = [drawn[row :: space.num_rows] for row in range(space.num_rows)]  # what one row is, pass by pass
    left = list(items)
    for column in columns:
        (found,) = [  # some value's items, in whole rounds; equal ones may stand for each other
            number
            for number, of_value in enumerate(left)
            if all(
                sorted(column[start : start + len(of_value)]) == sorted(of_value)
                for start in range(0, passes - len(of_value) + 1, len(of_value))
            )
        ][:1]
        left.pop(found)
    assert not left


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 700), st.integers(1, 9), st.integers(1, 9), st.integers(0, 300))
def test_all_values_come_in_as_many_batches_as_they_need_wherever_one_begins(num_values, count, others, first):
    """The seed's sampler had 216 places for over 400 labels in an epoch, and nobody was told."""
    sources = [
        SourceRows(name="turns", num_rows=num_values, steady=True),
        SourceRows(name="rest", num_rows=50),
    ]
    batch = count + others
    order = MixedOrder(sources, seed=7, stages=[Stage(0, (count, others))], batch=batch)
    num_batches = -(-num_values // count)
    drawn = order.draws(np.arange(first * batch, (first + num_batches) * batch))
    found = Counter(drawn.rows[drawn.sources == 0].tolist())
    assert sorted(found) == list(range(num_values))
