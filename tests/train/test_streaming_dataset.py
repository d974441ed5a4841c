"""Through DataLoader, with and without worker processes, the stream's own sequence."""

import json
from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader

from shardkit.core.errors import InputError, StateError
from shardkit.stream.dataset import open_dataset
from shardkit.train import StreamingDataset
from tests.train.stream_facts import facts

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),  # Python 3.12: there are other threads
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),  # more workers than cores
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),  # torchdata 0.11 beside torch 2.14
]

NUM_BATCHES = 8


def loader_of(stream, num_workers, method="fork", **options):
    context = None if num_workers == 0 else method
    return DataLoader(
        StreamingDataset(stream), batch_size=None, num_workers=num_workers, multiprocessing_context=context, **options
    )


@pytest.mark.parametrize(("num_workers", "method"), [(0, "fork"), (1, "fork"), (2, "fork"), (3, "fork"), (2, "spawn")])
def test_the_sequence_is_the_streams_for_any_number_of_workers(make_stream, num_workers, method):
    expected = facts(islice(make_stream(), NUM_BATCHES))
    assert facts(islice(loader_of(make_stream(), num_workers, method), NUM_BATCHES)) == expected


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("rank", [0, 1])
def test_workers_share_the_batches_of_their_rank_only(make_stream, num_workers, rank):
    def stream():
        return make_stream(rank=rank, world_size=2)

    assert facts(islice(loader_of(stream(), num_workers), 5)) == facts(islice(stream(), 5))


@pytest.mark.parametrize("num_workers", [0, 2, 7])
def test_one_pass_ends_for_all_workers_and_visits_each_row_once(bursts, make_stream, num_workers):
    loader = loader_of(make_stream(passes=1, batch_size=4), num_workers)
    assert len(loader) == 6
    for _ in range(2):
        batches = list(loader)
        assert len(batches) == 6
        keys = [key for batch in batches for key, valid in zip(batch.keys, batch.valid.tolist(), strict=True) if valid]
        assert sorted(keys) == sorted(open_dataset(bursts).keys())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_state_after_the_last_batch_used_goes_on_with_any_number_of_workers(make_stream, num_workers):
    uninterrupted = facts(islice(make_stream(), NUM_BATCHES))
    stream = make_stream()
    head = list(islice(loader_of(stream, num_workers), 3))
    state = stream.state_at(head[-1].position)
    for other_workers in (0, 2):
        resumed = loader_of(make_stream(), other_workers)
        resumed.dataset.load_state_dict(state)
        assert facts(head) + facts(islice(resumed, NUM_BATCHES - 3)) == uninterrupted


def test_without_workers_the_dataset_knows_what_it_delivered(make_stream):
    loader = loader_of(make_stream(), 0)
    head = list(islice(loader, 3))
    assert loader.dataset.state_dict() == make_stream().state_at(head[-1].position)
    assert facts(head) + facts(islice(loader, 2)) == facts(islice(make_stream(), 5))


def test_with_workers_every_iteration_begins_where_the_stream_stood(make_stream):
    loader = loader_of(make_stream(), 2)
    assert facts(islice(loader, 3)) == facts(islice(loader, 3)) == facts(islice(make_stream(), 3))
    persistent = loader_of(make_stream(), 2, persistent_workers=True)
    assert facts(islice(persistent, 3)) == facts(islice(persistent, 3)) == facts(islice(make_stream(), 3))


@pytest.fixture
def stateful_of():
    """A StatefulDataLoader over a stream."""
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader

    def make(stream, num_workers):
        context = "fork" if num_workers else None
        return stateful(
            StreamingDataset(stream), batch_size=None, num_workers=num_workers, multiprocessing_context=context
        )

    return make


