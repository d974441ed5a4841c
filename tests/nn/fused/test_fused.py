"""The fused path: what it looks up, how exact it is, that it compiles, and what it computes."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from shardkit.nn import LogMel
from shardkit.nn.fused import tables
from tests.nn.fused.noise import noise

pytest.importorskip("triton")
pytestmark = pytest.mark.filterwarnings("ignore:.*mel bands:UserWarning")

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_in_tritons_interpreter_the_fused_path_is_the_plain_one():
    file = Path(__file__).with_name("in_interpreter.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout[-6000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 20


def test_lengths_that_the_kernel_does_not_transform_take_the_plain_path():
    assert [n_fft for n_fft in (400, 512, 1024, 2048, 320, 480, 64) if tables.shape_of(n_fft) is None] == []
    assert [n_fft for n_fft in (441, 1764, 4096, 48, 7 * 64) if tables.shape_of(n_fft) is not None] == []
    assert LogMel(sample_rate=44_100, n_fft=1764, hop_length=441).fused is None
    module = LogMel(sample_rate=8_000)
    assert not module.fused.takes(noise(1, 1, 100), module.window, module.framing)  # on a CPU


def test_what_is_looked_up_is_in_no_state_and_follows_the_module():
    module = LogMel(sample_rate=8_000)
    assert module.state_dict() == {}
    assert {buffer.device.type for buffer in module.to("meta").fused.buffers()} == {"meta"}


@pytest.mark.parametrize("n2", [16, 32])
def test_two_parts_of_eleven_bits_multiply_like_float32(n2):
    """What tensor cores do with the kernel's numbers: each factor has no more bits than TF32 keeps of it."""
    rng = np.random.default_rng(0)
    shape = tables.Shape(n1=25, n2=n2, classes=4, frames=16, num_warps=4)
    values = rng.normal(size=(4_000, n2)).astype(np.float32)
    upper, lower = (part[0].astype(np.float64) for part in tables.matrices(shape))
    top = tf32(values)
    rest = tf32(values - top)
    assert np.array_equal(tf32(upper.astype(np.float32)), upper)
    assert np.array_equal(tf32(lower.astype(np.float32)), lower)
    exact = values.astype(np.float64) @ (tables.matrices(shape)[0, 0].astype(np.float64) + lower)
    turns = np.outer(np.arange(n2), np.arange(n2)) * 2.0 * np.pi / n2
    real = values.astype(np.float64) @ np.cos(turns)
    found = top @ lower + rest @ upper + top @ upper
    scale = np.abs(real).max()
    assert np.abs(found[:, ::2] - real).max() < 4 * 2.0**-23 * scale
    assert np.abs((top @ upper)[:, ::2] - real).max() > 2.0**-13 * scale  # one product alone would not do
    assert np.abs(exact[:, ::2] - real).max() < 2.0**-21 * scale


def tf32(values):
    """Return float32 without the 13 bits that a tensor core may leave out."""
    return (values.view(np.int32) & -8192).view(np.float32).astype(np.float64).astype(np.float32)


@pytest.mark.parametrize(("n_fft", "architecture"), [(400, 80), (400, 90), (512, 90)])
def test_the_kernel_compiles_for_gpus_that_are_not_here(n_fft, architecture, tmp_path):
    """And keeps its numbers in registers: ``local`` bytes are what a thread has spilled."""
    program = textwrap.dedent(f"""
        from tools.bench.fused_code import compiled
        code = compiled({n_fft}, architecture={architecture})
        print(code.registers, code.local, code.instructions["HGMMA" if {architecture} == 90 else "HMMA"])
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    registers, local, products = map(int, done.stdout.split())
    assert registers <= 255
    assert products > 0
    assert local == 0


@needs_gpu
@pytest.mark.parametrize(
    ("n_fft", "hop_length", "rate"), [(400, 160, 16_000), (512, 128, 16_000), (1024, 256, 44_100), (2048, 512, 44_100)]
)
@pytest.mark.parametrize("num_batch", [1, 32])
def test_on_a_gpu_the_fused_path_is_the_plain_one_in_float64(n_fft, hop_length, rate, num_batch):
    module = LogMel(sample_rate=rate, n_fft=n_fft, hop_length=hop_length).cuda()
    audio = noise(num_batch, 2, 2 * rate + 17).cuda()
    module(audio)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = module(audio)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = module.double()(audio.double())
    assert (found - expected).abs().max() < 1e-4
