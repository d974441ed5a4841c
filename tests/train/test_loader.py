"""The loader delivers the stream's sequence, knows what it delivered, and leaves no thread behind."""

import shutil
import subprocess
import sys
import threading
from itertools import islice

import pytest
import torch

from shardkit.core.errors import InputError, ShardkitError, StateError
from shardkit.nn import LogMel
from shardkit.stream.dataset import open_dataset
from shardkit.stream.stream import Stream
from shardkit.train import Loader
from tests.train.stream_facts import facts

pytestmark = pytest.mark.usefixtures("no_thread_left")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

NUM_BATCHES = 9


def take(batches, num_batches):
    """The first batches, and the iteration closed."""
    return list(islice(batches, num_batches))


def log_mel():
    return LogMel(sample_rate=8_000, n_fft=256, hop_length=80, n_mels=20)


@pytest.mark.parametrize("prefetch", [1, 4])
def test_delivers_what_the_stream_yields(make_stream, prefetch):
    loader = Loader(make_stream(), device="cpu", prefetch=prefetch)
    for found, expected in zip(take(loader, NUM_BATCHES), take(make_stream(), NUM_BATCHES), strict=True):
        assert facts([found]) == facts([expected])
        for name in ("lengths", "labels", "valid", "passes"):
            assert getattr(found, name).numpy().tolist() == getattr(expected, name).tolist()
        assert found.masks["speech"].numpy().tolist() == expected.masks["speech"].tolist()
        assert (found.sources, found.metadata, found.position) == (
            expected.sources,
            expected.metadata,
            expected.position,
        )
        assert found.features is None


@pytest.mark.parametrize("num_delivered", [0, 1, 4])
def test_tail_after_resume_equals_uninterrupted_tail_though_the_thread_ran_ahead(make_stream, num_delivered):
    uninterrupted = facts(take(make_stream(), NUM_BATCHES))
    loader = Loader(make_stream(), device="cpu", prefetch=3)
    head = take(loader, num_delivered)
    state = loader.state_dict()
    assert state["position"] == num_delivered * 3
    for resumed in (Loader(make_stream(), device="cpu"), make_stream()):
        resumed.load_state_dict(state)
        assert facts(head) + facts(take(resumed, NUM_BATCHES - num_delivered)) == uninterrupted


def test_a_new_iteration_goes_on_where_the_last_one_stopped(make_stream):
    loader = Loader(make_stream(), device="cpu")
    found = take(loader, 2) + take(loader, 3) + take(loader, NUM_BATCHES - 5)
    assert facts(found) == facts(take(make_stream(), NUM_BATCHES))


def test_the_state_of_another_stream_is_refused(make_stream):
    loader = Loader(make_stream(), device="cpu")
    with pytest.raises(StateError, match="seed"):
        loader.load_state_dict(make_stream(seed=8).state_dict())


def test_one_pass_has_a_length_visits_each_row_once_and_begins_anew(bursts, make_stream):
    loader = Loader(make_stream(passes=1, batch_size=4), device="cpu")
    first, second = list(loader), list(loader)
    assert len(first) == len(loader) == 6
    keys = [key for batch in first for key, valid in zip(batch.keys, batch.valid.tolist(), strict=True) if valid]
    assert sorted(keys) == sorted(open_dataset(bursts).keys())
    assert facts(first) == facts(second)
    with pytest.raises(TypeError, match="endless"):
        len(Loader(make_stream(), device="cpu"))


def test_features_are_the_transform_of_the_audio_one_frame_a_mask_frame(make_stream):
    transform = log_mel().train()
    loader = Loader(make_stream(), device="cpu", transform=transform)
    for batch in take(loader, 2):
        assert torch.equal(batch.features, log_mel()(batch.audio))
        assert batch.features.shape[-1] == batch.masks["speech"].shape[-1]
    assert not transform.training


def test_the_transform_leaves_no_graph_and_its_result_may_enter_one(make_stream):
    weight = torch.nn.Conv1d(1, 2, 1)
    (batch,) = take(Loader(make_stream(), device="cpu", transform=weight), 1)
    assert not batch.features.requires_grad
    (batch.features * torch.ones(1, requires_grad=True)).sum().backward()