@pytest.mark.parametrize("num_workers", [0, 1, 2, 3])
@pytest.mark.parametrize("num_delivered", [0, 1, 2, 5])
def test_stateful_data_loader_goes_on_where_it_was(make_stream, stateful_of, num_workers, num_delivered):
    uninterrupted = facts(islice(make_stream(), NUM_BATCHES))
    first = stateful_of(make_stream(), num_workers)
    head = list(islice(first, num_delivered))
    state = json.loads(json.dumps(first.state_dict()))
    resumed = stateful_of(make_stream(), num_workers)
    resumed.load_state_dict(state)
    assert facts(head) + facts(islice(resumed, NUM_BATCHES - num_delivered)) == uninterrupted


def test_with_another_number_of_workers_torchdata_refuses_its_state_and_the_streams_own_serves(
    make_stream, stateful_of
):
    uninterrupted = facts(islice(make_stream(), NUM_BATCHES))
    first = stateful_of(make_stream(), 2)
    head = list(islice(first, 3))
    for num_workers in (0, 3):
        resumed = stateful_of(make_stream(), num_workers)
        resumed.load_state_dict(first.state_dict())
        with pytest.raises(AssertionError):
            next(iter(resumed))
        stream = make_stream()
        stream.load_state_dict(stream.state_at(head[-1].position))
        assert facts(head) + facts(islice(stateful_of(stream, num_workers), NUM_BATCHES - 3)) == uninterrupted


def test_with_workers_whoever_says_how_far_he_came_goes_on_there(make_stream):
    stream = make_stream()
    loader = loader_of(stream, 2)
    found = []
    for _ in range(2):
        for batch in islice(loader, 3):
            found.append(batch)
            stream.advance(batch.position)
    assert facts(found) == facts(islice(make_stream(), 6))


@pytest.mark.parametrize("num_taken", [2, 6])
def test_without_workers_too_a_pass_begins_anew_wherever_the_last_one_was_left(make_stream, num_taken):
    loader = loader_of(make_stream(passes=1, batch_size=4), 0)
    list(islice(loader, num_taken))
    assert facts(loader) == facts(make_stream(passes=1, batch_size=4))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_data_loader_pins_every_tensor(make_stream, num_workers):
    for batch in islice(loader_of(make_stream(), num_workers, "spawn", pin_memory=True), 2):
        assert all(tensor.is_pinned() for tensor in batch.tensors())


def test_the_state_of_another_stream_is_refused(make_stream):
    with pytest.raises(StateError, match="seed"):
        StreamingDataset(make_stream()).load_state_dict(make_stream(seed=8).state_dict())


def test_what_is_no_stream_is_refused(bursts):
    with pytest.raises(InputError, match="stream is a NoneType"):
        StreamingDataset(None)
    with pytest.raises(InputError, match="stream is a Dataset; give a shardkit.Stream"):
        StreamingDataset(open_dataset(bursts))


def test_an_endless_stream_has_no_length(make_stream):
    with pytest.raises(TypeError, match="endless"):
        len(StreamingDataset(make_stream()))


# Epochs of an endless stream


@pytest.mark.parametrize("num_workers", [0, 1, 2, 3])
def test_workers_end_together_where_the_epoch_ends(make_stream, num_workers):
    """Five batches an epoch, which no number of workers above one divides."""
    expected = facts(islice(make_stream(), 10))
    stream = make_stream(epoch_samples=15)
    loader = loader_of(stream, num_workers)
    assert len(loader) == 5
    for epoch in range(2):
        batches = list(loader)
        assert facts(batches) == expected[15 * epoch : 15 * (epoch + 1)]
        stream.advance(batches[-1].position)


@pytest.mark.parametrize("num_workers", [0, 2, 3])
@pytest.mark.parametrize("num_delivered", [1, 2, 4])
def test_stateful_data_loader_ends_an_epoch_that_was_begun_before(make_stream, num_workers, num_delivered):
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader
    expected = facts(islice(make_stream(), 5))

    def loader():
        context = "fork" if num_workers else None
        dataset = StreamingDataset(make_stream(epoch_samples=15))
        return stateful(dataset, batch_size=None, num_workers=num_workers, multiprocessing_context=context)

    first = loader()
    head = list(islice(first, num_delivered))
    resumed = loader()
    resumed.load_state_dict(first.state_dict())
    assert facts(head) + facts(resumed) == expected
