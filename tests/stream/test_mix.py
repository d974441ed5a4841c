"""Weights that change: schedules, temperature, and new weights in a restart, kept in the state's history."""

import json
from collections import Counter
from itertools import islice

import pytest

import shardkit as sk
from tests.stream.test_stream import log

CROP = {"crop": sk.RandomCrop(0.1), "sample_rate": 8000, "channels": 1, "rank": 0, "world_size": 1}
A = {"clips": 0.5, "tracks": 0.3, "few": 0.2}
B = {"clips": 0.1, "tracks": 0.1, "few": 0.8}


@pytest.fixture(scope="session")
def views(datasets):
    return {name: sk.open(datasets[name]) for name in ("clips", "tracks", "few")}


def stream_of(views, weights, **options):
    return sk.Stream(views, weights=weights, **({"batch_size": 10} | CROP | options))


def counts(batches):
    return Counter(source for batch in batches for source in batch.sources)


def test_a_schedule_changes_the_mix_at_its_sample(views):
    stream = stream_of(views, [(0, A), (205, B), (400, {"clips": 1, "tracks": 0, "few": 0})])
    batches = list(islice(stream, 60))
    sources = [source for batch in batches for source in batch.sources]
    assert log(batches[:20]) == log(list(islice(stream_of(views, A), 20)))
    for part, weights in ((sources[:205], A), (sources[205:400], B)):
        for name, weight in weights.items():
            assert part.count(name) == pytest.approx(weight * len(part), abs=5)
    assert set(sources[400:]) == {"clips"}
    assert stream.weights == {"clips": 1.0, "tracks": 0.0, "few": 0.0}


def test_a_schedules_state_goes_on_in_any_of_its_stages(views):
    schedule = [(0, A), (205, B), (400, A)]
    expected = list(islice(stream_of(views, schedule), 50))
    for done in (0, 10, 20, 21, 39, 40, 41, 49):
        state = stream_of(views, schedule).state_at(10 * done)
        resumed = stream_of(views, schedule)
        resumed.load_state_dict(json.loads(json.dumps(state)))
        assert log(list(islice(resumed, 50 - done))) == log(expected[done:])


def test_temperature_raises_sizes_or_weights_to_a_power(views):
    assert stream_of(views, None, temperature=0).weights == pytest.approx(stream_of(views, None).weights)
    sizes = {"clips": 120 / 128, "tracks": 5 / 128, "few": 3 / 128}
    assert stream_of(views, None, temperature=1).weights == pytest.approx(sizes, abs=1 / 4096)
    roots = {name: size**0.5 for name, size in sizes.items()}
    expected = {name: root / sum(roots.values()) for name, root in roots.items()}
    assert stream_of(views, None, temperature=0.5).weights == pytest.approx(expected, abs=1 / 4096)
    evened = stream_of(views, {"clips": 0.16, "tracks": 0.04, "few": 0}, temperature=0.5).weights
    assert evened == pytest.approx({"clips": 2 / 3, "tracks": 1 / 3, "few": 0.0}, abs=1 / 4096)
    # raised first, apportioned then: three rows among thousands of windows are no share of 4,096 by size
    uneven = {"few": views["few"], "many": views["tracks"].windows(0.5, 0.001)}
    assert stream_of(uneven, None, temperature=0.5).weights["few"] == pytest.approx(0.0103, abs=0.0003)
    with pytest.raises(sk.InputError, match="'few' is too small"):
        stream_of(uneven, None, temperature=1)
    with pytest.raises(sk.InputError, match="'x' of 'clips' is not a number"):
        stream_of(views, A | {"clips": "x"}, temperature=0.5)
    for wrong in (-1, "1", float("nan")):
        with pytest.raises(sk.InputError, match="temperature"):
            stream_of(views, A, temperature=wrong)


def test_new_weights_in_a_restart_are_a_deliberate_act(views):
    state = stream_of(views, A).state_at(200)
    changed = stream_of(views, B)
    with pytest.raises(sk.StateError, match=r'weights differ;.*load_state_dict\(state, weights="new"\)'):
        changed.load_state_dict(state)
    changed.load_state_dict(state, weights="new")
    assert log(list(islice(changed, 20))) == log(list(islice(stream_of(views, [(0, A), (200, B)]), 20, 40)))
    history = changed.state_dict()["history"]
    assert [start for start, _ in history] == [0, 200]
    assert history[1][1] == pytest.approx([409.6, 409.6, 3276.8], abs=1)  # slots of 4,096