def test_a_failing_transform_is_raised_and_its_batch_not_counted(make_stream):
    loader = Loader(make_stream(), device="cpu", transform=torch.nn.Conv1d(5, 1, 1))
    with pytest.raises(RuntimeError, match="channels"):
        next(iter(loader))
    assert loader.state_dict()["position"] == 0


def test_what_the_stream_raises_is_raised_in_its_place(bursts, tmp_path, make_stream):
    damaged = _with_a_broken_shard(bursts, tmp_path / "damaged")

    def stream():
        options = {"batch_size": 1, "shuffle": "none", "seed": 7, "passes": 1, "max_failures": 0}
        return Stream(open_dataset(damaged), rank=0, world_size=1, **options)

    good, message = until_it_breaks(stream())
    loader = Loader(stream(), device="cpu")
    assert until_it_breaks(loader) == (good, message)
    assert loader.state_dict()["position"] == len(good) > 0


def test_break_and_exceptions_end_the_thread(make_stream):
    loader = Loader(make_stream(), device="cpu")
    for _ in loader:
        break
    assert not _threads()
    with pytest.raises(ZeroDivisionError):
        fail_in_the_loop(loader)
    assert not _threads()


def test_dropping_an_iterator_ends_the_thread_started_or_not(make_stream):
    iterator = iter(Loader(make_stream(), device="cpu"))
    next(iterator)
    assert _threads()
    del iterator
    assert not _threads()
    iter(Loader(make_stream(), device="cpu"))
    assert not _threads()


def test_a_program_may_end_in_the_middle_of_an_iteration(bursts):
    code = f"""
from shardkit.stream.dataset import open_dataset
from shardkit.stream.stream import Stream
from shardkit.train import Loader
batches = iter(Loader(Stream(open_dataset({str(bursts)!r}), batch_size=2, rank=0, world_size=1), device="cpu"))
print(len(next(batches)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "2\n", "")


def test_options_that_can_not_be_are_refused(make_stream):
    with pytest.raises(InputError, match="prefetch is 0"):
        Loader(make_stream(), prefetch=0)
    with pytest.raises(InputError, match="choose cpu, cuda"):
        Loader(make_stream(), device="graphics")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_cuda_is_refused_and_the_default_is_the_cpu(make_stream):
    with pytest.raises(InputError, match="choose device='cpu'"):
        Loader(make_stream(), device="cuda")
    assert Loader(make_stream()).device == torch.device("cpu")


@needs_gpu
def test_the_gpu_gets_the_same_bits_and_computes_features_there(make_stream):
    loader = Loader(make_stream(), transform=log_mel())
    assert loader.device == torch.device("cuda", torch.cuda.current_device())
    expected = take(make_stream(), 40)
    busy = torch.randn(2048, 2048, device="cuda")
    sums = []
    for batch, reference in zip(islice(loader, 40), expected, strict=True):
        assert all(tensor.is_cuda for tensor in batch.tensors())
        for _ in range(10):  # keeps the consumer's stream behind, so that memory reused too early would show
            busy = torch.tanh(busy @ busy)
        sums.append((batch.audio.clone(), batch.features.clone(), reference))
    for audio, features, reference in sums:
        assert audio.cpu().numpy().tobytes() == reference.audio.tobytes()
        torch.testing.assert_close(features.cpu(), log_mel()(audio.cpu()), rtol=0, atol=1e-2)


@needs_gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_another_gpu_than_the_current_one_can_be_asked_for(make_stream):
    (batch,) = take(Loader(make_stream(), device="cuda:1"), 1)
    assert {tensor.device.index for tensor in batch.tensors()} == {1}


def until_it_breaks(batches):
    """The keys of the batches before an error, and what the error says."""
    keys = []
    try:
        for batch in batches:
            keys.extend(batch.keys)
    except ShardkitError as err:
        return keys, str(err)
    return keys, ""


def fail_in_the_loop(batches):
    for batch in batches:
        batch.position / 0


def _threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("shardkit-loader")]


def _with_a_broken_shard(dataset, copy):
    """A copy of a dataset, its last shard overwritten with zeros."""
    shutil.copytree(dataset, copy)
    tar = sorted((copy / "train").glob("*.tar"))[-1]
    tar.write_bytes(bytes(tar.stat().st_size))
    return copy
