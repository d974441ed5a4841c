"""One kernel from audio to log-mels: nothing between them is written to the GPU's memory but through its caches.

A program takes FRAMES frames at a time. Of a frame's N = N1 · N2 samples, sample N2·n1 + n2 times its window is read,
mirrored at the ends of the audio, and

    1. for each n2, a thread transforms the N1 samples of its n2 in registers            (``transform.real_dft``)
    2. outputs k1 = 0 ... N1 / 2 are turned by w^(n2·k1)                                  twiddle factors
    3. for each k1, a transform over n2: a product with an N2 × N2 matrix                 tensor cores
    4. |X|² goes to ``scratch`` as (k1, k2, frame); bin k1 + N1·k2, or its mirror image    second-level cache
    5. for each band, the weighted sum of its bins, its logarithm, and out

The audio is real, so k1 beyond N1 / 2 would only repeat what the others say.

Tensor cores multiply numbers of 11 bits (TF32). A number is therefore taken as the sum of two, its upper bits and what
is left, and the product as the sum of three products, which leaves float32's 24 bits all but about two.

Source: four-step transform: Bailey (1990), "FFTs in external or hierarchical memory"; the split of products: Ootomo and
Yokota (2022), "Recovering single precision accuracy from tensor cores".
"""

import triton
import triton.language as tl

from shardkit.nn.fused.transform import real_dft

_UPPER_BITS = tl.constexpr(-8192)  # of a float32: all but the 13 that TF32 lacks


