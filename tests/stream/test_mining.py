"""Hard examples in streams: fed back in one epoch, drawn again in the next, on any ranks and after any restart."""

import json
from itertools import islice
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shardkit as sk
from tests.stream.many_labels import pack_many_labels
from tests.stream.test_stream import log

CROP = sk.RandomCrop(0.02)
COMPOSITION = {"positive": 4, "negative": 3, "hard": 5}
EPOCH = 48


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    view = pack_many_labels(tmp_path_factory.mktemp("many"))
    negative = view.where("not target")
    return {"positive": view.where("target"), "negative": negative, "hard": negative.balance("labels")}


def stream_of(sources, *, rank=0, world_size=1, mining=True, **options):
    mining = sk.Mining("hard", size=14, above=0.3) if mining else None
    options = {"composition": COMPOSITION, "crop": CROP, "seed": 3} | options
    return sk.Stream(sources, mining=mining, epoch_samples=EPOCH, rank=rank, world_size=world_size, **options)


def score(key, salt=0):
    return crc32(f"{key} {salt}".encode()) % 1000 / 1000


def crop_of(batch, i):
    length = int(batch.lengths[i])
    return batch.keys[i], int(batch.starts[i]), batch.audio[i, :, :length].tobytes()


def by_position(batches):
    return {int(g): (batch.sources[i], *crop_of(batch, i)) for batch in batches for i, g in enumerate(batch.positions)}


def run_epochs(sources, parts, **options):
    """Deliveries of a run of epochs; each part is (ranks, batches) and goes on from the state of the one before.

    All ranks are told the scores of all ranks' batches where an epoch ends.
    """
    found, saved, told = {}, None, []
    for world_size, num_batches in parts:
        streams = [stream_of(sources, rank=rank, world_size=world_size, **options) for rank in range(world_size)]
        if saved is not None:
            for stream in streams:
                stream.load_state_dict(json.loads(saved[0]), feedback=json.loads(saved[1]))
        for _ in range(num_batches):
            (batches,) = zip(*(islice(stream, 1) for stream in streams), strict=True)
            found |= by_position(batches)
            told += [
                (int(g), score(key)) for batch in batches for g, key in zip(batch.positions, batch.keys, strict=True)
            ]
            if streams[0].position % EPOCH == 0:
                for stream in streams:
                    stream.feedback(*zip(*told, strict=True))
                told = []
        states = {(json.dumps(stream.state_dict()), json.dumps(stream.feedback_state())) for stream in streams}
        (saved,) = states  # all ranks save the same
        assert len(saved[0]) < 1024
    return found


def test_the_next_epoch_begins_with_the_hardest_once_each_and_then_goes_on_as_ever(sources):
    found, plain = run_epochs(sources, [(1, 12)]), by_position(stream_of(sources, mining=False).batches(0, end=144))
    hard_keys = set(sources["hard"].keys())
    for epoch in range(3):
        here = {g: entry for g, entry in found.items() if g // EPOCH == epoch}
        assert {g: entry[0] for g, entry in here.items()} == {g: plain[g][0] for g in here}  # the composition stays
        told = {}
        for g, (_, key, *crop) in sorted(found.items()):
            if g // EPOCH == epoch - 1 and key in hard_keys and score(key) > 0.3:
                told.setdefault(key, (key, *crop))
        expected = sorted(told, key=lambda key: -score(key))[:14]
        slots = [g for g, entry in sorted(here.items()) if entry[0] == "hard"]
        assert [here[g][1] for g in slots[: len(expected)]] == expected
        assert [here[g][1:] for g in slots[: len(expected)]] == [told[key] for key in expected]  # the crop heard then
        others = slots[len(expected) :] + [g for g in here if here[g][0] != "hard"]
        assert {g: here[g] for g in others} == {g: plain[g] for g in others}
        assert epoch == 0 or 0 < len(expected) < len(slots)


PARTS = st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 6]), st.integers(1, 6)), min_size=1, max_size=4)


@settings(max_examples=12, deadline=None)
@given(PARTS)
def test_ranks_and_restarts_change_nothing(sources, parts):
    """Laws L1 to L3, given the feedback. A restart inside an epoch must not take up what was told in it."""
    whole = run_epochs(sources, [(1, sum(count for _, count in parts))])
    assert run_epochs(sources, parts) == whole


