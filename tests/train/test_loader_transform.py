"""What a loader makes of batches: ahead of the consumer, also at another rate, and with errors in their place."""

import dataclasses
import subprocess
import sys
import threading
import time
from itertools import islice

import pytest
import torch
from torch import nn

import shardkit as sk
from shardkit.core.errors import InputError
from shardkit.nn import LogMel
from shardkit.nn.resample import Resample
from shardkit.train import Loader
from tests.stream import scenes
from tests.train.conftest import MASK_HOP
from tests.train.stream_facts import facts

pytestmark = [
    pytest.mark.usefixtures("no_thread_left"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),  # Python 3.12: there are other threads
]


class Louder(nn.Module):
    """An augmentation as simple as can be: gain by position, and features of what came of it."""

    takes_batch = True
    sample_rate = 8_000

    def forward(self, batch):
        audio = batch.audio * (1 + batch.positions % 5)[:, None, None]
        return dataclasses.replace(batch, audio=audio, features=audio.abs().amax(dim=-1))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_transform_of_batches_gets_and_returns_whole_ones(make_stream, workers):
    loader = Loader(make_stream(), device="cpu", transform=Louder(), workers=workers)
    for found, plain in zip(islice(loader, 5), Loader(make_stream(), device="cpu"), strict=False):
        expected = Louder()(plain)
        assert torch.equal(found.audio, expected.audio)
        assert torch.equal(found.features, expected.features)
        assert (found.keys, found.position, found.global_batch_size) == (plain.keys, plain.position, 3)


def test_batches_are_made_ahead_in_order_and_no_more_than_may_lie_ready(make_stream):
    made = []

    def note(audio):
        made.append((threading.current_thread().name, torch.is_grad_enabled()))
        return audio.sum()

    for number, _ in enumerate(islice(Loader(make_stream(), device="cpu", transform=note, prefetch=3), 6), 1):
        limit = time.monotonic() + 10
        while len(made) < number + 3 and time.monotonic() < limit:
            time.sleep(0.005)
        time.sleep(0.02)
        assert len(made) == number + 3
    assert set(made) == {("shardkit-loader", False)}


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_the_transform_is_raised_in_its_place_and_says_where(make_stream, workers):
    def fail(audio):
        if torch.equal(audio, third.audio):
            raise ZeroDivisionError("no level")
        return audio.mean()

    *_, third = islice(Loader(make_stream(), device="cpu"), 3)
    loader = Loader(make_stream(), device="cpu", transform=fail, workers=workers, prefetch=4)
    delivered = []
    with pytest.raises(ZeroDivisionError, match="no level") as caught:
        for batch in loader:
            delivered.append(batch.position)
    assert delivered == [3, 6]
    assert caught.value.__notes__ == ["raised by the loader's transform, of the batch of positions [6, 9)"]
    assert loader.state_dict()["position"] == 6


def test_a_transform_of_batches_that_returns_none_is_told_what_to_return(make_stream):
    transform = nn.Identity()
    transform.takes_batch = True
    transform.forward = lambda batch: batch.audio
    with pytest.raises(InputError, match="Identity takes a batch but returned a Tensor; return the batch with"):
        next(iter(Loader(make_stream(), device="cpu", transform=transform)))


