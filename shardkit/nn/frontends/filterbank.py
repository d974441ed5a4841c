"""Long filters at the audio's own rate, pooled to frames, without ever holding all of what lies between.

A second of 16 kHz through 40 complex filters is 1.3 million values, a batch of minutes is gigabytes; the pooled frames
are a 160th of that. So pieces of rows and frames go through filter and pool one after the other, and for gradients each
piece is computed again rather than kept (``torch.utils.checkpoint``):

    audio   |···────────────────────···········|     what the piece's filters touch: half a filter more on either side
    filter     |──────────────────|                  what its pools touch, at the audio's rate
    pool        └─4─┘└─5─┘└─6─┘└─7─┘                 frames of the piece

Frame i's pool is centred on sample i·hop + hop // 2, the middle of those that frame i of ``Batch.masks`` stands for:

    samples   |0 . . . |hop . . . |2·hop . .|        time = 2·hop + 3
    masks     |   0    |    1     |    2    |        ceil(time / hop) = 3 frames
    pools  ···|───^────|···     ^          ^         ``window`` samples each, (window - hop) // 2 of them before i·hop

The filters are applied by FFT in blocks (overlap-save): filters of 401 taps cost a quarter of what they do in a direct
convolution; docs/frontends.md has the figures.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Pool = Callable[[Tensor, int, int], Tensor]

# Values, of all filters at the audio's rate, that a piece has: on a CPU those of each thread, few enough for its caches
# and for memory that the process has already; elsewhere those that bound a piece at about a gigabyte.
_AT_ONCE_CPU = 1 << 19
_AT_ONCE = 1 << 25


def pooled_filters(rows: Tensor, kernels: Tensor, pool: Pool, *, window: int, hop: int) -> Tensor:
    """Return what pooling makes of filtered rows, one column a hop.

    Args:
        rows: (row, time), time > 0; beyond its ends are zeros.
        kernels: (filter, part, tap), real; their number of taps is odd, and they are correlated with the audio.
        pool: Makes (row, filter, frame) of responses, (row, filter, part, time), and of how many samples of the first
            and the last pool lie before and behind them.
        window: Samples of a pool, at least ``hop``.
        hop: Samples from frame to frame.

    Returns:
        (row, filter, frame), frame = ceil(time / hop).
    """
    time = rows.shape[-1]
    num_frames = -(-time // hop)
    at_once = torch.get_num_threads() * _AT_ONCE_CPU if rows.device.type == "cpu" else _AT_ONCE
    most = max(1, at_once // (len(kernels) * hop))
    step = -(-num_frames // -(-num_frames // most))  # so that pieces are nearly of one size
    size = _fft_size(kernels.shape[-1], (step - 1) * hop + window)
    spectra = torch.fft.rfft(kernels, n=size)
    compute = partial(_piece, num_taps=kernels.shape[-1], size=size, pool=pool, window=window, hop=hop)
    if torch.is_grad_enabled():
        compute = partial(checkpoint, compute, use_reentrant=False, preserve_rng_state=False)
    bounds = [(first, min(first + step, num_frames)) for first in range(0, num_frames, step)]
    parts = torch.split(rows, max(1, most // step))
    return torch.cat([torch.cat([compute(part, spectra, each) for each in bounds], dim=-1) for part in parts])


def _piece(
    rows: Tensor,
    spectra: Tensor,
    frames: tuple[int, int],
    *,
    num_taps: int,
    size: int,
    pool: Pool,
    window: int,
    hop: int,
) -> Tensor:
    """Return frames [first, last) of rows, (row, filter, frame)."""
    first, last = frames
    left = (window - hop) // 2
    start, stop = first * hop - left, (last - 1) * hop - left + window
    inside = max(start, 0), min(stop, rows.shape[-1])
    responses = _filtered(rows, spectra, inside, num_taps=num_taps, size=size)
    return pool(responses, inside[0] - start, stop - inside[1])


def _filtered(rows: Tensor, spectra: Tensor, bounds: tuple[int, int], *, num_taps: int, size: int) -> Tensor:
    """Return samples [start, stop) of each filter's response, centred, (row, filter, part, time)."""
    start, stop = bounds
    useful = size - num_taps + 1  # the others of a block are wrapped around by the transform
    num_blocks = -(-(stop - start) // useful)
    low = start - num_taps // 2
    high = low + num_blocks * useful + num_taps - 1
    samples = rows[:, max(low, 0) : high]
    samples = nn.functional.pad(samples, (max(-low, 0), max(high - rows.shape[-1], 0)))
    blocks = torch.fft.rfft(samples.unfold(-1, size, useful))[:, None, None]  # (row, 1, 1, block, bin)
    responses: Tensor = torch.fft.irfft(blocks * spectra.conj()[:, :, None], n=size)[..., :useful]
    return responses.flatten(-2)[..., : stop - start]


def _fft_size(num_taps: int, length: int) -> int:
    """Return a block's size: about four filters, where a CPU took least time, or less if the piece is shorter."""
    whole = length + num_taps - 1
    return 1 << (min(4 * num_taps, whole) - 1).bit_length()