@triton.jit
def log_mel_kernel(
    audio,  # (row, time) float32, bfloat16 or float16
    window,  # (N1 · N2,)
    twiddles,  # (2, N1 // 2 + 1, N2): cosines and sines
    matrices,  # (2, 2, N2, 2 · N2): upper and lower bits of what the real and the imaginary parts are multiplied by
    bins,  # for each group of bands, (bin of band, band of group, 2): where in scratch it is, how much is the band's
    widths,  # (group,): bins of its widest band
    scratch,  # (program, k1, k2, frame): not shared between programs
    out,  # (row, band, frame)
    num_tiles,
    tiles_per_row,
    time,
    num_frames,
    hop,
    lead,  # samples that frame 0 begins before the audio
    last,  # the sample about which the end is mirrored
    floor,
    scale,  # of the natural logarithm
    N1: tl.constexpr,
    N2: tl.constexpr,
    CLASSES: tl.constexpr,  # values of k1 that go through step 3 at once, a power of two
    FRAMES: tl.constexpr,
    BANDS: tl.constexpr,
    GROUP: tl.constexpr,  # bands that are summed at once
    REFLECT: tl.constexpr,
    MAGNITUDE: tl.constexpr,
    LOG: tl.constexpr,
):
    frame, n2 = tl.arange(0, FRAMES), tl.arange(0, N2)
    own = scratch + tl.program_id(0).to(tl.int64) * (_num_classes(N1, CLASSES) * N2 * FRAMES)
    matrix = matrices + n2[:, None] * (2 * N2) + tl.arange(0, 2 * N2)[None, :]
    upper_re, upper_im = tl.load(matrix), tl.load(matrix + 2 * N2 * N2)
    lower_re, lower_im = tl.load(matrix + 4 * N2 * N2), tl.load(matrix + 6 * N2 * N2)
    row_of = tl.arange(0, CLASSES * FRAMES)  # (k1, frame)
    place = own + (row_of // FRAMES)[:, None] * (N2 * FRAMES) + n2[None, :] * FRAMES + (row_of % FRAMES)[:, None]
    for tile in tl.range(tl.program_id(0), num_tiles, tl.num_programs(0)):
        row = (tile // tiles_per_row).to(tl.int64)
        frames = tile % tiles_per_row * FRAMES + frame
        begin = tl.minimum(frames, num_frames - 1) * hop - lead
        x = _windowed(audio + row * time, window, begin, time, last, N1, N2, REFLECT)
        re, im = real_dft(x, N1)
        re, im = _turned(re, im, twiddles, N1, N2, _num_classes(N1, CLASSES))
        for k1 in tl.static_range(0, _num_classes(N1, CLASSES), CLASSES):
            part_re = _rows(re[k1 : k1 + CLASSES], CLASSES)
            part_im = _rows(im[k1 : k1 + CLASSES], CLASSES)
            top_re = _upper(part_re)
            top_im = _upper(part_im)
            spectrum = tl.dot(top_re, lower_re, input_precision="tf32")
            spectrum = tl.dot(top_im, lower_im, spectrum, input_precision="tf32")
            spectrum = tl.dot(part_re - top_re, upper_re, spectrum, input_precision="tf32")
            spectrum = tl.dot(part_im - top_im, upper_im, spectrum, input_precision="tf32")
            spectrum = tl.dot(top_re, upper_re, spectrum, input_precision="tf32")
            spectrum = tl.dot(top_im, upper_im, spectrum, input_precision="tf32")
            real, imaginary = tl.split(tl.reshape(spectrum, (CLASSES * FRAMES, N2, 2)))
            power = real * real + imaginary * imaginary
            tl.store(place + k1 * (N2 * FRAMES), tl.sqrt(power) if MAGNITUDE else power)
        tl.debug_barrier()
        # Of two axes from the start, and places and weights side by side in memory: else threads would load them as
        # they lie there, and hand them to each other through shared memory in every turn of the loop.
        entry = tl.arange(0, GROUP)[:, None] + tl.zeros((GROUP, FRAMES), tl.int32)
        for group in tl.range(0, tl.cdiv(BANDS, GROUP)):
            band = group * GROUP + tl.arange(0, GROUP)
            energy = tl.zeros((GROUP, FRAMES), tl.float32)
            for _ in tl.range(0, tl.load(widths + group)):
                value = tl.load(own + (tl.load(bins + 2 * entry) + frame[None, :]))
                energy += tl.load(bins + 2 * entry + 1).to(tl.float32, bitcast=True) * value
                entry += GROUP
            if LOG:
                energy = tl.log(tl.maximum(energy, floor, propagate_nan=tl.PropagateNan.ALL)) * scale
            to = out + (row * BANDS + band)[:, None] * num_frames + frames[None, :]
            kept = (band < BANDS)[:, None] & (frames < num_frames)[None, :]
            tl.store(to, energy.to(out.dtype.element_ty), mask=kept)
        tl.debug_barrier()  # before the next tile's powers take the place of these


@triton.constexpr_function
def _num_classes(n1, classes):
    """Return how many values of k1 there are, with those that fill the last part."""
    return -(-(n1 // 2 + 1) // classes) * classes


@triton.jit
def _windowed(audio, window, begin, time, last, N1: tl.constexpr, N2: tl.constexpr, REFLECT: tl.constexpr):
    """Return the N1 tensors (frame, n2) that hold samples N2·n1 + n2 of the frames, windowed."""
    n2 = tl.arange(0, N2)
    start = begin[:, None] + n2[None, :]
    if (tl.min(begin, 0) >= 0) & (tl.max(begin, 0) + N1 * N2 <= time):
        x = ()
        for n1 in tl.static_range(N1):
            sample = tl.load(audio + start + n1 * N2).to(tl.float32)
            x = x + (sample * tl.load(window + n2 + n1 * N2)[None, :],)
    else:
        x = ()
        for n1 in tl.static_range(N1):
            index = start + n1 * N2
            if REFLECT:
                index = tl.abs(index)
                index = tl.minimum(index, 2 * last - index)
            sample = tl.load(audio + index, mask=(index >= 0) & (index < time), other=0.0).to(tl.float32)
            x = x + (sample * tl.load(window + n2 + n1 * N2)[None, :],)
    return x


@triton.jit
def _turned(re, im, twiddles, N1: tl.constexpr, N2: tl.constexpr, COUNT: tl.constexpr):
    """Return outputs k1 times w^(n2·k1), and zeros up to COUNT."""
    n2 = tl.arange(0, N2)
    turned_re = (re[0],)
    turned_im = (im[0],)
    for k1 in tl.static_range(1, COUNT):
        if k1 <= N1 // 2:
            c = tl.load(twiddles + n2 + k1 * N2)[None, :]
            s = tl.load(twiddles + n2 + (N1 // 2 + 1 + k1) * N2)[None, :]
            if 2 * k1 == N1:  # this output is real
                turned_re = turned_re + (c * re[k1],)
                turned_im = turned_im + (-s * re[k1],)
            else:
                turned_re = turned_re + (c * re[k1] + s * im[k1],)
                turned_im = turned_im + (c * im[k1] - s * re[k1],)
        else:
            turned_re = turned_re + (tl.zeros_like(re[0]),)
            turned_im = turned_im + (tl.zeros_like(re[0]),)
    return turned_re, turned_im


@triton.jit
def _rows(x, COUNT: tl.constexpr):
    """Return tensors (frame, n2) as one (k1 · frame, n2)."""
    joined = tl.permute(_joined(x, COUNT), (2, 0, 1))
    return tl.reshape(joined, (COUNT * x[0].shape[0], x[0].shape[1]))


@triton.jit
def _joined(x, COUNT: tl.constexpr):
    """Return tensors as one with a new last axis."""
    if COUNT == 1:
        return tl.expand_dims(x[0], 2)
    else:
        even = _joined(x[0::2], COUNT // 2)
        odd = _joined(x[1::2], COUNT // 2)
        return tl.reshape(tl.join(even, odd), (even.shape[0], even.shape[1], COUNT))


@triton.jit
def _upper(x):
    return (x.to(tl.int32, bitcast=True) & _UPPER_BITS).to(tl.float32, bitcast=True)
