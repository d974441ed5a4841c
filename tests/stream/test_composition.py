"""Streams whose batches have a fixed composition."""

import json
from collections import Counter
from itertools import islice

import pytest

import shardkit as sk
from tests.stream.test_stream import log

CROP = {"crop": sk.RandomCrop(0.1), "sample_rate": 8000, "channels": 1}
COUNTS = {"clips": 6, "tracks": 2, "few": 4}
LATER = {"clips": 1, "tracks": 1, "few": 10}


@pytest.fixture(scope="session")
def views(datasets):
    return {name: sk.open(datasets[name]) for name in ("clips", "tracks", "few")}


def stream_of(views, composition, *, rank=0, world_size=1, **options):
    return sk.Stream(views, composition=composition, rank=rank, world_size=world_size, **(CROP | options))


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 6])
def test_every_global_batch_has_the_counts_spread_over_the_ranks(views, world_size):
    streams = [stream_of(views, COUNTS, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert {stream.global_batch_size for stream in streams} == {12}
    for batches in islice(zip(*streams, strict=True), 4):
        by_rank = [Counter(batch.sources) for batch in batches]
        assert sum(by_rank, Counter()) == COUNTS
        for name, count in COUNTS.items():
            shares = [counts[name] for counts in by_rank]
            assert max(shares) - min(shares) <= (count % world_size > 0)


def test_a_global_batch_of_several_has_the_counts_as_often(views):
    stream = stream_of(views, COUNTS, global_batch_size=36)
    assert Counter(next(iter(stream)).sources) == {name: 3 * count for name, count in COUNTS.items()}
    assert stream.weights == {"clips": 0.5, "tracks": 1 / 6, "few": 1 / 3}


def test_a_schedule_changes_the_counts_from_its_batch_on(views):
    stream = stream_of(views, [(0, COUNTS), (24, LATER)])
    assert [Counter(batch.sources) for batch in islice(stream, 4)] == [COUNTS, COUNTS, LATER, LATER]
    expected = list(islice(stream_of(views, [(0, COUNTS), (24, LATER)]), 6))
    for done in range(6):
        resumed = stream_of(views, [(0, COUNTS), (24, LATER)])
        resumed.load_state_dict(json.loads(json.dumps(stream.state_at(12 * done))))
        assert log(list(islice(resumed, 6 - done))) == log(expected[done:])


def test_other_counts_in_a_restart_are_refused_unless_meant(views):
    state = stream_of(views, COUNTS).state_at(24)
    assert len(json.dumps(state)) < 1024
    changed = stream_of(views, LATER)
    with pytest.raises(sk.StateError, match="weights differ"):
        changed.load_state_dict(state)
    changed.load_state_dict(state, weights="new")
    expected = stream_of(views, [(0, COUNTS), (24, LATER)])
    assert log(list(islice(changed, 3))) == log(list(islice(expected, 2, 5)))
    doubled = stream_of(views, {name: 2 * count for name, count in COUNTS.items()})
    with pytest.raises(sk.StateError, match="composition"):
        doubled.load_state_dict(state, weights="new", global_batch_size="new")
    weighted = sk.Stream(views, weights=COUNTS, batch_size=12, rank=0, world_size=1, **CROP)
    with pytest.raises(sk.StateError, match="composition"):
        weighted.load_state_dict(state, weights="new")


@pytest.mark.parametrize(
    ("composition", "options", "message"),
    [
        (COUNTS, {"weights": {"clips": 1, "tracks": 1, "few": 1}}, "weights and temperature can't"),
        (COUNTS, {"temperature": 0.5}, "weights and temperature can't"),
        (COUNTS, {"passes": 1}, "composition has no meaning"),
        (COUNTS, {"batch_size": 16}, "16 is no multiple of the 12 samples that composition adds up to; choose 24"),
        (COUNTS, {"global_batch_size": 6}, "6 is no multiple of the 12"),
        (COUNTS, {"world_size": 5}, "a global batch of 12 can't be divided among 5 ranks"),
        (COUNTS | {"few": 0.5}, {}, "the samples of 'few' in each batch is 0.5; it must be a whole number"),
        (COUNTS | {"few": -1}, {}, "'few' in each batch is -1; it must be at least 0"),
        ({"clips": 6, "tracks": 2, "fwe": 4}, {}, "the count in composition 'fwe' names no source; did you mean 'few'"),
        ({"clips": 12}, {}, "no count in composition for 'tracks', 'few'"),
        ({"clips": 0, "tracks": 0, "few": 0}, {}, "all counts are zero"),
        ([(0, COUNTS), (24, COUNTS | {"few": 1})], {}, "batches of 9 from sample 24, of 12 before"),
        ([(0, COUNTS), (25, LATER)], {}, "from sample 25, inside a batch of 12; choose 24 or 36"),
        ([(5, COUNTS)], {}, "an entry from sample 5; the first is from 0"),
        (7, {}, "composition: 7 is neither; give composition by name"),
        ({}, {}, "no count in composition for"),
    ],
)
def test_what_is_no_composition_is_refused(views, composition, options, message):
    with pytest.raises(sk.InputError, match=message):
        stream_of(views, composition, **options)


def write_config(path, datasets, rest):
    sources = "".join(f"  {name}: {{url: '{datasets[name]}'}}\n" for name in COUNTS)
    path.write_text(
        f"sources:\n{sources}crop: {{kind: random, duration_s: 0.1}}\nsample_rate: 8000\nchannels: 1\n{rest}"
    )
    return path


def test_a_file_describes_a_composition(views, datasets, tmp_path):
    rest = "composition: {clips: 6, tracks: 2, few: 4}\nschedule:\n"
    rest += "- {from_sample: 24, composition: {clips: 1, tracks: 1, few: 10}}\n"
    stream = sk.Stream.from_config(write_config(tmp_path / "mix.yaml", datasets, rest), rank=0, world_size=1)
    assert log(list(islice(stream, 4))) == log(list(islice(stream_of(views, [(0, COUNTS), (24, LATER)]), 4)))


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("composition: {clips: 6.5, tracks: 2, few: 4}", "composition.clips: "),
        ("composition: 12", "composition: "),
        (
            "composition: {clips: 6, tracks: 2, few: 4}\n"
            "schedule: [{from_sample: 24, weights: {clips: 1, tracks: 1, few: 1}}]",
            "schedule.0 must have composition and no weights",
        ),
    ],
)
def test_a_file_that_describes_none_says_where(datasets, tmp_path, rest, message):
    with pytest.raises(sk.InputError, match=message):
        sk.Stream.from_config(write_config(tmp_path / "mix.yaml", datasets, rest), rank=0, world_size=1)
