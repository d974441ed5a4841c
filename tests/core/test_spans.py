"""Events that overlap, and the pieces that they are cut into, against the definitions written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.core.cuts import Segments
from shardkit.core.errors import InputError
from shardkit.core.spans import overlapping

EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(1, 30)), max_size=30)


@given(EVENTS)
def test_an_event_overlaps_if_it_shares_a_sample_with_another_of_its_recording(events) -> None:
    recordings, starts, lengths = (
        (np.array(column, dtype=np.int64) for column in zip(*events, strict=True))
        if (events)
        else (np.zeros(0, np.int64),) * 3
    )
    samples = [(recording, set(range(start, start + length))) for recording, start, length in events]
    expected = [
        any(i != j and mine[0] == other[0] and mine[1] & other[1] for j, other in enumerate(samples))
        for i, mine in enumerate(samples)
    ]
    assert overlapping(recordings, starts, starts + lengths).tolist() == expected


def pieces(length: int, size: int) -> list[tuple[int, int]]:
    """What SEEDS says: floor(d / L) full pieces, then what is left over."""
    found = [(i * size, (i + 1) * size) for i in range(length // size)]
    rest = length % size
    if rest and rest >= size / 2:
        found.append((length - rest, length))
    elif rest:
        found.append((max(0, length - size), length))
    return found


@given(st.integers(1, 500), st.floats(0.01, 30), st.sampled_from([8, 10, 11]))
def test_segments_are_those_of_the_definition_and_cover_the_event(length, size_s, rate) -> None:
    segments, size = Segments(size_s), round(size_s * rate)
    if size < 1:
        with pytest.raises(InputError, match="shorter than a sample"):
            segments.num_parts(np.array([length]), np.array([rate]))
        return
    frames, rates = np.array([length]), np.array([rate])
    (count,) = segments.num_parts(frames, rates).tolist()
    parts = np.arange(count)
    starts, stops = segments.bounds(
        parts, num_parts=np.full(count, count), frames=np.repeat(frames, count), sample_rate=np.repeat(rates, count)
    )
    found = list(zip(starts.tolist(), stops.tolist(), strict=True))
    assert found == pieces(length, size)
    assert set().union(*(range(*piece) for piece in found)) == set(range(length))
    assert all(2 * (stop - start) >= min(size, 2 * length) for start, stop in found)


def test_events_of_several_rates_are_cut_each_at_its_own() -> None:
    counts = Segments(1.0).num_parts(np.array([2500, 2500]), np.array([1000, 2000]))
    assert counts.tolist() == [3, 2]


@pytest.mark.parametrize("size", [0, -1, float("nan"), "1"])
def test_a_length_that_is_none_is_refused(size) -> None:
    with pytest.raises(InputError, match="segments_s"):
        Segments(size)
