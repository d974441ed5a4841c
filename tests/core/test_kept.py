"""Windows by content: those that are kept are those of which an array of marks says so, sample by sample."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardkit.core.content import content
from shardkit.core.cuts import Windows
from shardkit.core.kept import KeptParts, kept_windows


@dataclass
class Recordings:
    frames: list[int]
    rates: list[int]
    events: list[list[tuple[int, int]]]


@st.composite
def recordings(draw):
    frames = draw(st.lists(st.integers(1, 60), min_size=1, max_size=6))
    rates = draw(st.lists(st.sampled_from([10, 20]), min_size=len(frames), max_size=len(frames)))
    events = []
    for length in frames:
        bounds = st.tuples(st.integers(0, length - 1), st.integers(1, 30)).map(lambda pair: (pair[0], sum(pair)))
        events.append(draw(st.lists(bounds, max_size=4)))
    return Recordings(frames, rates, events)


def kept_of(found: Recordings, windows: Windows, wanted) -> KeptParts:
    pairs = [(number, event) for number, events in enumerate(found.events) for event in events]
    return kept_windows(
        windows,
        wanted,
        frames=np.array(found.frames),
        sample_rate=np.array(found.rates),
        events=np.array([event for _, event in pairs], dtype=np.int64).reshape(-1, 2),
        recordings=np.array([number for number, _ in pairs], dtype=np.int64),
    )


def holds(start, size, frames, events, ratio, part):
    marks = np.zeros(frames + size, bool)
    for first, last in events:
        marks[first : min(last, frames)] = True
    if part == "crop":
        return marks[start : start + size].sum() * 100 >= ratio * size and marks[start : start + size].any()
    shares = [
        (min(last, frames, start + size) - max(first, start), min(last, frames) - first) for first, last in events
    ]
    return any(inside > 0 and (inside * 100 >= ratio * length or inside == size) for inside, length in shares)


@given(
    recordings(),
    st.integers(1, 20),
    st.integers(1, 20),
    st.booleans(),
    st.sampled_from([1, 10, 25, 50, 75, 80, 100]),
    st.sampled_from(["crop", "event"]),
)
def test_the_windows_that_are_kept_are_those_that_hold_enough(found, size, hop, partial, percent, part):
    windows = Windows(size / 10, hop / 10, partial=partial)
    kept = kept_of(found, windows, content(ratio=percent / 100, part=part))
    all_parts = windows.num_parts(np.array(found.frames), np.array(found.rates))
    for number, (frames, rate, events) in enumerate(zip(found.frames, found.rates, found.events, strict=True)):
        times = rate // 10
        expected = [
            k for k in range(all_parts[number]) if holds(k * hop * times, size * times, frames, events, percent, part)
        ]
        count = kept.num_parts[number]
        places = np.arange(count)
        assert kept.parts(np.full(count, number), places).tolist() == expected


@given(recordings(), st.data())
def test_some_of_the_recordings_keep_theirs(found, data):
    kept = kept_of(found, Windows(0.5, 0.1), content(ratio=0.5))
    index = np.array(data.draw(st.lists(st.sampled_from(range(len(found.frames))))), dtype=np.int64)
    taken = kept.take(index)
    assert taken.num_parts.tolist() == kept.num_parts[index].tolist()
    for place, number in enumerate(index.tolist()):
        places = np.arange(taken.num_parts[place])
        mine = taken.parts(np.full(len(places), place), places)
        assert mine.tolist() == kept.parts(np.full(len(places), number), places).tolist()


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_ratio_is_met_by_exactly_its_share(rate):
    windows, size = Windows(1.0, 0.1), rate
    need = size * 8 // 10  # 0.8 is no binary number
    enough = Recordings([size], [rate], [[(0, need)]])
    short = Recordings([size], [rate], [[(0, need - 1)]])
    assert kept_of(enough, windows, content(ratio=0.8)).num_parts.tolist() == [1]
    assert kept_of(short, windows, content(ratio=0.8)).num_parts.tolist() == [0]
