"""Views that change the rows: windows, draws, repeat, balance, take; and what a stream makes of them."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shardkit as sk


@pytest.fixture(scope="session")
def clips(datasets):
    return sk.open(datasets["clips"])


@pytest.fixture(scope="session")
def tracks(datasets):
    return sk.open(datasets["tracks"])


def one_pass(view, **options):
    """(key, start, length) of each row of a pass, in the view's order."""
    options = {"crop": None, "shuffle": "none", "batch_size": 16, "passes": 1, "rank": 0, "world_size": 1} | options
    found = [
        (int(g), batch.keys[i], int(batch.starts[i]), int(batch.lengths[i]))
        for batch in sk.Stream(view, **options)
        for i, g in enumerate(batch.positions)
        if batch.valid[i]
    ]
    return [entry[1:] for entry in sorted(found)]


def test_windows_are_rows_at_every_hop(tracks):
    view = tracks.windows(2.0, 1.5)
    assert len(view) == 5 * 3  # 6 s: windows at 0, 1.5 and 3 s
    expected = [(key, start, 32_000) for key in tracks.keys() for start in (0, 24_000, 48_000)]
    assert sorted(one_pass(view)) == sorted(expected)
    assert view.table().column("rows").to_pylist() == [3] * 5


def test_windows_without_a_hop_follow_one_another_and_may_keep_the_rest(tracks):
    assert [len(tracks.windows(2.5)), len(tracks.windows(2.5, partial=True))] == [10, 15]
    lengths = Counter(length for _, _, length in one_pass(tracks.windows(2.5, partial=True)))
    assert lengths == {40_000: 10, 16_000: 5}


def test_a_recording_shorter_than_a_window_is_one_window(clips):
    view = clips.windows(0.5, 0.1)
    short = clips.where("duration_s < 0.5")
    assert Counter(key for key, _, _ in one_pass(view.where("duration_s < 0.5"))) == dict.fromkeys(short.keys(), 1)


