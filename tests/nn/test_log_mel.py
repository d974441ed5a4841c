"""Log-mel features: torchaudio is the oracle, masks set the number of frames."""

import math
import subprocess
import sys
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shardkit.core.errors import InputError
from shardkit.nn import LogMel, log_mel, mel_filters

torchaudio = pytest.importorskip("torchaudio")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

GRID = [
    {"sample_rate": 16_000},
    {"sample_rate": 8_000, "n_fft": 256, "hop_length": 80, "n_mels": 40},
    {"sample_rate": 44_100, "n_fft": 1024, "hop_length": 256, "mel_scale": "slaney", "norm": "slaney"},
    {"sample_rate": 16_000, "n_fft": 512, "win_length": 400},
    {"sample_rate": 16_000, "n_fft": 512, "win_length": 321, "hop_length": 100, "f_min": 20.0, "f_max": 7_600.0},
    {"sample_rate": 48_000, "n_fft": 2048, "win_length": 1200, "hop_length": 480, "n_mels": 64, "norm": "slaney"},
    {"sample_rate": 22_050, "n_fft": 1024, "hop_length": 300, "n_mels": 128, "mel_scale": "slaney", "f_max": 8_000.0},
]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("options", GRID, ids=lambda options: "-".join(map(str, options.values())))
@pytest.mark.parametrize("time", [24_000, 24_001])
def test_equals_the_logarithm_of_torchaudios_mel_spectrogram(options, time):
    audio = noise(2, 2, time)
    hop = options.get("hop_length", 160)
    oracle = torchaudio.transforms.MelSpectrogram(**{"n_mels": 80, "hop_length": hop, **options})
    expected = oracle(audio).clamp(min=1e-10).log()[..., : math.ceil(time / hop)]
    # 3e-4 in natural log is 0.0013 dB: what the float32 edges of torchaudio's narrowest filters amount to.
    torch.testing.assert_close(LogMel(**options)(audio), expected, rtol=0, atol=3e-4)


@pytest.mark.parametrize("mel_scale", ["htk", "slaney"])
@pytest.mark.parametrize("norm", [None, "slaney"])
def test_filters_equal_torchaudios(mel_scale, norm):
    expected = torchaudio.functional.melscale_fbanks(257, 30.0, 7_000.0, 60, 16_000, norm, mel_scale).T
    filters = mel_filters(
        sample_rate=16_000, n_fft=512, n_mels=60, f_min=30.0, f_max=7_000.0, norm=norm, mel_scale=mel_scale
    )
    torch.testing.assert_close(filters, expected, rtol=0, atol=2e-5 * float(expected.max()))


@given(time=st.integers(0, 2_000), hop=st.integers(1, 700), n_fft=st.sampled_from([16, 255, 400]))
@settings(max_examples=60, deadline=None)
def test_every_length_gives_one_frame_for_each_hop_begun(time, hop, n_fft):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of empty bands, which a 16-point transform has
        module = LogMel(sample_rate=8_000, n_fft=n_fft, hop_length=hop, n_mels=8)
    features = module(noise(2, 1, time))
    assert features.shape == (2, 1, 8, math.ceil(time / hop))
    assert torch.isfinite(features).all()


def test_audio_too_short_to_be_mirrored_is_as_if_followed_by_zeros():
    module = LogMel(sample_rate=16_000)
    audio = noise(1, 1, 150)
    extended = torch.nn.functional.pad(audio, (0, 51))  # to n_fft // 2 + 1, the least that can be mirrored
    torch.testing.assert_close(module(audio), module(extended)[..., :1])


def test_a_click_is_loudest_in_the_frame_centred_on_it():
    audio = torch.zeros(1, 1, 16_000)
    audio[..., 160 * 37] = 1.0
    assert int(LogMel(sample_rate=16_000)(audio)[0, 0].mean(dim=0).argmax()) == 37


def test_a_tone_is_loudest_in_the_band_around_it():
    module = LogMel(sample_rate=16_000, n_mels=40)
    audio = torch.sin(2 * torch.pi * 1_000.0 * torch.arange(16_000) / 16_000).reshape(1, 1, -1)
    centres = torchaudio.functional.melscale_fbanks(201, 0.0, 8_000.0, 40, 16_000).argmax(dim=0) * 40.0
    loudest = module(audio)[0, 0].mean(dim=1).argmax()
    assert abs(float(centres[loudest]) - 1_000.0) <= 60.0


def test_gain_moves_everything_above_the_floor_by_its_level():
    module = LogMel(sample_rate=16_000)
    audio = noise(1, 1, 8_000)
    torch.testing.assert_close(module(10 * audio), module(audio) + 2 * math.log(10), rtol=0, atol=1e-4)


