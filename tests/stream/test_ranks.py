"""Who reads what: ranks from their surroundings, global batches, epochs, ends and lengths."""

import subprocess
import sys
from itertools import islice

import numpy as np
import pytest

import shardkit as sk
from tests.stream.test_stream import log

CROP = {"crop": sk.RandomCrop(0.1)}


@pytest.fixture(scope="session")
def clips(datasets):
    return sk.open(datasets["clips"])


@pytest.fixture
def environment(monkeypatch):
    def set_ranks(rank, world_size):
        for name, value in (("RANK", rank), ("WORLD_SIZE", world_size)):
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)

    set_ranks(None, None)
    return set_ranks


def test_ranks_are_those_of_the_environment_or_as_given(clips, environment):
    def ranks(**given):
        stream = sk.Stream(clips, **CROP, **given)
        return stream.rank, stream.world_size

    assert ranks() == (0, 1)
    assert ranks(rank=np.int64(2), world_size=5) == (2, 5)
    environment("3", "4")
    assert ranks() == ranks(rank=3, world_size=4) == (3, 4)
    assert ranks(rank=0, world_size=1, check_ranks=False) == (0, 1)


@pytest.mark.parametrize(
    ("surroundings", "given", "message"),
    [
        (
            ("1", "2"),
            {"rank": 0, "world_size": 2},
            "the arguments say rank 0 of 2, RANK and WORLD_SIZE say rank 1 of 2",
        ),
        (("1", "2"), {"rank": 0, "world_size": 1}, "check_ranks=False"),
        (("1", None), {}, "must both be whole numbers"),
        (("x", "2"), {}, "RANK='x'"),
        (("2", "2"), {}, "rank 2 of world size 2"),
        ((None, None), {"rank": 1}, "give both, or neither"),
        ((None, None), {"rank": 2, "world_size": 2}, "rank 2 of world size 2"),
        ((None, None), {"rank": "0", "world_size": 2}, "rank is '0'; it must be a whole number"),
        ((None, None), {"rank": 0, "world_size": 0}, "world_size is 0"),
    ],
)
def test_ranks_that_contradict_each_other_are_refused(clips, environment, surroundings, given, message):
    environment(*surroundings)
    with pytest.raises(sk.InputError, match=message):
        sk.Stream(clips, **CROP, **given)