def test_a_stream_restarted_with_new_weights_goes_on_from_its_own_states(views):
    first = stream_of(views, B)
    first.load_state_dict(stream_of(views, A).state_at(200), weights="new")
    expected = list(islice(first, 30))
    state = json.loads(json.dumps(first.state_at(310)))
    again = stream_of(views, B)
    again.load_state_dict(state)
    assert log(list(islice(again, 19))) == log(expected[11:])
    # and another change on top of it
    third = stream_of(views, {"clips": 1, "tracks": 1, "few": 1})
    third.load_state_dict(state, weights="new")
    assert [start for start, _ in third.state_at(400)["history"]] == [0, 200, 310]


def test_no_pass_is_cut_short_by_a_change_of_weights(views):
    """Each row of the small source comes once a pass, whatever the weights do on the way."""
    stream = stream_of(views, [(0, A), (101, B), (303, A), (350, B)], metadata=["n"])
    seen = Counter()
    for batch in islice(stream, 100):
        for source, key, number in zip(batch.sources, batch.keys, batch.passes.tolist(), strict=True):
            seen[source, number, key] += 1
    assert set(seen.values()) == {1}
    passes = Counter((source, number) for source, number, _ in seen)
    for (source, number), rows in passes.items():
        if (source, number + 1) in passes:
            assert rows == len(views[source])


def test_weights_that_are_the_same_are_no_change(views):
    state = stream_of(views, A).state_at(200)
    same = stream_of(views, {"clips": 5, "tracks": 3, "few": 2})
    same.load_state_dict(state)
    assert same.state_dict() == state


def test_a_history_too_long_for_a_state_is_told_by_its_digest(views):
    schedule = [(100 * i, A if i % 2 else B) for i in range(80)]
    stream = stream_of(views, schedule)
    state = stream.state_at(7000)
    assert len(json.dumps(state)) < 1024
    assert isinstance(state["history"], str)
    resumed = stream_of(views, schedule)
    resumed.load_state_dict(state)
    assert log(list(islice(resumed, 3))) == log(list(islice(stream.batches(7000), 3)))
    with pytest.raises(sk.StateError, match="give the whole schedule"):
        stream_of(views, A).load_state_dict(state, weights="new")
    # with the past given, the future may change
    longer = stream_of(views, [*schedule[:70], (7000, {"clips": 1, "tracks": 0, "few": 0})])
    longer.load_state_dict(state, weights="new")
    assert set(next(iter(longer)).sources) == {"clips"}


def test_states_stay_under_a_kibibyte_with_many_sources(views):
    many = {f"a source with a long name {i}": views["few"] for i in range(400)}
    stream = sk.Stream(many, batch_size=7, **CROP)
    assert len(json.dumps(stream.state_at(10**12))) < 1024
    few = {f"s{i}": views["few"] for i in range(12)}
    weights = {name: 1.0 + i for i, name in enumerate(few)}
    stream, changes = sk.Stream(few, weights=weights, batch_size=7, **CROP), 0
    state = stream.state_at(7)
    with pytest.raises(sk.StateError, match="would not fit into 1 KiB"):
        while changes < 100:
            changes += 1
            weights = {name: 1.0 + (i * 7 + changes) % 12 for i, name in enumerate(few)}
            stream = sk.Stream(few, weights=weights, batch_size=7, **CROP)
            stream.load_state_dict(state, weights="new")
            state = stream.state_at(7 * (changes + 1))
            assert len(json.dumps(state)) < 1024
    assert changes > 5


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([], "is neither"),
        ("clips", "is neither"),
        (5, "is neither"),
        ([1], "1 is no entry of a schedule"),
        ([(10, A)], "an entry from sample 10; the first is from 0"),
        ([(0, A), (0, B)], "an entry from sample 0"),
        ([(0, A), (-5, B)], "it must be at least 0"),
        ([(0, A), ("x", B)], "must be a whole number"),
        ([(0, A), (5, {"clips": 1})], "no weight for 'tracks', 'few'"),
        ([(0, A), (5, {"clip": 1, "tracks": 1, "few": 1})], "did you mean 'clips'"),
        ({"clips": 0, "tracks": 0, "few": 0}, "all weights are zero"),
    ],
)
def test_what_is_no_mix_is_refused(views, weights, message):
    with pytest.raises(sk.InputError, match=message):
        stream_of(views, weights)


@pytest.mark.parametrize("history", [5, "none", [[0]], [["a", [1]]], [[0, [4096]]], [[900, [1, 1, 4094]]]])
def test_a_history_that_is_none_is_refused(views, history):
    stream = stream_of(views, A)
    with pytest.raises((sk.StateError, sk.InputError)):
        stream.load_state_dict(stream.state_at(200) | {"history": history})
