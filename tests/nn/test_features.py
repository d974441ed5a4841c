"""What holds for every kind of features: shapes, rows, precision, gradients, descriptions, presets' names."""

import json
import subprocess
import sys
import warnings

import pytest
import torch

from shardkit.core.errors import InputError
from shardkit.nn import MFCC, PCEN, Fbank, LogMel, MelSpectrogram, Spectrogram, from_config, preset
from shardkit.nn.presets import PRESETS

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

SMALL = {"sample_rate": 8_000, "n_fft": 128, "hop_length": 50}
MELS = {**SMALL, "n_mels": 12}
MAKERS = {
    "Spectrogram": lambda **more: Spectrogram(**SMALL, **more),
    "magnitudes": lambda **more: Spectrogram(power=1, **SMALL, **more),
    "MelSpectrogram": lambda **more: MelSpectrogram(win_length=100, norm="slaney", **MELS, **more),
    "LogMel": lambda **more: LogMel(**MELS, **more),
    "db": lambda **more: LogMel(log="db", top_db=40.0, **MELS, **more),
    "whisper": lambda **more: LogMel(log="whisper", frames="whole", **MELS, **more),
    "normalized": lambda **more: LogMel(normalize=True, window="povey", **MELS, **more),
    "MFCC": lambda **more: MFCC(n_mfcc=7, center=False, **MELS, **more),
    "PCEN": lambda **more: PCEN(window="hamming", **MELS, **more),
    "Fbank": lambda **more: Fbank(sample_rate=8_000, win_length=100, hop_length=50, n_mels=12, **more),
}
every_kind = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def noise(*shape, seed=0):
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@every_kind
@pytest.mark.parametrize("shape", [(0, 1, 500), (2, 0, 500), (2, 2, 0), (1, 1, 1), (2, 1, 30), (1, 2, 501)])
def test_odd_shapes_have_the_frames_they_should(make, shape):
    module = make()
    num_bands = module(noise(1, 1, 500)).shape[-2]
    features = module(noise(*shape))
    assert features.shape == (*shape[:2], num_bands, module.num_frames(shape[-1]))
    assert features.dtype == torch.float32
    assert torch.isfinite(features).all()


@every_kind
def test_silence_is_finite(make):
    assert torch.isfinite(make()(torch.zeros(1, 1, 2_000))).all()


@every_kind
def test_rows_do_not_mix_and_a_nan_stays_in_its_own(make):
    module, audio = make(), noise(3, 2, 900)
    clean = module(audio)
    audio[1, 0, 300], audio[2, 1, 10] = float("nan"), float("inf")
    found = module(audio)
    for item, channel in ((0, 0), (0, 1), (1, 1), (2, 0)):
        torch.testing.assert_close(found[item, channel], clean[item, channel])
    assert found[1, 0].isnan().any()
    assert not torch.isfinite(found[2, 1]).all()


@every_kind
def test_memory_layout_does_not_matter_and_the_audio_is_left_as_it_was(make):
    module, audio = make(), noise(2, 3, 700)
    strided = audio.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    expanded = audio[:1, :1].expand(4, 2, -1)
    before = audio.clone()
    assert torch.equal(module(strided), module(audio))
    torch.testing.assert_close(module(expanded)[3, 1], module(audio)[0, 0])
    assert torch.equal(audio, before)


@every_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_audio_is_computed_in_float32_under_autocast_too(make, dtype):
    module, audio = make(), noise(1, 1, 900).to(dtype)
    expected = module(audio.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = module(audio)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@every_kind
def test_half_precision_modules_are_refused(make):
    with pytest.raises(InputError, match="keep this module in float32"):
        make().half()(noise(1, 1, 900))


@every_kind
@pytest.mark.parametrize("audio", [torch.zeros(900), torch.zeros(2, 900), torch.zeros(1, 1, 900, dtype=torch.int16)])
def test_what_is_not_batch_channel_time_of_floats_is_refused(make, audio):
    with pytest.raises(InputError, match="batch, channel, time"):
        make()(audio)


@every_kind
@pytest.mark.parametrize("out_dtype", ["float32", "bfloat16", "float16"])
def test_out_dtype_rounds_what_was_computed(make, out_dtype):
    for audio in (noise(2, 1, 900), noise(0, 1, 900)):
        found = make(out_dtype=out_dtype)(audio)
        assert found.dtype == getattr(torch, out_dtype)
        assert torch.equal(found, make()(audio).to(found.dtype))


@every_kind
def test_double_computes_in_float64(make):
    audio = noise(1, 1, 2_000)
    single, double = make()(audio), make().double()(audio)
    assert double.dtype == torch.float64
    scale = float(double.abs().max())
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-4 * scale)


@every_kind
def test_gradients_are_those_of_finite_differences(make):
    module = make().double()
    audio = noise(1, 2, 220, seed=1).double().requires_grad_()
    assert torch.autograd.gradcheck(module, (audio,), fast_mode=True)