@pytest.mark.parametrize("crop", [sk.RandomCrop(0.5), sk.CenterCrop(0.5), sk.SalientCrop(0.5, search="uniform")])
def test_crops_stay_inside_their_window(tracks, crop):
    view = tracks.windows(1.25, 1.25)
    for batch in islice(sk.Stream(view, crop=crop, batch_size=32), 6):
        starts = batch.starts
        assert (starts // 20_000 == (starts + 8_000 - 1) // 20_000).all()
        assert (starts < 80_000).all()


@given(size=st.floats(0.05, 7), hop=st.floats(0.05, 3), partial=st.booleans())
@settings(max_examples=30, deadline=None)
def test_windows_cover_what_they_say(tracks, size, hop, partial):
    view = tracks.windows(size, hop, partial=partial)
    rows = np.arange(len(view))
    found = view.sections(rows, passes=np.zeros_like(rows), key=0)
    frames, length, step = 96_000, round(size * 16_000), round(hop * 16_000)
    for row in np.unique(found.rows):
        starts, stops = found.starts[found.rows == row], found.stops[found.rows == row]
        assert starts.tolist() == list(range(0, len(starts) * step, step))
        assert (stops == np.minimum(starts + length, frames)).all()
        assert (stops > starts).all()
        if partial:
            assert stops[-1] == frames or starts[-1] + step >= frames
        else:
            assert len(starts) == max(0, frames - length) // step + 1


@given(size=st.floats(0.05, 5), power=st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_draws_divide_the_places_where_a_crop_can_start(tracks, size, power):
    view = tracks.draws(size, power)
    rows = np.arange(len(view))
    found = view.sections(rows, passes=np.zeros_like(rows), key=0)
    frames, length = 96_000, min(round(size * 16_000), 96_000)
    for row in np.unique(found.rows):
        starts, stops = found.starts[found.rows == row], found.stops[found.rows == row]
        assert len(starts) == max(1, round(max(1, frames // round(size * 16_000)) ** power))
        last_starts = stops - length
        assert starts[0] == 0
        assert last_starts[-1] == frames - length
        assert (starts[1:] == last_starts[:-1] + 1).all()


def test_draws_take_long_recordings_more_often(datasets):
    both = {"clips": sk.open(datasets["clips"]).draws(0.25), "tracks": sk.open(datasets["tracks"]).draws(0.25)}
    # Clips hold one to three crops and are drawn once or twice; tracks hold 24 and are drawn round(√24) = 5 times.
    assert len(both["tracks"]) == 25
    assert 120 <= len(both["clips"]) <= 240


def test_take_is_the_first_rows_and_of_windows_the_first_windows(clips, tracks):
    assert clips.take(7).keys() == clips.keys()[:7]
    assert len(clips.take(10_000)) == 120
    view = tracks.windows(2.0, 1.5)
    assert one_pass(view.take(4)) == [(key, start, n) for key, start, n in sorted_rows(view)[:4]]
    assert len(view.take(0)) == 0
    with pytest.raises(sk.InputError, match=r"ds\.take\(n\)\.repeat\(k\)"):
        clips.repeat(2).take(5)
    for wrong in (-1, 2.5, "3"):
        with pytest.raises(sk.InputError, match="take is"):
            clips.take(wrong)


def sorted_rows(view):
    rows = np.arange(len(view))
    found = view.sections(rows, passes=np.zeros_like(rows), key=0)
    keys = view.catalog.table.column("key").to_pylist()
    return [
        (keys[row], start, stop - start)
        for row, start, stop in zip(found.rows.tolist(), found.starts.tolist(), found.stops.tolist(), strict=True)
    ]


def test_repeat_is_each_row_so_often_in_every_pass(clips):
    assert Counter(key for key, _, _ in one_pass(clips.repeat(3))) == dict.fromkeys(clips.keys(), 3)
    view = clips.repeat(1.5)
    assert len(view) == 180
    stream = sk.Stream(view, crop=sk.RandomCrop(0.1), batch_size=180, rank=0, world_size=1)
    often = [{key for key, n in Counter(batch.keys).items() if n == 2} for batch in islice(stream, 4)]
    assert all(len(keys) == 60 for keys in often)
    assert len({frozenset(keys) for keys in often}) == 4  # other rows are repeated in each pass
    assert view.table().column("repeats").to_pylist() == [1.5] * 120


def test_balance_draws_rare_values_in_proportion_to_a_power_of_their_frequency(clips):
    skewed = clips.where("n < 90 or speaker == 's0'")
    frequency = Counter(skewed.table().column("speaker").to_pylist())
    for power in (0.0, 0.5, 1.0):
        view = skewed.balance("speaker", power)
        drawn = Counter()
        stream = sk.Stream(
            view, crop=sk.RandomCrop(0.05), batch_size=len(view), metadata=["speaker"], rank=0, world_size=1
        )
        for batch in islice(stream, 12):
            assert set(batch.keys) == set(skewed.keys())  # nobody is lost in any pass
            drawn.update(batch.metadata["speaker"])
        most = max(frequency.values())
        for speaker, count in frequency.items():
            expected = count * (most / count) ** power
            assert drawn[speaker] / 12 == pytest.approx(expected, rel=0.04, abs=0.7)


def test_balance_by_labels_goes_by_a_rows_rarest(datasets):
    tracks = sk.open(datasets["tracks"])  # labels: d, b, d, b, d
    repeats = tracks.balance("labels", 1.0).table().column("repeats").to_pylist()
    labels = tracks.table().column("labels").to_pylist()
    assert repeats == [pytest.approx(1.5 if label == ["b"] else 1.0, abs=1e-5) for label in labels]


def test_balance_counts_windows_and_what_is_repeated(tracks):
    # Of equal length: as many windows each. Repeated before, both values are as frequent as after balancing.
    by_row = tracks.balance("labels", 1.0).table().column("repeats").to_pylist()
    by_window = tracks.windows(1.0).balance("labels", 1.0).table().column("repeats").to_pylist()
    assert by_row == by_window
    again = tracks.balance("labels", 1.0).balance("labels", 1.0).table().column("repeats").to_pylist()
    assert again == pytest.approx(by_row, abs=1e-5)


def test_balance_says_which_columns_there_are(clips):
    with pytest.raises(sk.InputError, match="no column 'speakers'; did you mean 'speaker'"):
        clips.balance("speakers")
    with pytest.raises(sk.InputError, match="no column 'fields'"):
        clips.balance("fields")
    with pytest.raises(sk.InputError, match="can't be counted"):
        clips.balance("intervals")
    with pytest.raises(sk.InputError, match="power -1"):
        clips.balance("speaker", -1)


def test_views_are_values_and_narrowing_goes_on_after_any_change(clips):
    view = clips.windows(0.1, 0.05).balance("speaker").repeat(2)
    narrowed = view.where("n < 10")
    assert len(clips) == 120
    assert {key for key, _, _ in one_pass(narrowed)} == set(clips.where("n < 10").keys())
    assert len(narrowed) < len(view)
    assert view.digest() != narrowed.digest() != clips.where("n < 10").digest()


def test_iterating_a_view_reads_its_rows(tracks):
    samples = list(tracks.windows(2.0, 4.0))
    assert [(sample.start, sample.audio.shape) for sample in samples] == [(0, (2, 32_000)), (64_000, (2, 32_000))] * 5
    whole = tracks[samples[1].key].audio
    np.testing.assert_array_equal(samples[1].audio, whole[:, 64_000:])


def test_a_crop_longer_than_all_windows_is_refused(tracks):
    with pytest.raises(sk.InputError, match="crop of 3 s is longer than every sample"):
        sk.Stream(tracks.windows(2.0), crop=sk.RandomCrop(3.0))


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), "2", None, True])
def test_lengths_are_positive_numbers(tracks, wrong):
    with pytest.raises(sk.InputError, match="not a positive number of seconds"):
        tracks.windows(wrong)
    with pytest.raises(sk.InputError, match="not a positive number of seconds"):
        tracks.draws(wrong)
    with pytest.raises(sk.InputError, match="repeat"):
        tracks.repeat(wrong if wrong is not True else "1")


def test_what_is_cut_is_not_cut_again(tracks):
    with pytest.raises(sk.InputError, match="cut into Windows"):
        tracks.windows(2.0).draws(1.0)
    with pytest.raises(sk.InputError, match="shorter than a sample"):
        tracks.windows(1e-6)
    with pytest.raises(sk.InputError, match="power 1.5"):
        tracks.draws(1.0, 1.5)


def test_salient_crops_in_windows_are_the_windows_loud_parts(tracks):
    # The first half of each track is as good as silent: a window across the middle has its sound in its second half.
    view = tracks.windows(2.0, 2.0).where("duration_s > 1")
    stream = sk.Stream(view, crop=sk.SalientCrop(0.5, floor_lufs=-30), batch_size=64, rank=0, world_size=1)
    batch = next(iter(stream))
    middle = (batch.starts >= 32_000) & (batch.starts < 64_000)
    assert middle.sum() > 5
    assert (batch.starts[middle] >= 48_000 - 8_000).all()
