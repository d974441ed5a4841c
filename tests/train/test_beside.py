"""Streams beside a loader's own: pairs are a function of the position, and a state knows beside what it was taken."""

import json
from itertools import islice

import numpy as np
import pytest
import torch

import shardkit as sk
from shardkit.core.errors import InputError, StateError
from shardkit.train import Loader, TorchBatch
from tests.train.stream_facts import facts

pytestmark = [
    pytest.mark.usefixtures("no_thread_left"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),  # Python 3.12: there are other threads
]


@pytest.fixture
def make_loader(make_stream):
    """A loader of the small dataset beside which another order of it is read, as noise."""

    def make(*, noise=None, loader=None, **options):
        shared = {name: options[name] for name in ("rank", "world_size", "batch_size", "views") if name in options}
        beside = {"noise": make_stream(**({"seed": 99, "crop": sk.RandomCrop(0.3)} | shared | (noise or {})))}
        return Loader(make_stream(**options), **({"device": "cpu", "beside": beside} | (loader or {})))

    return make


def pairs(batches):
    """What was drawn for each position, and beside it."""
    return [pair for batch in batches for pair in zip(facts([batch]), facts([batch.beside["noise"]]), strict=True)]


def test_each_batch_comes_with_that_of_the_same_positions(make_loader, make_stream):
    other = make_stream(seed=99, crop=sk.RandomCrop(0.3))
    for batch, plain, expected in zip(islice(make_loader(), 6), make_stream(), other, strict=False):
        found = batch.beside["noise"]
        assert isinstance(found, TorchBatch)
        assert facts([batch]) == facts([plain])
        assert facts([found]) == facts([expected])
        assert torch.equal(batch.positions, found.positions)
        assert (batch.global_batch_size, found.global_batch_size, found.beside) == (3, 3, {})


