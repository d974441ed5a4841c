"""A batch as tensors: the same memory, moved and pinned as one."""

import pickle

import pytest
import torch

from shardkit.train import TorchBatch

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def pair(make_stream):
    """A NumPy batch and the same as tensors."""
    batches = iter(make_stream())
    batch = next(batches)
    batches.close()
    return batch, TorchBatch.from_numpy(batch)


def test_tensors_share_the_memory_of_the_arrays(pair):
    batch, tensors = pair
    names = ("audio", "lengths", "positions", "passes", "starts", "labels", "valid")
    assert [getattr(tensors, name).data_ptr() for name in names] == [getattr(batch, name).ctypes.data for name in names]
    assert tensors.masks["speech"].data_ptr() == batch.masks["speech"].ctypes.data
    assert len(tensors) == len(batch)


def test_every_tensor_moves_and_the_rest_stays(pair):
    _, batch = pair
    moved = batch.to("meta")
    assert {tensor.device.type for tensor in moved.tensors()} == {"meta"}
    assert len(list(moved.tensors())) == len(list(batch.tensors())) == 8
    assert (moved.keys, moved.metadata, moved.position) == (batch.keys, batch.metadata, batch.position)


def test_to_where_it_is_copies_nothing(pair):
    _, batch = pair
    assert batch.to("cpu").audio.data_ptr() == batch.audio.data_ptr()


def test_survives_pickling(pair):
    _, batch = pair
    copy = pickle.loads(pickle.dumps(batch))  # noqa: S301  our own bytes, as DataLoader's workers send them
    assert torch.equal(copy.audio, batch.audio)
    assert copy.keys == batch.keys


@needs_gpu
def test_pins_every_tensor(pair):
    _, batch = pair
    assert all(tensor.is_pinned() for tensor in batch.pin_memory().tensors())


def test_the_loudness_of_crops_comes_along_as_a_tensor(make_stream):
    batch = TorchBatch.from_numpy(next(iter(make_stream(loudness=True))))
    assert batch.loudness is not None
    assert batch.loudness.dtype == torch.float32
    assert batch.loudness.shape == (3,)
    assert torch.isfinite(batch.loudness).all()
    assert batch.to("meta").loudness.device.type == "meta"
    assert TorchBatch.from_numpy(next(iter(make_stream()))).loudness is None
