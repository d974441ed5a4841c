"""The loader delivers the stream's sequence, knows what it delivered, and leaves no thread behind."""

import shutil
import subprocess
import sys
import threading
from itertools import islice
from multiprocessing import active_children

import pytest
import torch

from shardkit.core.errors import InputError, ShardkitError, StateError
from shardkit.nn import LogMel
from shardkit.stream.dataset import open_dataset
from shardkit.stream.stream import Stream
from shardkit.train import Loader
from tests.train.stream_facts import facts

pytestmark = [
    pytest.mark.usefixtures("no_thread_left"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),  # Python 3.12: there are other threads
]
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


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_deliver_the_same(make_stream, workers):
    loader = Loader(make_stream(), device="cpu", workers=workers)
    assert facts(take(loader, 4) + take(loader, NUM_BATCHES - 4)) == facts(take(make_stream(), NUM_BATCHES))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("num_delivered", [0, 1, 4])
def test_tail_after_resume_equals_uninterrupted_tail_though_others_ran_ahead(make_stream, num_delivered, workers):
    uninterrupted = facts(take(make_stream(), NUM_BATCHES))
    loader = Loader(make_stream(), device="cpu", prefetch=3, workers=workers)
    head = take(loader, num_delivered)
    state = loader.state_dict()
    assert state["position"] == num_delivered * 3
    for resumed in (Loader(make_stream(), device="cpu"), Loader(make_stream(), device="cpu", workers=3), make_stream()):
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


@pytest.mark.parametrize("workers", [0, 2, 7])
def test_one_pass_has_a_length_visits_each_row_once_and_begins_anew(bursts, make_stream, workers):
    loader = Loader(make_stream(passes=1, batch_size=4), device="cpu", workers=workers)
    first, second = list(loader), list(loader)
    assert len(first) == len(loader) == 6
    keys = [key for batch in first for key, valid in zip(batch.keys, batch.valid.tolist(), strict=True) if valid]
    assert sorted(keys) == sorted(open_dataset(bursts).keys())
    assert facts(first) == facts(second)
    with pytest.raises(TypeError, match="endless"):
        len(Loader(make_stream(), device="cpu"))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("num_taken", [2, 6])
def test_a_pass_begins_anew_wherever_the_last_one_was_left(make_stream, num_taken, workers):
    loader = Loader(make_stream(passes=1, batch_size=4), device="cpu", workers=workers)
    whole = facts(make_stream(passes=1, batch_size=4))
    take(loader, num_taken)  # the end of the pass is never asked for
    assert loader.state_dict()["position"] == num_taken * 4
    assert facts(loader) == whole


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("num_delivered", [2, 6])
def test_a_resumed_pass_has_what_was_left_of_it_and_the_next_is_whole(make_stream, num_delivered, workers):
    def loader():
        return Loader(make_stream(passes=1, batch_size=4), device="cpu", workers=workers)

    first, resumed = loader(), loader()
    head = take(first, num_delivered)
    for other in (resumed, first):
        other.load_state_dict(first.state_dict())
        whole = facts(make_stream(passes=1, batch_size=4))
        assert facts(head) + facts(other) == whole
        assert facts(other) == whole


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


def test_a_function_will_do_as_a_transform(make_stream):
    loader = Loader(make_stream(), device="cpu", transform=lambda audio: audio.abs().mean(dim=-1))
    for batch in take(loader, 2):
        assert torch.equal(batch.features, batch.audio.abs().mean(dim=-1))


@pytest.mark.parametrize("workers", [0, 2])
def test_what_the_stream_raises_is_raised_in_its_place(bursts, tmp_path, workers):
    damaged = _with_a_broken_shard(bursts, tmp_path / "damaged")

    def stream():
        options = {"batch_size": 1, "shuffle": "none", "seed": 7, "passes": 1, "max_failures": 0}
        return Stream(open_dataset(damaged), rank=0, world_size=1, **options)

    good, message = until_it_breaks(stream())
    loader = Loader(stream(), device="cpu", workers=workers)
    delivered, found = until_it_breaks(loader)
    assert delivered == good
    assert message == found
    assert not active_children()
    assert loader.state_dict()["position"] == len(good) > 0


