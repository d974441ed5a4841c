"""A kernel that does nothing but a transform in registers. Imported once kernels are interpreted."""

import triton
import triton.language as tl

from shardkit.nn.fused.transform import real_dft


@triton.jit
def transform_kernel(samples, re, im, LENGTH: tl.constexpr):  # noqa: N803  Triton's way to write constants
    lane = tl.arange(0, 16)
    x = ()
    for n in tl.static_range(LENGTH):
        x = x + (tl.load(samples + n * 16 + lane),)  # noqa: RUF005  Triton knows no other way
    real, imaginary = real_dft(x, LENGTH)
    for k in tl.static_range(LENGTH // 2 + 1):
        tl.store(re + k * 16 + lane, real[k])
        tl.store(im + k * 16 + lane, imaginary[k])
