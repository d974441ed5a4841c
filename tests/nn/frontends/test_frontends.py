"""What holds of LEAF and SincNet alike: frames that line up with masks, odd shapes, precision, plain options."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import shardkit as sk
from shardkit.core.errors import InputError
from shardkit.nn import LEAF, SincNet
from shardkit.nn.frontends.frontend import Frontend
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from tests.stream.conftest import write_source

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
FRONTENDS = [LEAF, SincNet]
both = pytest.mark.parametrize("kind", FRONTENDS)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def small(kind: type[Frontend]) -> Frontend:
    """Return one of 8 kHz: windows of 201 samples, 80 from frame to frame."""
    return kind(sample_rate=8_000, n_filters=6)


@both
@given(time=st.integers(0, 2_000), num_batch=st.integers(0, 2), num_channels=st.integers(1, 2))
@settings(max_examples=25)
def test_every_length_gives_one_frame_for_each_hop_begun(kind, time, num_batch, num_channels):
    module = small(kind)
    features = module(noise(num_batch, num_channels, time))
    assert features.shape == (num_batch, num_channels, 6, math.ceil(time / 80))
    assert module.num_frames(time) == features.shape[-1]
    assert torch.isfinite(features).all()


@both
@pytest.mark.parametrize("start", [0, 1, 79, 3_999, 4_001, 7_999])
def test_a_click_is_loudest_in_the_frame_whose_samples_it_is_among(kind, start):
    audio = torch.zeros(1, 1, 8_000)
    audio[..., start] = 1.0
    energies = kind(sample_rate=8_000, n_filters=6, compression=None)(audio)[0, 0].detach().sum(dim=0)
    if kind is LEAF:
        assert energies.argmax() == start // 80
    else:  # a maximum stays for all windows that hold it: the frame lies in their middle
        loudest = torch.nonzero(energies >= 0.999 * energies.max()).flatten()
        assert loudest[0] <= start // 80 <= loudest[-1]


def test_frames_line_up_with_the_masks_of_a_stream(tmp_path):
    rows, audio = [], {}
    for i in range(4):
        bounds = (round((0.2 + 0.13 * i) * 8_000), round((0.5 + 0.2 * i) * 8_000))
        samples = np.zeros((9_999, 1), np.int16)
        samples[slice(*bounds), 0] = np.random.default_rng(i).integers(-8_000, 8_000, bounds[1] - bounds[0])
        audio[f"{i}.wav"] = samples, 8_000
        rows.append({"path": f"{i}.wav", "intervals": [["noise", bounds[0] / 8_000, bounds[1] / 8_000]]})
    manifest = write_source(tmp_path, "noises", rows, audio)
    pack(locate(manifest), locate(tmp_path / "noises"), inputs=InputOptions(), options=PackOptions(workers=1))
    module = LEAF(sample_rate=8_000, compression=None)
    stream = sk.Stream(
        sk.open(tmp_path / "noises"), crop=sk.RandomCrop(1.0), mask_hop=module.hop_length, rank=0, world_size=1
    )
    batch = next(iter(stream))
    energies = module(torch.from_numpy(batch.audio))[:, 0].detach().sum(dim=1)
    mask = torch.from_numpy(batch.masks["noise"]) > 0
    assert energies.shape == mask.shape
    loud = energies > energies.amax(dim=1, keepdim=True) / 4
    assert (loud == mask).float().mean() > 0.97  # but for frames of which the noise takes a part


@both
@given(skipped=st.integers(1, 300))
@settings(max_examples=8)
def test_a_frame_depends_on_what_is_around_it_only(kind, skipped):
    """It does in whatever piece it is computed: 800 frames here are several."""
    module = kind(sample_rate=8_000, compression=None)
    audio = noise(1, 1, 80 * 800)
    with torch.no_grad():
        found, rest = module(audio), module(audio[..., 80 * skipped :])
    torch.testing.assert_close(rest[..., 3:], found[..., skipped + 3 :], rtol=1e-4, atol=1e-5)


@both
def test_padding_on_the_right_changes_only_the_frames_at_the_end(kind):
    module, audio = kind(sample_rate=8_000), noise(1, 1, 4_003)
    found, padded = module(audio), module(torch.nn.functional.pad(audio, (0, 3_000)))
    end = module.num_frames(4_003) - 3
    torch.testing.assert_close(padded[..., :end], found[..., :end], rtol=1e-4, atol=1e-5)


@both
def test_items_and_channels_do_not_mix_and_neither_does_nan(kind):
    module, audio = small(kind), noise(3, 2, 2_000)
    each = [[module(audio[i : i + 1, c : c + 1])[0, 0] for c in range(2)] for i in range(3)]
    expected = torch.stack([torch.stack(row) for row in each])
    torch.testing.assert_close(module(audio), expected, rtol=1e-4, atol=1e-5)
    audio[1, 0, 700] = torch.nan
    audio[2, 1, 1_999] = torch.inf
    found = module(audio)
    spoilt = torch.zeros(3, 2, dtype=torch.bool)
    spoilt[1, 0] = spoilt[2, 1] = True
    assert (torch.isfinite(found).all(dim=(2, 3)) == ~spoilt).all()
    torch.testing.assert_close(found[~spoilt], expected[~spoilt], rtol=1e-4, atol=1e-5)


@both
def test_gradients_of_pieces_add_up_to_those_of_items(kind):
    audio = noise(2, 1, 80 * 400)
    module = kind(sample_rate=8_000)

    def gradients(part: Tensor) -> list[Tensor]:
        samples = part.clone().requires_grad_()
        return list(torch.autograd.grad(module(samples).square().sum(), [samples, *module.parameters()]))

    (of_audio, *whole), first, second = (gradients(part) for part in (audio, audio[:1], audio[1:]))
    torch.testing.assert_close(of_audio, torch.cat([first[0], second[0]]), rtol=1e-3, atol=1e-3)
    for found, *parts in zip(whole, first[1:], second[1:], strict=True):
        scale = float(found.abs().max())
        torch.testing.assert_close(found, sum(parts), rtol=1e-3, atol=1e-3 * scale)


@both
def test_computes_in_float32_under_autocast_and_of_half_input(kind):
    module, audio = small(kind), noise(2, 1, 1_000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = module(audio)
        features.sum().backward()
    assert features.dtype == torch.float32
    assert torch.equal(features, module(audio))
    assert module(audio.half()).dtype == torch.float32


@both
def test_single_and_double_agree(kind):
    module, audio = kind(sample_rate=8_000), noise(2, 1, 8_000)
    single, double = module(audio), module.double()(audio)
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-4)


@both
def test_strides_of_the_audio_do_not_matter(kind):
    module, audio = small(kind), noise(1_000, 2, 3)
    turned = audio.permute(2, 1, 0)
    assert not turned.is_contiguous()
    assert torch.equal(module(turned), module(turned.contiguous()))


@both
def test_what_is_learned_is_in_the_state_and_the_options_in_the_config(kind):
    module = small(kind)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.01)
    options = module.config()
    assert options.pop("kind") == kind.__name__
    again = kind(**options)
    again.load_state_dict(module.state_dict())
    audio = noise(1, 1, 1_000)
    assert torch.equal(again(audio), module(audio))
    assert again.config() == module.config()


@both
@pytest.mark.parametrize("audio", [torch.zeros(2, 400), torch.zeros(1, 1, 400, dtype=torch.int16)])
def test_what_is_not_batch_channel_time_of_floats_is_refused(kind, audio):
    with pytest.raises(InputError, match="batch, channel, time"):
        small(kind)(audio)


@both
def test_half_precision_weights_are_refused(kind):
    with pytest.raises(InputError, match="keep this module in float32"):
        small(kind).half()(noise(1, 1, 400))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (LEAF, {"sample_rate": 0}, "sample_rate is 0"),
        (LEAF, {"n_filters": 0}, "n_filters is 0"),
        (LEAF, {"window_len_ms": 0}, "window_len_ms is 0"),
        (LEAF, {"window_len_ms": 5.0}, "raise window_len_ms"),
        (LEAF, {"stride_ms": 0.01}, "less than a sample"),
        (LEAF, {"stride_ms": math.nan}, "stride_ms is nan"),
        (LEAF, {"f_max": 9_000.0}, "f_max <= 8000"),
        (LEAF, {"n_filters": 400}, "lower n_filters"),
        (LEAF, {"compression": "pcen"}, "choose None or one of spcen, log"),
        (SincNet, {"compression": "spcen"}, "choose None or one of layer_norm, log"),
        (SincNet, {"min_low_hz": 0.0}, "min_low_hz is 0"),
        (SincNet, {"min_band_hz": -1.0}, "min_band_hz is -1"),
        (SincNet, {"sample_rate": 400, "min_low_hz": 100.0}, "can't be had at 400 Hz"),
    ],
)
def test_options_that_can_not_be_are_refused(kind, options, message):
    with pytest.raises(InputError, match=message):
        kind(**options)


@needs_gpu
@both
def test_the_gpu_gives_what_the_cpu_gives_and_its_gradients(kind):
    module, audio = kind(), noise(4, 1, 16_000)
    expected = module(audio)
    wanted = torch.autograd.grad(expected.square().sum(), list(module.parameters()))
    module = module.to("cuda")
    found = module(audio.to("cuda"))
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3)
    for one, other in zip(torch.autograd.grad(found.square().sum(), list(module.parameters())), wanted, strict=True):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-2, atol=1e-2 * float(other.abs().max()))


@needs_gpu
@both
def test_nothing_waits_for_the_device(kind):
    module, audio = kind().to("cuda"), noise(4, 1, 16_000).to("cuda")
    module(audio).sum().backward()  # what is set up the first time may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        module(audio).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
