"""Different values: numpy.unique is the oracle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.core.distinct import distinct

TYPES = [np.int64, np.int32, np.int16, np.uint8, np.uint16]


@given(st.data(), st.sampled_from(TYPES))
def test_distinct_values_are_those_of_numpy(data: st.DataObject, dtype: type[np.integer]) -> None:
    bounds = np.iinfo(dtype)
    near = st.integers(int(bounds.max) - 3, int(bounds.max))
    values = data.draw(st.lists(st.one_of(st.integers(int(bounds.min), int(bounds.max)), near)))
    found = distinct(np.array(values, dtype=dtype))
    assert found == np.unique(np.array(values, dtype=dtype)).tolist()
    assert all(type(value) is int for value in found)


@pytest.mark.parametrize("span", [1, 2**16 - 1, 2**16, 2**40])
def test_near_and_far_values(span: int) -> None:
    assert distinct(np.array([7 + span, 7, 7 + span])) == [7, 7 + span]
