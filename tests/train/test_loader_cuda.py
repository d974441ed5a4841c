"""The loader on CUDA: nothing waits for the GPU, memory serves again, and what is delivered is what the CPU gives."""

from contextlib import contextmanager
from itertools import islice

import pytest
import torch

from shardkit.nn import LogMel
from shardkit.stream.stream import Stream
from shardkit.train import Loader
from tests.train.test_loader_transform import Louder

pytestmark = [
    pytest.mark.usefixtures("no_thread_left"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),  # Python 3.12: there are other threads
]
WAYS = [
    {},
    {"workers": 2},
    {"sample_rate": 16_000},
    {"transform": Louder()},
    {"transform": LogMel(sample_rate=8_000, n_fft=256, hop_length=80, n_mels=20)},
]


@contextmanager
def no_synchronisation():
    """Fail whatever waits for the GPU meanwhile, in any thread."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


class WatchedStream(Stream):
    """A stream that notes where its batches lie."""

    def batches(self, position, **options):
        for batch in super().batches(position, **options):
            self.places.append((batch.audio.ctypes.data, torch.from_numpy(batch.audio).is_pinned()))
            yield batch


def busy(matrix):
    """Keep the current stream behind."""
    for _ in range(10):
        matrix = torch.tanh(matrix @ matrix)
    return matrix


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_nothing_synchronises_and_all_values_are_those_of_the_cpu(make_stream, way, dtype):
    def loader(device):
        beside = {"noise": make_stream(seed=3, dtype=dtype)}
        return Loader(make_stream(dtype=dtype), **{"beside": beside, "device": device} | way)

    on_gpu, matrix, kept = loader("cuda"), torch.randn(2048, 2048, device="cuda"), []
    with no_synchronisation():
        for batch in islice(on_gpu, 40):
            matrix = busy(matrix)  # so that memory that is used again too early would show
            features = batch.features.clone() if batch.features is not None else None
            kept.append((batch.audio.clone(), batch.beside["noise"].audio.clone(), features, batch.lengths.clone()))
        on_gpu.stats()
    for found, plain in zip(kept, loader("cpu"), strict=False):
        expected = (plain.audio, plain.beside["noise"].audio, plain.features, plain.lengths)
        for one, other in zip(found, expected, strict=True):
            if other is not None:
                torch.testing.assert_close(one.cpu(), other, rtol=1e-3, atol=1e-3 if one is not found[2] else 1e-2)


def test_audio_is_decoded_into_page_locked_memory_that_serves_again(make_stream):
    stream = make_stream(batch_size=16)
    stream.__class__, stream.places = WatchedStream, []
    for batch in islice(Loader(stream, device="cuda"), 60):
        assert batch.audio.is_cuda
    assert all(pinned for _, pinned in stream.places)
    assert len({place for place, _ in stream.places}) < 20


def test_a_batch_is_whole_though_its_iteration_was_broken_off_and_memory_taken_again(make_stream):
    loader, matrix = Loader(make_stream(batch_size=64), device="cuda"), torch.randn(2048, 2048, device="cuda")
    expected = iter(make_stream(batch_size=64))
    for _ in range(20):
        matrix = busy(matrix)
        (batch,) = islice(loader, 1)
        assert batch.audio.cpu().numpy().tobytes() == next(expected).audio.tobytes()


def test_stats_tell_how_long_the_gpu_waits(make_stream):
    loader, matrix = Loader(make_stream(), device="cuda"), torch.randn(4096, 4096, device="cuda")
    for _ in islice(loader, 20):
        matrix = busy(matrix)
    torch.cuda.synchronize()
    stats = loader.stats()
    assert stats["device_used_s"] > 0.0
    assert stats["device_waiting_share"] < 0.5
    assert Loader(make_stream(), device="cpu").stats()["device_waiting_share"] is None


def test_the_consumer_may_use_a_stream_of_its_own(make_stream):
    side, sums = torch.cuda.Stream(), []
    with torch.cuda.stream(side):
        for batch in islice(Loader(make_stream(), device="cuda", transform=Louder()), 20):
            sums.append(batch.features.sum())
    side.synchronize()
    expected = [batch.features.sum() for batch in islice(Loader(make_stream(), device="cpu", transform=Louder()), 20)]
    torch.testing.assert_close(torch.stack(sums).cpu(), torch.stack(expected))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("way", WAYS)
def test_another_gpu_than_the_current_one_gets_all_and_this_one_nothing(make_stream, way):
    before = torch.cuda.memory_allocated(0)
    for batch in islice(Loader(make_stream(dtype="int16"), device="cuda:1", **way), 10):
        assert {tensor.device.index for tensor in batch.tensors()} == {1}
    assert torch.cuda.memory_allocated(0) == before
    assert torch.cuda.current_device() == 0


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_loaders_may_fill_two_gpus_at_once(make_stream):
    loaders = [Loader(make_stream(), device=f"cuda:{number}", transform=Louder()) for number in range(2)]
    for first, second in islice(zip(*loaders, strict=True), 20):
        torch.testing.assert_close(first.features.cpu(), second.features.cpu())