@pytest.mark.parametrize("workers", [0, 2])
def test_break_and_exceptions_end_the_thread_and_the_workers(make_stream, workers):
    loader = Loader(make_stream(), device="cpu", workers=workers)
    for _ in loader:
        assert len(active_children()) == workers
        break
    assert not _threads()
    assert not active_children()
    with pytest.raises(ZeroDivisionError):
        fail_in_the_loop(loader)
    assert not _threads()
    assert not active_children()


def test_a_worker_that_is_killed_is_an_error_and_takes_the_others_along(make_stream):
    batches = iter(Loader(make_stream(), device="cpu", workers=2))
    next(batches)
    active_children()[0].kill()
    with pytest.raises(ShardkitError, match="SIGKILL"):
        take(batches, 100)
    assert not active_children()


@pytest.mark.parametrize("workers", [0, 2])
def test_dropping_an_iterator_ends_the_thread_started_or_not(make_stream, workers):
    iterator = iter(Loader(make_stream(), device="cpu", workers=workers))
    next(iterator)
    assert _threads()
    del iterator
    assert not _threads()
    assert not active_children()
    iter(Loader(make_stream(), device="cpu", workers=workers))
    assert not _threads()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_program_may_end_in_the_middle_of_an_iteration(bursts, workers):
    code = f"""
from shardkit.stream.dataset import open_dataset
from shardkit.stream.stream import Stream
from shardkit.train import Loader
stream = Stream(open_dataset({str(bursts)!r}), batch_size=2, rank=0, world_size=1)
batches = iter(Loader(stream, device="cpu", workers={workers}))
print(len(next(batches)))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "2\n", "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stream": None}, "stream is a NoneType; give a shardkit.Stream"),
        ({"prefetch": 0}, "prefetch is 0; it must be at least 1"),
        ({"prefetch": "a"}, "prefetch is 'a'; it must be a whole number"),
        ({"prefetch": 1.5}, "prefetch is 1.5; it must be a whole number"),
        ({"workers": -1}, "workers is -1; it must be at least 0"),
        ({"workers": True}, "workers is True; it must be a whole number"),
        ({"device": "graphics"}, "choose cpu, cuda"),
        ({"device": 1.5}, "choose cpu, cuda"),
        ({"transform": "log-mel"}, "transform is a str; give a module or a function"),
        ({"transform": LogMel(sample_rate=16_000)}, "transform is a LogMel for 16000 Hz, .* delivers 8000 Hz"),
    ],
)
def test_options_that_can_not_be_are_refused_in_one_line(make_stream, options, message):
    with pytest.raises(InputError, match=message) as caught:
        Loader(**({"stream": make_stream(), "device": "cpu"} | options))
    assert "\n" not in str(caught.value)


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


@pytest.mark.parametrize("workers", [0, 2])
def test_each_iteration_is_an_epoch_and_the_next_goes_on(make_stream, workers):
    expected = facts(islice(make_stream(), 12))
    loader = Loader(make_stream(epoch_samples=12), device="cpu", workers=workers)
    assert len(loader) == 4
    batches = [batch for _ in range(2) for batch in loader] + list(islice(loader, 2))
    state = loader.state_dict()
    resumed = Loader(make_stream(epoch_samples=12), device="cpu", workers=2 - workers)
    resumed.load_state_dict(state)
    assert facts(batches) + facts(resumed) == expected


def test_a_loader_takes_new_weights_and_global_batches_as_its_stream_does(make_stream):
    state = Loader(make_stream(), device="cpu").state_dict()
    loader = Loader(make_stream(batch_size=5), device="cpu")
    with pytest.raises(StateError, match="global_batch_size"):
        loader.load_state_dict(state)
    loader.load_state_dict(state, global_batch_size="new")
