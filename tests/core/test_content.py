"""Crops that know intervals: what they hold is counted sample by sample here, and computed from bounds there."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from shardkit.core.content import Content, Runs, content
from shardkit.core.crops import RandomCrop, Recording
from shardkit.core.errors import AudioError, InputError
from shardkit.core.events import EventCrop
from shardkit.core.loudness import num_hops, to_energy
from shardkit.core.random import uniform
from shardkit.core.salient import SalientCrop

CHANCES = st.floats(0.0, 1.0, exclude_max=True)
RATIOS = st.sampled_from([0.1, 0.25, 0.5, 2 / 3, 0.9, 1.0]) | st.floats(0.01, 1.0)
RATE = 1_000
ENERGY = float(to_energy(-20.0))


@st.composite
def labelled(draw, max_frames=200, max_events=5):
    """Return a recording with events that may touch, overlap or be missing, and perhaps a section of it."""
    frames = draw(st.integers(2, max_frames))
    bounds = st.lists(st.integers(0, frames), min_size=2, max_size=2, unique=True).map(sorted)
    events = np.array(draw(st.lists(bounds, max_size=max_events)), np.int64).reshape(-1, 2)
    section = draw(st.none() | bounds.map(tuple))
    energies = np.full(num_hops(frames, RATE), ENERGY)
    return Recording(frames, RATE, events=events, section=section, energies=energies)


def covered(recording):
    """Return which samples lie in an event."""
    inside = np.zeros(recording.frames, bool)
    for start, stop in recording.events.tolist():
        inside[start:stop] = True
    return inside


def allowed(recording, length, wanted):
    """Return, one by one, the starts of all crops that hold what is wanted: our oracle."""
    first, last = recording.bounds
    inside = covered(recording)
    starts = []
    for start in range(first, last - length + 1):
        if wanted.part == "crop":
            enough = inside[start : start + length].sum() >= wanted.ratio * length - 1e-9
        else:
            enough = any(
                held(start, start + length, event) >= min(wanted.ratio * (event[1] - event[0]) - 1e-9, length)
                for event in recording.events.tolist()
            )
        if enough:
            starts.append(start)
    return starts


def held(start, stop, event):
    return max(0, min(stop, event[1]) - max(start, event[0]))


@settings(max_examples=400)
@given(labelled(), st.integers(1, 120), RATIOS, st.sampled_from(["crop", "event"]))
def test_starts_are_exactly_those_of_crops_that_hold_enough(recording, length, ratio, part):
    first, last = recording.bounds
    length = min(length, last - first)
    wanted = content(ratio=ratio, part=part)
    found = wanted.starts(recording.events, first, last - length, length)
    listed = [start for run in range(len(found)) for start in range(found.firsts[run], sum_of(found, run))]
    assert listed == allowed(recording, length, wanted)
    assert (found.counts > 0).all()
    assert (found.firsts[1:] > (found.firsts + found.counts)[:-1]).all()  # apart
    everywhere = np.arange(recording.frames)
    assert np.flatnonzero(found.holds(everywhere)).tolist() == listed


def sum_of(runs, run):
    return int(runs.firsts[run] + runs.counts[run])


@settings(max_examples=200)
@given(labelled(), st.integers(1, 120))
def test_the_most_is_what_no_other_crop_exceeds(recording, length):
    first, last = recording.bounds
    length = min(length, last - first)
    inside = covered(recording)
    counts = {start: inside[start : start + length].sum() for start in range(first, last - length + 1)}
    found = content().most(recording.events, first, last - length, length)
    assert np.flatnonzero(found.holds(np.arange(recording.frames))).tolist() == [
        start for start, count in counts.items() if count == max(counts.values())
    ]


@given(labelled(), st.floats(0.005, 0.25), RATIOS, CHANCES, st.sampled_from(["crop", "event"]))
def test_a_crop_with_content_holds_it_where_it_can(recording, duration_s, ratio, chance, part):
    wanted = content(ratio=ratio, part=part)
    first, last = recording.bounds
    length = min(round(duration_s * RATE), last - first)
    possible = allowed(recording, length, wanted)
    for make in (RandomCrop, SalientCrop):
        placed = make(duration_s, content=wanted, fallback="skip").place(recording, chance)
        if not possible:
            assert placed is None
            with pytest.raises(AudioError, match="fallback="):
                make(duration_s, content=wanted, fallback="raise").place(recording, chance)
            start, stop = make(duration_s, content=wanted).place(recording, chance)
            most = content().most(recording.events, first, last - length, length)
            assert most.holds(np.array([start])).all()
        else:
            start, stop = placed
            assert start in possible
        assert stop - start == length


def test_a_salient_crop_with_content_is_loud_and_labelled():
    levels = np.array([-20.0] * 20 + [-60.0] * 20 + [-20.0] * 20)  # 100 ms each
    recording = Recording(6_000, RATE, energies=to_energy(levels), events=np.array([[3_000, 5_000]]))
    crop = SalientCrop(0.5, content=content(ratio=0.5))
    starts = {crop.place(recording, chance)[0] for chance in uniform(0, np.arange(500), "crop")}
    loud = {start for start in range(0, 5_501, 100) if start >= 3_600}  # touches what is loud by a block of 400 ms
    half = {start for start in range(0, 5_501, 100) if 2_750 <= start <= 4_750}
    assert starts <= half
    assert starts & loud
    assert min(starts) >= 3_500


def test_each_start_in_several_runs_is_as_likely():
    runs = Runs(np.array([10, 50]), np.array([3, 7]))
    picked = [runs.pick(chance) for chance in uniform(0, np.arange(20_000), "crop")]
    visited, counts = np.unique(picked, return_counts=True)
    assert visited.tolist() == [10, 11, 12, *range(50, 57)]
    assert stats.chisquare(counts).pvalue > 1e-3


# Events


@settings(max_examples=300)
@given(labelled(), st.floats(0.005, 0.25), CHANCES, st.sampled_from(["inside", "center"]))
def test_a_crop_at_an_event_is_inside_or_around_it(recording, duration_s, chance, at):
    events = recording.events_inside.tolist()
    assume(events)
    first, last = recording.bounds
    start, stop = EventCrop(duration_s, at=at).place(recording, chance)
    assert first <= start < stop <= last
    assert stop - start == min(round(duration_s * RATE), last - first)
    event = events[min(int(chance * len(events)), len(events) - 1)]
    inside, around = event[0] <= start and stop <= event[1], start <= event[0] and event[1] <= stop
    assert inside or around
    if at == "center" and first < start and stop < last:
        assert abs((start + stop) - (event[0] + event[1])) <= 1


def test_a_crop_inside_an_event_may_begin_anywhere_in_it():
    recording = Recording(100, RATE, events=np.array([[20, 35]]))
    starts = [EventCrop(0.01).place(recording, chance)[0] for chance in uniform(0, np.arange(10_000), "crop")]
    visited, counts = np.unique(starts, return_counts=True)
    assert visited.tolist() == list(range(20, 26))
    assert stats.chisquare(counts).pvalue > 1e-3


def test_events_are_equally_likely():
    recording = Recording(1_000, RATE, events=np.array([[0, 10], [500, 900], [950, 960]]))
    crop = EventCrop(0.01, at="center")
    starts = np.array([crop.place(recording, chance)[0] for chance in uniform(0, np.arange(9_000), "crop")])
    visited, counts = np.unique(starts, return_counts=True)
    assert visited.tolist() == [0, 695, 950]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_exactly_the_event():
    recording = Recording(1_000, RATE, events=np.array([[100, 250]]))
    assert EventCrop(at="exact").place(recording, 0.7) == (100, 250)
    assert EventCrop(0.1, at="exact").place(recording, 0.7) == (100, 200)
    assert EventCrop(0.5, at="exact").place(recording, 0.7) == (100, 250)
    cut = Recording(1_000, RATE, events=np.array([[100, 250]]), section=(200, 300))
    assert EventCrop(at="exact").place(cut, 0.7) == (200, 250)


def test_without_an_event():
    recording = Recording(1_000, RATE)
    assert EventCrop(0.1, fallback="skip").place(recording, 0.5) is None
    with pytest.raises(AudioError, match="no interval of 'bark'"):
        EventCrop(0.1, of="bark", fallback="raise").place(recording, 0.5)
    start, stop = EventCrop(0.1).place(recording, 0.5)
    assert 0 <= start < stop <= 1_000
    assert stop - start == 100
    assert EventCrop(at="exact").place(recording, 0.5) == (0, 1_000)


# Options


def test_one_name_and_a_list_of_it_are_the_same():
    assert content(of="speech") == content(of=["speech"]) == Content(of=("speech",), ratio=0.5, part="crop")
    assert EventCrop(1.0, of="bark") == EventCrop(1.0, of=("bark",))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: content(ratio=0), "ratio 0 is not a share"),
        (lambda: content(ratio=1.5), "ratio 1.5 is not a share"),
        (lambda: content(ratio="half"), "not a share"),
        (lambda: content(of=3), "of is 3; give the name of an interval"),
        (lambda: content(part="window"), "choose crop or event"),
        (lambda: RandomCrop(1.0, content="speech"), r"shardkit\.content\(of="),
        (lambda: SalientCrop(1.0, content={"of": "speech"}), r"shardkit\.content\(of="),
        (lambda: RandomCrop(1.0, fallback="drop"), "choose keep, skip or raise"),
        (EventCrop, "needs a duration_s"),
        (lambda: EventCrop(1.0, at="start"), "choose inside, center or exact"),
        (lambda: EventCrop(-1.0), "not a positive number"),
    ],
)
def test_options_are_checked_when_made(make, message):
    with pytest.raises(InputError, match=message):
        make()