def test_a_stream_made_before_the_process_group_does_not_read_all_ranks_samples(datasets):
    """It would believe to be alone, and every rank would read everything."""
    program = f"""
import torch.distributed as dist, shardkit as sk
clips = sk.open({str(datasets["clips"])!r})
stream, own = (sk.Stream(clips, crop=sk.RandomCrop(0.1), batch_size=2, rank=0, world_size=1, check_ranks=check)
               for check in (True, False))
from torch.testing._internal.distributed.fake_pg import FakeStore  # a group whose other ranks need not exist
dist.init_process_group("fake", store=FakeStore(), rank=1, world_size=2)
next(iter(own))
for make in (lambda: sk.Stream(clips, rank=0, world_size=1), lambda: next(iter(stream))):
    try:
        make()
    except sk.InputError as err:
        print(err)
group = sk.Stream(clips, crop=sk.RandomCrop(0.1))
print(group.rank, group.world_size)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    first, second, third = done.stdout.splitlines()
    assert "the arguments say rank 0 of 1, torch.distributed say rank 1 of 2" in first
    assert third == "1 2"
    assert "made as rank 0 of 1, torch.distributed now says rank 1 of 2; make the stream after" in second


def test_a_global_batch_is_divided_among_the_ranks(clips):
    streams = [sk.Stream(clips, **CROP, global_batch_size=24, rank=rank, world_size=3) for rank in range(3)]
    assert {(stream.batch_size, stream.global_batch_size) for stream in streams} == {(8, 24)}
    alone = sk.Stream(clips, **CROP, batch_size=24, rank=0, world_size=1)
    found = [batch for stream in streams for batch in islice(stream, 2)]
    assert log(found) == log(list(islice(alone, 2)))
    assert sk.Stream(clips, **CROP, rank=0, world_size=2).global_batch_size == 64


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"global_batch_size": 100, "world_size": 8}, "100 can't be divided among 8 ranks; choose 96 or 104"),
        ({"global_batch_size": 3, "world_size": 8}, "3 can't be divided among 8 ranks; choose 8"),
        ({"global_batch_size": 16, "batch_size": 4, "world_size": 2}, "batch_size 4 on 2 ranks is a global batch of 8"),
        ({"global_batch_size": 0}, "at least 1"),
        ({"batch_size": 0}, "at least 1"),
        ({"batch_size": "4"}, "batch_size is '4'"),
        ({"batch_size": 4.5}, "batch_size is 4.5"),
        ({"batch_size": 10**12}, "at most"),
        ({"epoch_samples": 0}, "epoch_samples is 0"),
        ({"epoch_samples": 10, "passes": 1}, "epoch_samples has no meaning"),
        ({"passes": 2}, "passes is 2"),
        ({"passes": 1, "temperature": 1.0}, "weights have no meaning"),
        ({"max_failures": -1}, "max_failures is -1"),
        ({"threads": 0}, "threads is 0"),
        ({"sample_rate": "8000"}, "sample_rate is '8000'"),
        ({"channels": 1.0}, "channels is 1.0"),
        ({"crop": 2.0}, "crop is 2.0; give RandomCrop"),
        ({"crop": sk.RandomCrop}, "give RandomCrop"),
        ({"shuffle": 3}, "shuffle is 3"),
        ({"shuffle": "blocks"}, "'blocks' is unknown"),
        ({"fields": "vocals"}, "fields is 'vocals'; give a list of names"),
        ({"metadata": [1]}, "metadata is"),
        ({"mask_hop": 0.5}, "mask_hop is 0.5"),
        ({"seed": "0"}, "seed '0'"),
    ],
)
def test_arguments_that_can_not_be_are_refused_in_one_line(clips, given, message):
    with pytest.raises(sk.InputError, match=message) as caught:
        sk.Stream(clips, **({"rank": 0, "world_size": 1} | CROP | given))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sources", [None, 5, [], {}, {"a": 1}, {1: None}, "shards"])
def test_sources_are_views(sources):
    with pytest.raises(sk.InputError, match="sources are a|at least one source|is a "):
        sk.Stream(sources)


def test_numpy_integers_are_integers(clips):
    stream = sk.Stream(clips, **CROP, batch_size=np.int64(4), seed=np.int64(3), epoch_samples=np.int32(8))
    same = sk.Stream(clips, **CROP, batch_size=4, seed=3)
    assert stream.state_dict() == same.state_dict()


# Epochs and ends


def test_an_iteration_ends_after_epoch_samples_and_the_next_goes_on(clips):
    stream = sk.Stream(clips, **CROP, batch_size=8, epoch_samples=30, rank=0, world_size=1)
    assert len(stream) == 4  # whole batches
    epochs = [list(stream) for _ in range(3)]
    assert [len(batches) for batches in epochs] == [4, 4, 4]
    endless = sk.Stream(clips, **CROP, batch_size=8, rank=0, world_size=1)
    assert log(sum(epochs, [])) == log(list(islice(endless, 12)))  # noqa: RUF017


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_an_epoch_begun_by_others_is_ended_where_it_would_have_ended(clips, world_size):
    options = CROP | {"global_batch_size": 8, "epoch_samples": 32}
    alone = sk.Stream(clips, **options, rank=0, world_size=1)
    state = alone.state_at(32 + 16)
    for rank in range(world_size):
        stream = sk.Stream(clips, **options, rank=rank, world_size=world_size)
        stream.load_state_dict(state)
        assert [len(list(stream)) for _ in range(3)] == [2, 4, 4]


def test_an_epoch_is_no_part_of_what_a_state_fixes(clips):
    state = sk.Stream(clips, **CROP, batch_size=8, epoch_samples=32).state_at(16)
    sk.Stream(clips, **CROP, batch_size=8, epoch_samples=64).load_state_dict(state)
    sk.Stream(clips, **CROP, batch_size=8).load_state_dict(state)


def test_length_is_that_of_a_whole_iteration_or_an_error(clips):
    assert len(sk.Stream(clips, passes=1, crop=None, batch_size=7, rank=0, world_size=3)) == 6
    with pytest.raises(TypeError, match="give epoch_samples"):
        len(sk.Stream(clips, **CROP))


@pytest.mark.parametrize(("before", "after", "world_size"), [(8, 12, 1), (12, 8, 2), (10, 8, 4), (7, 15, 5)])
def test_another_global_batch_is_a_deliberate_act_and_changes_no_sample(clips, before, after, world_size):
    first = sk.Stream(clips, **CROP, global_batch_size=before, rank=0, world_size=1)
    state = first.state_at(before * 3)
    expected = list(islice(first.batches(before * 3), 20))
    found = []
    for rank in range(world_size):
        other = sk.Stream(clips, **CROP, global_batch_size=after, rank=rank, world_size=world_size)
        with pytest.raises(sk.StateError, match='global_batch_size differ.*global_batch_size="new"'):
            other.load_state_dict(state)
        other.load_state_dict(state, global_batch_size="new")
        batches = list(islice(other, 3))
        assert all((batch.positions % world_size == rank).all() for batch in batches)
        found += batches
    assert log(found) == log(expected)[: 3 * after]


def test_only_what_may_be_new_may_be_new(clips):
    stream = sk.Stream(clips, **CROP, batch_size=8)
    with pytest.raises(sk.InputError, match="weights is 'other'"):
        stream.load_state_dict(stream.state_dict(), weights="other")
    other = sk.Stream(clips, **CROP, batch_size=8, seed=1)
    with pytest.raises(sk.StateError, match="seed differ"):
        other.load_state_dict(stream.state_dict(), weights="new", global_batch_size="new")


def test_a_state_past_the_end_of_one_pass_is_refused(clips):
    stream = sk.Stream(clips, passes=1, batch_size=8)
    state = stream.state_at(120)
    stream.load_state_dict(state)
    assert list(stream) == []
    with pytest.raises(sk.StateError, match="past the end of one pass over 120 rows"):
        stream.load_state_dict(state | {"position": 10**9})


@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_metrics_over_ranks_equal_those_of_one(clips, world_size):
    """A mean over one pass, from sums over what is valid."""

    def sums(rank, size):
        total = np.zeros(2)
        for batch in sk.Stream(clips, passes=1, crop=None, batch_size=9, rank=rank, world_size=size):
            energy = (batch.audio[:, 0] ** 2).sum(axis=1)
            total += (energy * batch.valid).sum(), batch.valid.sum()
        return total

    alone = sums(0, 1)
    np.testing.assert_allclose(sum(sums(rank, world_size) for rank in range(world_size)), alone, rtol=1e-6)
    assert alone[1] == 120
