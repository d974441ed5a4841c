"""Laws of crops: always a slice of the recording, and a salient one is as loud as was asked for."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from shardkit.core.crops import CenterCrop, RandomCrop, Recording
from shardkit.core.errors import AudioError, FormatError, InputError
from shardkit.core.loudness import dequantise, hop_bounds, integrated_lufs, num_hops, to_energy
from shardkit.core.random import uniform
from shardkit.core.salient import SalientCrop, window_lufs

RATES = st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000])
CHANCES = st.floats(0.0, 1.0, exclude_max=True)
DURATIONS = st.floats(0.02, 3.0) | st.sampled_from([0.1, 0.25, 0.4, 1.0, 2.0])
SEARCHES = st.sampled_from(["uniform", "bias_early", "early", "loudest", "energy"])
CROPS = st.one_of(
    st.builds(RandomCrop, DURATIONS),
    st.builds(CenterCrop, DURATIONS),
    st.builds(SalientCrop, DURATIONS, search=SEARCHES),
)
RATE = 8_000


@st.composite
def recordings(draw, max_hops=60):
    """Return a recording with a loudness track of runs of loud and quiet hops."""
    rate = draw(RATES)
    frames = draw(st.integers(1, max_hops * rate // 10))
    runs = draw(st.lists(st.tuples(st.integers(0, 255), st.integers(1, 12)), min_size=1, max_size=10))
    codes = np.repeat([code for code, _ in runs], [length for _, length in runs]).astype(np.uint8)
    return Recording(frames, rate, energies=dequantise(np.resize(codes, num_hops(frames, rate))))


def track(*levels):
    """Return a recording at 8 kHz whose hops have these levels."""
    energies = to_energy(np.array(levels, dtype=float))
    return Recording(len(levels) * RATE // 10, RATE, energies=energies)


def windows_of(recording, duration_s):
    """Return the start and loudness of each window on the grid, one by one: our oracle."""
    length, hops = round(duration_s * recording.sample_rate), max(1, round(duration_s / 0.1))
    energies = recording.energies
    if recording.frames <= length:
        return [(0, integrated_lufs(energies))]
    starts = hop_bounds(len(energies), recording.sample_rate).tolist()
    return [
        (start, integrated_lufs(energies[i : i + hops]))
        for i, start in enumerate(starts)
        if start + length <= recording.frames
    ]


@given(CROPS, recordings(), CHANCES)
def test_a_crop_is_a_slice_of_the_recording_of_the_right_length(crop, recording, chance):
    start, stop = crop.place(recording, chance)
    assert 0 <= start <= stop <= recording.frames
    assert stop - start == min(recording.frames, round(crop.duration_s * recording.sample_rate))
    assert (start, stop) == crop.place(recording, chance)


@given(CROPS, st.integers(1, 100))
def test_a_recording_no_longer_than_the_crop_is_taken_whole(crop, short_by):
    frames = max(1, round(crop.duration_s * 48_000) - short_by + 1)
    energies = np.zeros(num_hops(frames, 48_000))
    assert crop.place(Recording(frames, 48_000, energies=energies), 0.9) == (0, frames)


def test_a_random_crop_starts_at_any_sample_equally_often():
    chances = uniform(0, np.arange(30_000), "crop")
    crop = RandomCrop(0.01)
    starts = [crop.place(Recording(109, 10_000), chance)[0] for chance in chances]
    counts = np.bincount(starts)
    assert len(counts) == 109 - 100 + 1
    assert stats.chisquare(counts).pvalue > 1e-3


def test_a_center_crop_leaves_as_much_before_as_after():
    assert CenterCrop(1.0).place(Recording(11, 5)) == (3, 8)


def test_policies_without_loudness_say_so():
    assert [policy.needs_loudness for policy in (RandomCrop(1), CenterCrop(1), SalientCrop(1))] == [False, False, True]


# Salient crops


@settings(max_examples=200)
@given(recordings(), st.integers(1, 40))
def test_levels_of_all_windows_equal_those_of_each(recording, hops):
    energies = recording.energies
    assume(hops <= len(energies))
    together = window_lufs(energies, window_hops=hops)
    alone = [integrated_lufs(energies[i : i + hops]) for i in range(len(energies) - hops + 1)]
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-9)


@settings(max_examples=200)
@given(recordings(), DURATIONS, st.sampled_from([-60.0, -40.0, -20.0, 0.0]), SEARCHES, CHANCES)
def test_the_chosen_window_reaches_the_floor_or_is_the_loudest(recording, duration_s, floor, search, chance):
    start, _ = SalientCrop(duration_s, floor_lufs=floor, search=search).place(recording, chance)
    levels = dict(windows_of(recording, duration_s))
    assert levels[start] >= min(floor, max(levels.values())) - 1e-5


@settings(max_examples=200)
@given(recordings(), DURATIONS, st.sampled_from([-60.0, -40.0, -20.0]))
def test_candidates_are_the_windows_that_reach_the_floor(recording, duration_s, floor):
    windows = windows_of(recording, duration_s)
    loudest = max(level for _, level in windows)
    passing = [start for start, level in windows if level >= floor - 1e-6]
    if not passing:
        passing = [start for start, level in windows if level >= loudest - 1e-6][:1]
    crop = SalientCrop(duration_s, floor_lufs=floor)
    found = crop.candidates(recording)
    assert found.starts.tolist() == passing
    assert found.cumulative.tolist() == list(range(1, len(passing) + 1))

    early = SalientCrop(duration_s, floor_lufs=floor, search="early").candidates(recording)
    assert early.starts.tolist() == [start for start in passing if start < passing[0] + found.length]

    weighted = SalientCrop(duration_s, floor_lufs=floor, search="energy").candidates(recording)
    levels = np.array([level for start, level in windows if start in set(passing)])
    if loudest >= floor:
        np.testing.assert_allclose(weighted.cumulative, np.cumsum(to_energy(levels)), rtol=1e-6)


def test_each_passing_window_is_as_likely():
    recording = track(*[-70.0] * 10, *[-20.0] * 4, *[-70.0] * 10)
    found = SalientCrop(0.4, floor_lufs=-25.0).candidates(recording)
    starts = [found.pick(chance)[0] for chance in uniform(1, np.arange(20_000), "crop")]
    visited, counts = np.unique(starts, return_counts=True)
    assert visited.tolist() == [hop * RATE // 10 for hop in (8, 9, 10, 11, 12)]
    assert stats.chisquare(counts).pvalue > 1e-3


def test_a_bias_to_early_windows_is_that_of_eight_ever_earlier_tries():
    recording = track(*[-70.0] * 12, *[-20.0] * 10, *[-70.0] * 10, *[-20.0] * 20)
    crop = SalientCrop(0.4, floor_lufs=-25.0, search="bias_early")
    found = [crop.place(recording, chance)[0] for chance in uniform(1, np.arange(20_000), "crop")]
    levels = dict(windows_of(recording, 0.4))
    chances, left = dict.fromkeys(levels, 0.0), 1.0
    for attempt in range(8):
        alpha = attempt / 7
        latest = (1 - alpha) * max(levels) + alpha * min(max(levels), 0.4 * RATE)
        within = [start for start in levels if start <= latest + 1e-6]
        loud = [start for start in within if levels[start] >= -25.0]
        for start in loud:
            chances[start] += left / len(within)
        left *= 1 - len(loud) / len(within)
    passing = [start for start, level in levels.items() if level >= -25.0]
    early = [start for start in passing if start < passing[0] + 0.4 * RATE]
    for start in early:
        chances[start] += left / len(early)
    likely = [start for start in levels if chances[start]]
    counts = [found.count(start) for start in likely]
    assert sum(counts) == len(found)
    assert stats.chisquare(counts, [len(found) * chances[start] for start in likely]).pvalue > 1e-3


def test_windows_are_weighted_by_energy():
    recording = track(-20.0, -10.0)
    found = SalientCrop(0.1, search="energy").candidates(recording)
    starts = np.array([found.pick(chance)[0] for chance in uniform(1, np.arange(20_000), "crop")])
    assert abs((starts > 0).mean() - 10 / 11) < 0.01


def test_the_first_of_several_loudest_windows_is_taken():
    crop = SalientCrop(0.1, search="loudest")
    assert crop.place(track(-30.0, -20.0, -20.0, -25.0), 0.99) == (800, 1600)


def test_a_level_exactly_at_the_floor_reaches_it():
    energies = dequantise(np.full(50, 151, dtype=np.uint8))  # code 151 is -40.0 LUFS
    assert integrated_lufs(energies) == pytest.approx(-40.0, abs=1e-9)
    for duration_s in (0.1, 0.3, 0.4, 0.5, 2.0):
        crop = SalientCrop(duration_s, floor_lufs=-40.0, fallback="raise")
        starts = crop.candidates(Recording(40_000, RATE, energies=energies)).starts
        assert len(starts) == 50 - round(duration_s * 10) + 1


def test_without_a_passing_window_the_loudest_is_kept():
    recording = track(-60.0, -50.0, -55.0)
    assert SalientCrop(0.1).place(recording, 0.9) == (800, 1600)
    silence = track(*[float("-inf")] * 9)
    assert SalientCrop(0.5).place(silence, 0.9) == (0, 4000)


@pytest.mark.parametrize("duration_s", [0.1, 0.3, 1.0])
def test_without_a_passing_window_raise_says_how_loud_the_loudest_is(duration_s):
    recording = track(-60.0, -50.0, -55.0)
    with pytest.raises(AudioError, match=r"no window of .* reaches -40 LUFS, the loudest has -5.*fallback='keep'"):
        SalientCrop(duration_s, fallback="raise").place(recording, 0.0)


def test_an_empty_recording_gives_an_empty_crop():
    for crop in (RandomCrop(1.0), CenterCrop(1.0), SalientCrop(1.0)):
        assert crop.place(Recording(0, RATE, energies=np.zeros(0)), 0.5) == (0, 0)


def test_a_missing_or_wrong_loudness_track_says_what_to_run():
    with pytest.raises(FormatError, match="run `shardkit index`"):
        SalientCrop(1.0).place(Recording(100, RATE, energies=None), 0.0)
    with pytest.raises(FormatError, match=r"has 3 hops of 100 ms, but 800 samples at 8000 Hz have 1"):
        SalientCrop(1.0).place(Recording(800, RATE, energies=np.zeros(3)), 0.0)


def test_ten_hours_need_little_memory():
    frames, rate = 36_000 * RATE, RATE
    energies = dequantise((np.arange(360_000) % 256).astype(np.uint8))
    tracemalloc.start()
    SalientCrop(10.0).candidates(Recording(frames, rate, energies=energies))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * energies.nbytes  # all windows at once would need 97 times the track


# Options


@pytest.mark.parametrize("policy", [RandomCrop, CenterCrop, SalientCrop])
@pytest.mark.parametrize("duration_s", [0, -1.0, float("nan"), float("inf"), "2", None, True])
def test_a_duration_is_a_positive_number(policy, duration_s):
    with pytest.raises(InputError, match="duration_s"):
        policy(duration_s)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"floor_lufs": float("-inf")}, "finite level"),
        ({"floor_lufs": "-40"}, "finite level"),
        ({"search": "late"}, "choose uniform, bias_early, early, loudest or energy"),
        ({"fallback": "drop"}, "choose keep, skip or raise"),
    ],
)
def test_salient_options_are_checked_when_made(options, message):
    with pytest.raises(InputError, match=message):
        SalientCrop(2.0, **options)


def test_equal_policies_look_equal():
    assert repr(SalientCrop(2, floor_lufs=-40)) == repr(SalientCrop(2.0))
    assert SalientCrop(np.float32(2)) == SalientCrop(2.0)


def test_a_crop_of_less_than_a_sample_is_refused():
    with pytest.raises(InputError, match="less than one sample at 8000 Hz"):
        RandomCrop(1e-5).place(Recording(100, RATE), 0.0)