def test_silence_is_the_floor():
    features = LogMel(sample_rate=16_000, floor=1e-6)(torch.zeros(1, 1, 1_600))
    torch.testing.assert_close(features, torch.full_like(features, math.log(1e-6)))


def test_items_and_channels_do_not_mix():
    module = LogMel(sample_rate=16_000)
    audio = noise(3, 2, 4_000)
    each = [[module(audio[i : i + 1, c : c + 1])[0, 0] for c in range(2)] for i in range(3)]
    torch.testing.assert_close(module(audio), torch.stack([torch.stack(row) for row in each]))


@pytest.mark.parametrize("num_samples", [0, 1, 7])
def test_a_batch_that_is_computed_in_parts_equals_its_items(num_samples):
    audio = noise(num_samples, 2, 200_000).requires_grad_()
    module = LogMel(sample_rate=44_100, n_fft=1024, hop_length=100, n_mels=32)  # two million values an item
    features = module(audio)
    assert features.shape == (num_samples, 2, 32, 2000)
    for index in range(num_samples):
        torch.testing.assert_close(features[index], module(audio[index : index + 1])[0], rtol=0, atol=1e-5)
    if not num_samples:
        return
    features.sum().backward()
    assert audio.grad is not None
    assert (audio.grad.abs().amax(dim=-1) > 0).all()


def test_computes_in_float32_under_autocast_and_of_half_input():
    module, audio = LogMel(sample_rate=16_000), noise(1, 1, 4_000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = module(audio)
    assert features.dtype == torch.float32
    assert torch.equal(features, module(audio))
    assert module(audio.bfloat16()).dtype == torch.float32


def test_double_computes_in_float64():
    audio = noise(1, 1, 4_000)
    module = LogMel(sample_rate=16_000)
    single, double = module(audio), module.double()(audio)
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-4)


def test_the_function_is_the_module():
    module, audio = LogMel(sample_rate=16_000, hop_length=200), noise(1, 2, 3_000)
    found = log_mel(audio, window=module.window, filters=module.filters, hop_length=200)
    assert torch.equal(found, module(audio))


def test_gradients_reach_the_audio():
    audio = noise(1, 1, 2_000).requires_grad_()
    LogMel(sample_rate=16_000)(audio).sum().backward()
    assert audio.grad is not None
    assert torch.isfinite(audio.grad).all()
    assert audio.grad.abs().sum() > 0


def test_the_module_has_no_state_to_save():
    assert not LogMel(sample_rate=16_000).state_dict()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rate": 0}, "sample_rate is 0"),
        ({"n_fft": 0}, "n_fft is 0"),
        ({"win_length": 401}, "from 1 to n_fft, which is 400"),
        ({"win_length": 0}, "win_length is 0"),
        ({"hop_length": 0}, "hop_length is 0"),
        ({"n_mels": 0}, "n_mels is 0"),
        ({"f_max": 9_000.0}, "f_max <= 8000"),
        ({"f_min": 500.0, "f_max": 500.0}, "from 500 to 500 Hz"),
        ({"f_min": -1.0}, "0 <= f_min"),
        ({"norm": "l2"}, "choose None or 'slaney'"),
        ({"mel_scale": "bark"}, "choose 'htk' or 'slaney'"),
        ({"floor": 0.0}, "floor is 0"),
        ({"floor": float("nan")}, "floor is nan"),
    ],
)
def test_options_that_can_not_be_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        LogMel(**{"sample_rate": 16_000, **options})


def test_bands_without_a_bin_are_warned_of():
    with pytest.warns(UserWarning, match="of 128 mel bands.*raise n_fft or lower n_mels"):
        LogMel(sample_rate=44_100, n_fft=1024, n_mels=128)


@pytest.mark.parametrize("audio", [torch.zeros(2, 400), torch.zeros(1, 1, 400, dtype=torch.int16)])
def test_what_is_not_batch_channel_time_of_floats_is_refused(audio):
    with pytest.raises(InputError, match="batch, channel, time"):
        LogMel(sample_rate=16_000)(audio)


def test_half_precision_weights_are_refused():
    with pytest.raises(InputError, match="keep this module in float32"):
        LogMel(sample_rate=16_000).half()(noise(1, 1, 400))


@needs_gpu
def test_the_gpu_gives_what_the_cpu_gives():
    module, audio = LogMel(sample_rate=16_000), noise(2, 1, 16_000)
    expected = module(audio)
    found = module.to("cuda")(audio.to("cuda"))
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("package", ["nn", "train"])
def test_without_torch_the_import_says_what_to_install(package):
    code = f"import sys; sys.modules['torch'] = None; import shardkit.{package}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert f"shardkit.{package} needs torch" in result.stderr
    assert "pip install 'shardkit[train]'" in result.stderr