@pytest.mark.parametrize("mix", [{"composition": None}, {"composition": None, "batch_size": 12, "views": 2}])
def test_weighted_sources_and_views_are_mined_alike(sources, mix):
    options = {"batch_size": 12} | mix
    stream = stream_of(sources, **options)
    first = list(islice(stream, 4))
    hard = [
        (b.positions[i], b.keys[i], b.starts[i]) for b in first for i in range(len(b)) if b.sources[i] != "positive"
    ]
    position = int(hard[0][0])
    views = [(key, start) for g, key, start in hard if g == position]
    assert stream.feedback([position], [1.0]) == 1
    again = list(islice(stream, 4))
    replayed = [(b.keys[i], b.starts[i]) for b in again for i in range(len(b)) if b.sources[i] == "hard"]
    assert replayed[: len(views)] == views


def test_told_during_an_epoch_it_is_drawn_from_the_next_on(sources):
    told, untold = stream_of(sources), stream_of(sources)
    batches = iter(told)
    delivered = [next(batches)]
    told.feedback(delivered[0].positions, np.ones(12))
    delivered += list(batches)
    assert log(delivered) == log(list(untold))
    assert log([next(iter(told))]) != log([next(iter(untold))])


def test_keys_are_drawn_again_with_a_crop_of_their_own(sources):
    stream = stream_of(sources)
    keys = sources["hard"].keys()[:3] + sources["positive"].keys()[:2]
    assert stream.feedback(keys, [0.9, 0.8, 0.7, 0.99, 0.99]) == 3  # of those that the hard view has
    batch = next(iter(stream))
    assert [key for key, name in zip(batch.keys, batch.sources, strict=True) if name == "hard"][:3] == keys[:3]
    assert (batch.lengths == 160).all()
    assert stream.coverage("n", stop=12).by_source["hard"]


def test_a_state_goes_with_its_feedback_and_no_other(sources):
    stream = stream_of(sources)
    list(stream)
    before = stream.feedback_state()
    stream.load_state_dict(stream.state_dict())  # nothing was fed back yet
    stream.feedback(sources["hard"].keys()[:5], np.linspace(0.5, 0.9, 5))
    state, feedback = stream.state_dict(), stream.feedback_state()
    fresh = stream_of(sources)
    with pytest.raises(sk.StateError, match=r"after feedback; save feedback_state\(\) beside it"):
        fresh.load_state_dict(state)
    with pytest.raises(sk.StateError, match="not what had been fed back when the state was taken"):
        fresh.load_state_dict(state, feedback=before)
    with pytest.raises(sk.StateError, match="not what feedback_state"):
        fresh.load_state_dict(state, feedback={"since": 0})
    with pytest.raises(sk.StateError, match="mining differ"):
        stream_of(sources, mining=False).load_state_dict(state)
    fresh.load_state_dict(state, feedback=feedback)
    assert log(list(fresh)) == log(list(stream))


@pytest.mark.parametrize(
    ("samples", "scores", "message"),
    [
        ([0, 1], [0.5], "give one number for each"),
        ([[0]], [[0.5]], "give one number for each"),
        ([0], ["high"], "give one number for each"),
        ([0, 1], [0.5, float("nan")], "score 1 is nan"),
        ([0.5], [0.5], "give positions"),
        ([-1], [0.5], "position -1 has not been delivered"),
        ([48], [0.5], "position 48 has not been delivered; the stream is at 48"),
        (["nobody"], [0.5], "no key 'nobody' in .*, of source 'hard'"),
    ],
)
def test_feedback_that_can_not_be_is_refused(sources, samples, scores, message):
    stream = stream_of(sources)
    list(stream)
    with pytest.raises(sk.InputError, match=message):
        stream.feedback(samples, scores)
    assert stream.feedback([], []) == 0


def test_what_an_earlier_epoch_delivered_as_hard_can_not_be_told_apart_any_more(sources):
    stream = stream_of(sources)
    first = list(stream)
    stream.feedback(first[0].positions, np.ones(12))
    list(stream)
    hard = [int(g) for g, name in zip(first[0].positions, first[0].sources, strict=True) if name == "hard"]
    with pytest.raises(sk.InputError, match=f"position {hard[0]} lies before 48, where this epoch's"):
        stream.feedback(hard[:1], [1.0])


def test_mining_that_can_not_be_is_refused(sources):
    with pytest.raises(sk.InputError, match="feedback to a stream without mining"):
        stream_of(sources, mining=False).feedback([], [])
    for mining, message in (("hard", "give shardkit.Mining"), (sk.Mining("hrad"), "no source is named 'hrad'")):
        with pytest.raises(sk.InputError, match=message):
            sk.Stream(sources, mining=mining, epoch_samples=9, rank=0, world_size=1)
    with pytest.raises(sk.InputError, match="mining needs epoch_samples"):
        sk.Stream(sources, mining=sk.Mining("hard"), rank=0, world_size=1)
