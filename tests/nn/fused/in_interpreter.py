"""The fused path against the plain one, in Triton's interpreter: the same code, on the CPU.

``test_fused.py`` runs this file in a process of its own: Triton is interpreted from when it is imported, or never. The
interpreter multiplies matrices in float32, whatever bits a tensor core would take.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.nn import LogMel, MelSpectrogram
from tests.nn.fused.kernels import transform_kernel
from tests.nn.fused.noise import noise

pytestmark = pytest.mark.filterwarnings("ignore:.*mel bands:UserWarning")


@pytest.fixture(autouse=True, scope="module")
def on_cpu():
    """Let modules take the fused path on the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "is_cuda", True)
        yield


def both(module, audio):
    """Return what the fused path and the plain path, in float64, make of audio."""
    assert module.fused is not None
    assert module.fused.takes(audio, module.window, module.framing)
    found = module(audio)
    expected = module.double()(audio.double())
    assert not module.fused.takes(audio, module.window, module.framing)
    module.float()
    return found, expected


@pytest.mark.parametrize("length", [4, 5, 6, 8, 10, 15, 20, 25, 32, 49, 64])
def test_a_transform_in_registers_is_numpys(length):
    samples = noise(length, 16)
    re, im = torch.empty(2, length // 2 + 1, 16)
    transform_kernel[(1,)](samples, re, im, LENGTH=length)
    expected = np.fft.rfft(samples.double().numpy(), axis=0)
    np.testing.assert_allclose(re + 1j * im, expected, atol=3e-7 * length**0.5)


@pytest.mark.parametrize(
    ("options", "time"),
    [
        ({"sample_rate": 16_000}, 3_000),
        ({"sample_rate": 16_000, "log": "log10", "norm": "slaney", "mel_scale": "slaney"}, 1_601),
        ({"sample_rate": 16_000, "log": "db", "power": 1, "frames": "all"}, 1_600),
        ({"sample_rate": 16_000, "n_fft": 512, "win_length": 400, "pad_mode": "constant", "n_mels": 64}, 2_000),
        ({"sample_rate": 8_000, "n_fft": 256, "hop_length": 80, "center": False, "n_mels": 33}, 1_234),
        ({"sample_rate": 24_000, "n_fft": 480, "hop_length": 240, "n_mels": 17}, 2_400),
        ({"sample_rate": 44_100, "n_fft": 1024, "hop_length": 256, "n_mels": 80}, 3_000),
        ({"sample_rate": 44_100, "n_fft": 2048, "hop_length": 512, "n_mels": 128, "f_min": 30.0}, 6_000),
    ],
    ids=str,
)
def test_the_fused_path_is_the_plain_one_but_for_rounding(options, time):
    found, expected = both(LogMel(**options), noise(2, 2, time))
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 5e-5 * (4.4 if options.get("log") == "db" else 1.0)


@settings(max_examples=12)
@given(time=st.integers(1, 900), center=st.booleans(), pad_mode=st.sampled_from(["reflect", "constant"]))
def test_any_length_has_the_frames_of_the_plain_path(time, center, pad_mode):
    options = {"n_fft": 128, "hop_length": 50, "n_mels": 20, "center": center, "pad_mode": pad_mode}
    found, expected = both(MelSpectrogram(sample_rate=8_000, **options), noise(1, 1, time, seed=time))
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.max()


def test_strides_dtypes_and_rows_are_as_in_the_plain_path():
    module = LogMel(sample_rate=8_000, n_fft=256, hop_length=80, n_mels=32)
    audio = noise(2, 900, 3).transpose(1, 2)
    found, expected = both(module, audio)
    assert (found - expected).abs().max() < 5e-5
    assert torch.equal(module(audio[1:2, 2:]), found[1:2, 2:])
    for dtype in (torch.float16, torch.bfloat16):
        low = audio.to(dtype)
        assert torch.equal(module(low), module(low.float()))
    half = LogMel(sample_rate=8_000, n_fft=256, hop_length=80, n_mels=32, out_dtype="float16")
    assert torch.equal(half(audio), found.half())
    brain = LogMel(sample_rate=8_000, n_fft=256, hop_length=80, n_mels=32, out_dtype="bfloat16")(audio)
    assert brain.dtype == torch.bfloat16
    assert ((brain.float() - found).abs() <= 2.0**-7 * found.abs()).all()  # the interpreter cuts where a GPU rounds


def test_no_number_stays_in_its_frames_and_silence_is_the_floor():
    module = LogMel(sample_rate=8_000, n_fft=256, hop_length=80, n_mels=32)
    audio = noise(3, 1, 2_000)
    audio[1] = 0.0
    audio[2, 0, 1_000] = torch.nan
    found = module(audio)
    assert torch.equal(found[0], module(audio[:1])[0])
    assert (found[1] == np.log(np.float32(1e-10))).all()
    hit = found[2, 0].isnan()
    assert torch.equal(hit.all(dim=0), hit.any(dim=0))
    frames = torch.arange(25) * 80
    assert torch.equal(hit.any(dim=0), (frames - 128 <= 1_000) & (frames + 128 > 1_000))


def test_gradients_are_those_of_the_plain_path(monkeypatch):
    module = LogMel(sample_rate=8_000, n_fft=256, hop_length=80, n_mels=32)
    audio, weights = noise(2, 1, 700).requires_grad_(), noise(2, 1, 32, 9)
    (found,) = torch.autograd.grad((module(audio) * weights).sum(), audio)
    monkeypatch.setattr(torch.Tensor, "is_cuda", False)
    (expected,) = torch.autograd.grad((module(audio) * weights).sum(), audio)
    assert torch.equal(found, expected)


def test_a_second_gradient_is_refused():
    module = LogMel(sample_rate=8_000, n_fft=256, hop_length=80, n_mels=32)
    audio = noise(1, 1, 700).requires_grad_()
    (first,) = torch.autograd.grad(module(audio).square().sum(), audio, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_a_kernel_that_computes_something_else_is_found_out_and_not_used(monkeypatch):
    module = LogMel(sample_rate=8_000, n_fft=256, hop_length=80, n_mels=32)
    module.fused.bins[201] = np.float32(0.9).view(np.int32).item()  # a weight
    audio = noise(1, 1, 700)
    with pytest.warns(UserWarning, match=r"off by .* torch's own operations are used"):
        found = module(audio)
    monkeypatch.setattr(torch.Tensor, "is_cuda", False)
    assert torch.equal(found, module(audio))


def test_a_kernel_that_fails_is_not_used(monkeypatch):
    module = LogMel(sample_rate=8_000, n_fft=256, hop_length=80, n_mels=32)
    del module.fused.twiddles
    with pytest.warns(UserWarning, match="failed on cpu"):
        found = module(noise(1, 1, 700))
    monkeypatch.setattr(torch.Tensor, "is_cuda", False)
    assert torch.equal(found, module(noise(1, 1, 700)))