@every_kind
def test_gradients_at_silence_are_finite(make):
    audio = torch.zeros(1, 1, 500, requires_grad=True)
    make()(audio).sum().backward()
    assert torch.isfinite(audio.grad).all()


@every_kind
def test_from_config_builds_an_equal_module_of_plain_json(make):
    module, audio = make(out_dtype="bfloat16"), noise(1, 1, 900)
    config = json.loads(json.dumps(module.config()))
    again = from_config(config)
    assert type(again) is type(module)
    assert again.config() == module.config() == config
    assert config.keys() == {"kind"} | module.option_names()
    assert torch.equal(again(audio), module(audio))


@every_kind
def test_modules_have_no_state_to_save_and_print_what_they_are(make):
    module = make()
    assert not module.state_dict()
    assert "sample_rate=8000, hop_length=50" in repr(module)


def test_what_means_the_same_is_described_the_same():
    plain = LogMel(sample_rate=8_000, n_fft=256, n_mels=40)
    said = LogMel(sample_rate=8_000, n_fft=256, win_length=256, n_mels=40, f_min=0, f_max=4_000, power=2, floor=1e-10)
    assert json.dumps(plain.config()) == json.dumps(said.config())
    assert plain.config() != LogMel(sample_rate=8_000, n_fft=256, n_mels=40, floor=1e-9).config()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "features of kind None are unknown; choose one of Spectrogram"),
        ({"kind": "Mel"}, "kind 'Mel' are unknown"),
        ({"kind": ["LogMel"]}, "are unknown"),
        ({"kind": "LogMel"}, "LogMel needs sample_rate"),
        ({"kind": "LogMel", "sample_rate": 8_000, "mels": 3}, "LogMel has no option 'mels'; it has center, f_max"),
        ({"kind": "Spectrogram", "sample_rate": 8_000, "n_mels": 3}, "Spectrogram has no option 'n_mels'"),
        ({"kind": "LogMel", "sample_rate": 8_000, "n_fft": "400"}, "n_fft is '400'; it must be a whole number"),
    ],
)
def test_descriptions_that_can_not_be_are_refused(config, message):
    with pytest.raises(InputError, match=message):
        from_config(config)


def test_presets_are_built_by_name_and_may_be_changed():
    for name in PRESETS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchaudio's defaults have bands without a bin, as it warns itself
            module = preset(name, hop_length=123)
        assert module.hop_length == 123
        assert module.sample_rate == 16_000
    with pytest.raises(InputError, match="no preset 'whispers'; choose one of torchaudio, whisper"):
        preset("whispers")
    with pytest.raises(InputError, match="LogMel has no option 'n_mel'"):
        preset("whisper", n_mel=128)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Spectrogram(sample_rate=8_000, power=3), "power is 3; choose 1 for magnitudes or 2"),
        (lambda: Spectrogram(sample_rate=8_000, window="kaiser"), "window is 'kaiser'; choose one of hann"),
        (
            lambda: Spectrogram(sample_rate=8_000, out_dtype="int8"),
            "out_dtype is 'int8'; choose None or one of float32",
        ),
        (lambda: LogMel(log="log2", **MELS), "log is 'log2'; choose one of ln, log10, db, whisper"),
        (lambda: LogMel(top_db=80.0, **MELS), "top_db is 80.0 with log='ln'"),
        (lambda: LogMel(log="db", top_db=0.0, **MELS), "top_db is 0.0 with log='db'; give decibels above 0"),
        (lambda: LogMel(normalize="clip", **MELS), "normalize is 'clip'"),
        (lambda: MFCC(n_mfcc=13, **MELS), "n_mfcc is 13; it must be at most n_mels, which is 12"),
        (lambda: MFCC(n_mfcc=3, dct_norm="l2", **MELS), "dct_norm is 'l2'; choose None or 'ortho'"),
        (lambda: PCEN(s=0.0, **MELS), "s is 0.0; it must be a number above 0"),
        (lambda: PCEN(r=1.5, **MELS), "r is 1.5; it must be at most 1"),
        (lambda: PCEN(delta="2", **MELS), "delta is '2'; it must be a number above 0"),
        (lambda: Fbank(sample_rate=8_000, n_fft=256), "n_fft is 256; it must be at least win_length, which is 400"),
        (lambda: Fbank(sample_rate=8_000, preemphasis=1.1), "preemphasis is 1.1; it must be from 0 to 1"),
        (lambda: Fbank(sample_rate=8_000, scale=0), "scale is 0; it must be a number above 0"),
    ],
)
def test_options_that_can_not_be_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_nn_needs_no_torchaudio():
    code = "import sys; sys.modules['torchaudio'] = None; from shardkit.nn import preset; preset('kaldi-like')"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@needs_gpu
@every_kind
def test_the_gpu_gives_what_the_cpu_gives_without_waiting_for_it(make):
    module, audio = make(), noise(2, 1, 4_000)
    expected = module(audio)
    module, audio = module.to("cuda"), audio.to("cuda")
    module(audio)  # plans of the transform, which may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = module(audio)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