def test_autocast_of_the_consumer_does_not_reach_into_features(make_stream):
    loader = Loader(make_stream(), device="cpu", transform=nn.Linear(4_000, 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (batch,) = islice(loader, 1)
        assert loader.transform(batch.audio).dtype == torch.bfloat16
    assert batch.features.dtype == torch.float32


# --- another rate


@pytest.mark.parametrize("dtype", ["float32", "int16"])
@pytest.mark.parametrize(("rate", "workers"), [(16_000, 0), (6_000, 2)])
def test_audio_at_another_rate_is_that_of_the_stream_resampled_and_its_end_silent(make_stream, rate, workers, dtype):
    stream = {"mask_hop": None, "crop": None, "dtype": dtype}
    loader = Loader(make_stream(**stream), device="cpu", sample_rate=rate, workers=workers)
    assert loader.sample_rate == rate
    for found, plain in zip(islice(loader, 4), make_stream(**stream | {"dtype": "float32"}), strict=False):
        assert found.sample_rate == rate
        assert found.lengths.tolist() == [-(-length * rate // 8_000) for length in plain.lengths.tolist()]
        whole = Resample(8_000, rate)(torch.from_numpy(plain.audio))
        assert found.audio.shape == whole.shape
        for row, length in enumerate(found.lengths.tolist()):
            torch.testing.assert_close(found.audio[row, :, :length], whole[row, :, :length])
            assert not found.audio[row, :, length:].any()


@pytest.mark.parametrize("rate", [16_000, 6_000, 8_000])
def test_one_timebase_remains(make_stream, rate):
    """Law L7: frames of masks are those of features, which their hop at the new rate tells."""
    hop = MASK_HOP * rate // 8_000
    log_mel = LogMel(sample_rate=rate, n_fft=256, hop_length=hop, n_mels=20)
    crop = sk.RandomCrop(0.4987)  # no whole number of frames
    loader = Loader(make_stream(crop=crop), device="cpu", sample_rate=rate, transform=log_mel)
    for found, plain in zip(islice(loader, 4), make_stream(crop=crop), strict=False):
        assert found.masks["speech"].numpy().tolist() == plain.masks["speech"].tolist()
        assert found.features.shape[-1] == found.masks["speech"].shape[-1]
        quiet = found.masks["speech"] == 0
        energy = found.audio[:, 0].square()
        frames = nn.functional.pad(energy, (0, -energy.shape[-1] % hop)).unflatten(-1, (-1, hop)).mean(dim=-1)
        assert frames[~quiet].mean() > 100 * frames[quiet].mean()  # bursts are where the masks say


def test_audio_fields_are_resampled_too_and_other_fields_stay(tmp_path):
    dataset = scenes.pack_scenes(tmp_path)
    options = {"fields": ["stem", "frames"], "crop": sk.RandomCrop(0.5), "sample_rate": scenes.RATE, "batch_size": 8}
    loader = Loader(sk.Stream(sk.open(dataset), **options), device="cpu", sample_rate=scenes.RATE // 2)
    for found, plain in zip(islice(loader, 2), sk.Stream(sk.open(dataset), **options), strict=False):
        expected = Resample(scenes.RATE, scenes.RATE // 2)(torch.from_numpy(plain.fields["stem"]))
        assert found.fields["stem"].shape == found.audio.shape
        inside = torch.arange(expected.shape[-1]) < found.lengths[:, None, None]
        torch.testing.assert_close(found.fields["stem"], expected * inside)
        assert torch.equal(found.fields["frames"], torch.from_numpy(plain.fields["frames"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rate": 11_025}, "sample_rate=11025: mask_hop=80 of the stream, at 8000 Hz, .* a multiple of 320"),
        ({"sample_rate": 0}, "sample_rate is 0; it must be at least 1"),
        ({"sample_rate": 16_000, "transform": LogMel(sample_rate=8_000)}, "for 8000 Hz, but the loader delivers 16000"),
    ],
)
def test_rates_that_can_not_be_are_refused_in_one_line(make_stream, options, message):
    with pytest.raises(InputError, match=message) as caught:
        Loader(make_stream(), device="cpu", **options)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="mask_hop=80 of the stream 'noise' beside it, at 8000 Hz"):
        beside = {"noise": make_stream(seed=1)}
        Loader(make_stream(mask_hop=None), device="cpu", sample_rate=11_025, beside=beside)


# --- integers on the CPU


def test_floats_of_integers_take_memory_that_is_used_again_unless_it_is_kept(make_stream):
    stream = {"dtype": "int16", "batch_size": 16}
    places = {batch.audio.data_ptr() for batch in islice(Loader(make_stream(**stream), device="cpu"), 30)}
    assert len(places) < 15
    kept = list(islice(Loader(make_stream(**stream), device="cpu"), 30))
    assert facts(kept) == facts(islice(make_stream(batch_size=16), 30))


def test_neither_a_loader_on_the_cpu_nor_processes_touch_cuda(bursts):
    """A forked process can't use CUDA, and one that only tries takes memory of the GPU."""
    code = f"""
import warnings
warnings.simplefilter("ignore")  # of forking
import torch
from itertools import islice
import shardkit as sk
from shardkit.train import Loader, StreamingDataset

def refuse(*arguments, **options):
    raise AssertionError("CUDA was initialised")

for name in ("_lazy_init", "current_stream", "Stream", "Event", "set_device", "synchronize"):
    setattr(torch.cuda, name, refuse)

def stream():
    return sk.Stream(sk.open({str(bursts)!r}), crop=sk.RandomCrop(0.5), batch_size=16, rank=0, world_size=1)

loader = Loader(stream(), device="cpu", workers=2, beside={{"noise": stream()}}, transform=lambda audio: audio.mean())
found = [batch.keys for batch in islice(loader, 6)]
data = torch.utils.data.DataLoader(StreamingDataset(stream()), batch_size=None, num_workers=2)
assert found == [batch.keys for batch in islice(data, 6)]
print(loader.stats()["batches"], torch.cuda.is_initialized())
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "6 False\n", "")