@pytest.mark.parametrize(("world_size", "workers"), [(2, 0), (3, 0), (2, 2)])
def test_any_number_of_ranks_gives_the_same_pairs(make_loader, world_size, workers):
    """Laws L1 and L2, of pairs."""
    whole = pairs(islice(make_loader(batch_size=12), 4))
    found = []
    for rank in range(world_size):
        options = {"rank": rank, "world_size": world_size, "batch_size": 12 // world_size}
        found += pairs(islice(make_loader(**options, loader={"workers": workers}), 4))
    assert sorted(found) == whole


@pytest.mark.parametrize("workers", [0, 2])
def test_after_a_resume_both_go_on_at_the_same_position(make_loader, workers):
    """Law L3, of pairs."""
    whole = pairs(islice(make_loader(), 9))
    loader = make_loader(loader={"workers": workers})
    head = pairs(islice(loader, 4))
    state = json.loads(json.dumps(loader.state_dict()))
    resumed = make_loader(loader={"workers": 2 - workers})
    resumed.load_state_dict(state)
    assert head + pairs(islice(resumed, 5)) == whole
    assert pairs(islice(loader, 5)) == whole[12:]


def test_one_pass_ends_where_it_does_though_what_is_beside_it_goes_on(make_loader):
    batches = list(make_loader(passes=1, batch_size=4, loader={"workers": 0}))
    assert len(batches) == 6
    assert not batches[-1].valid.all()
    assert all(batch.beside["noise"].valid.all() for batch in batches)


@pytest.mark.parametrize("shuffle", ["full", "block"])
def test_where_an_iteration_of_the_other_would_end_does_not_matter(make_loader, shuffle):
    expected = pairs(islice(make_loader(noise={"shuffle": shuffle}), 8))
    assert pairs(islice(make_loader(noise={"shuffle": shuffle, "epoch_samples": 6}), 8)) == expected
    epoch = make_loader(noise={"shuffle": shuffle}, epoch_samples=12)
    assert pairs(epoch) + pairs(epoch) == expected


def test_one_pass_may_go_beside_one_that_is_no_longer(make_loader):
    batches = list(make_loader(passes=1, batch_size=4, noise={"passes": 1}))
    assert sorted(key for batch in batches for key in batch.beside["noise"].keys if key) == sorted(
        key for batch in batches for key in batch.keys if key
    )
    with pytest.raises(InputError, match="'noise', ends after 6 batches, before the loader's; make it endless"):
        make_loader(batch_size=4, noise={"passes": 1})


def test_views_belong_row_to_row(make_loader):
    (batch,) = islice(make_loader(views=2), 1)
    assert torch.equal(batch.positions, batch.beside["noise"].positions)
    assert len(batch) == 6
    assert batch.global_batch_size == 3


def test_integers_of_either_become_floats(make_loader):
    (expected,) = islice(make_loader(), 1)
    (found,) = islice(make_loader(noise={"dtype": "int16"}), 1)
    assert torch.equal(found.beside["noise"].audio, expected.beside["noise"].audio)


def test_a_batch_moves_with_what_is_beside_it(make_loader):
    (batch,) = islice(make_loader(), 1)
    moved = batch.to("meta")
    assert {tensor.device.type for tensor in moved.tensors()} == {"meta"}
    assert len(list(moved.tensors())) == 2 * 8
    assert moved.beside["noise"].keys == batch.beside["noise"].keys


@pytest.mark.parametrize(
    ("options", "differs"),
    [
        ({"seed": 98}, "'noise' differs in seed"),
        ({"crop": sk.RandomCrop(0.2), "shuffle": "none"}, "'noise' differs in shuffle, crop"),
    ],
)
def test_a_state_is_refused_beside_another_stream(make_loader, options, differs):
    """Law L11."""
    loader = make_loader()
    list(islice(loader, 2))
    other = make_loader(noise=options)
    with pytest.raises(StateError, match=rf"beside other streams: {differs}; .*beside=\"new\"") as caught:
        other.load_state_dict(loader.state_dict())
    assert "\n" not in str(caught.value)
    assert other.stream.position == 0
    other.load_state_dict(loader.state_dict(), beside="new")
    assert other.stream.position == 6


def test_a_state_of_the_stream_alone_needs_a_word_and_a_stream_takes_that_of_a_loader(make_loader, make_stream):
    stream = make_stream()
    loader = make_loader()
    list(islice(loader, 2))
    stream.load_state_dict(loader.state_dict())
    assert stream.position == 6
    with pytest.raises(StateError, match="'noise' is not in it"):
        loader.load_state_dict(stream.state_dict())
    loader.load_state_dict(stream.state_dict(), beside="new")
    with pytest.raises(StateError, match="'noise' is not given"):
        Loader(make_stream(), device="cpu").load_state_dict(loader.state_dict())
    with pytest.raises(InputError, match='beside is True; give "new"'):
        loader.load_state_dict(stream.state_dict(), beside=True)


@pytest.mark.parametrize("state", [None, {}, {"position": "a"}])
def test_what_is_no_state_is_said_to_be_none(make_loader, state):
    with pytest.raises(StateError, match="not the state of a stream"):
        make_loader().load_state_dict(state)


def test_a_global_batch_may_change_of_all_at_once(make_loader):
    loader = make_loader()
    list(islice(loader, 2))
    other = make_loader(batch_size=6)
    other.load_state_dict(loader.state_dict(), global_batch_size="new")
    assert pairs(islice(other, 1)) == pairs(islice(loader, 2))


@pytest.mark.parametrize("num_beside", [0, 1, 4, 40])
def test_a_state_is_small_and_tells_however_many_there_are(make_stream, bursts, num_beside):
    def loader(seed):
        schedule = [(at, {"a": 0.2 + 0.01 * at, "b": 0.5}) for at in range(25)]  # as long as a state can hold
        sources = {"a": sk.open(bursts), "b": sk.open(bursts)}
        stream = sk.Stream(sources, weights=schedule, batch_size=3, rank=0, world_size=1)
        beside = {f"stream number {number}": make_stream(seed=seed + number) for number in range(num_beside)}
        return Loader(stream, device="cpu", beside=beside)

    one = loader(100)
    one.stream.advance(3_000_000_000)
    state = json.loads(json.dumps(one.state_dict()))
    assert isinstance(state["history"], list)
    assert len(json.dumps(state)) < 1024
    loader(100).load_state_dict(state)
    if num_beside:
        with pytest.raises(StateError, match="stream number 0"):
            loader(101).load_state_dict(state)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ({"batch_size": 4}, "rank 0 of 1 with batches of 4; the loader's is rank 0 of 1 with batches of 3"),
        ({"rank": 1, "world_size": 2}, "rank 1 of 2 with batches of 3; the loader's is rank 0 of 1"),
        ({"views": 2}, "batches of 3 of 2 views each; the loader's is rank 0 of 1 with batches of 3; make both"),
    ],
)
def test_streams_that_do_not_fit_together_are_refused(make_loader, noise, message):
    with pytest.raises(InputError, match=message):
        make_loader(noise=noise)


def test_what_is_no_stream_is_refused(make_stream):
    stream, noise = make_stream(), make_stream(seed=99)
    for beside, message in [
        ([noise], "beside is a list; give streams by name"),
        ({"noise": 1}, "beside 'noise' is a int; give a shardkit.Stream"),
        ({"noise": stream}, "beside 'noise' is given twice, or is what the loader reads"),
        ({"a": noise, "b": noise}, "beside 'a' is given twice"),
    ]:
        with pytest.raises(InputError, match=message):
            Loader(stream, device="cpu", beside=beside)


def test_features_may_be_made_of_both(make_loader):
    class Mix:
        takes_batch = True

        def __call__(self, batch):
            noise = batch.beside["noise"].audio
            audio = batch.audio.clone()
            audio[..., : noise.shape[-1]] += noise
            return TorchBatch(**({name: getattr(batch, name) for name in batch.__slots__} | {"audio": audio}))

    plain, mixed = make_loader(), make_loader(loader={"transform": Mix()})
    for before, after in zip(islice(plain, 3), islice(mixed, 3), strict=True):
        expected = before.audio.numpy().copy()
        expected[..., :2_400] += before.beside["noise"].audio.numpy()
        assert np.array_equal(after.audio, expected)
