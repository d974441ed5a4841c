"""Partners within a batch, for mixup and cutmix: found on the same rank, and the same for any number of ranks.

A global batch of G positions falls into M classes by position mod M, and partners are drawn within a class. Rank r of
R has the positions g = r (mod R); where R divides M, a class lies whole on one rank:

    position    0 1 2 3 4 5 6 7 8 9 10 11    G = 12, M = 4: classes a b c d
    class       a b c d a b c d a b c  d
    rank of 2   0 1 0 1 0 1 0 1 0 1 0  1     a and c on rank 0, b and d on rank 1

M follows from G alone: the largest power of two up to 64, the lanes of a stream, that leaves 8 positions or more to a
class; 1 where there is none. So a run goes on with the same pairs on 1, 2, 4 ... M ranks.
"""

import torch
from torch import Tensor

from shardkit.core.errors import InputError
from shardkit.nn.augment.step import AudioBatch
from shardkit.nn.draws import integers

_MOST_CLASSES = 64  # the lanes of a stream
_LEAST_MEMBERS = 8


def default_classes(global_batch_size: int) -> int:
    """Return how many classes a global batch falls into.

    >>> [default_classes(size) for size in (8, 32, 96, 512, 4096, 7)]
    [1, 4, 8, 64, 64, 1]
    """
    powers = (2**power for power in range(_MOST_CLASSES.bit_length()))
    fitting = [
        classes
        for classes in powers
        if global_batch_size % classes == 0 and global_batch_size >= classes * _LEAST_MEMBERS
    ]
    return max(fitting, default=1)


def partners(batch: AudioBatch, uniforms: Tensor, *, classes: int | None = None) -> Tensor:
    """Return the row that is each row's partner, another one of its class, each equally likely.

    Rows of one view are partners of rows of that view. A class of one position has only itself.

    Args:
        batch: One rank's share of a global batch, in the order of positions.
        uniforms: (batch,) numbers in [0, 1), float64.
        classes: Number of classes; None: by the size of the global batch.

    Returns:
        Rows of this batch, (batch,) int64.

    Raises:
        InputError: The ranks do not divide the classes; the message says which number of classes works.
    """
    rows, views, size = len(batch.audio), batch.views, batch.global_batch_size
    place = torch.arange(rows, device=batch.audio.device)
    if not rows:
        return place
    num_positions = rows // views
    classes = default_classes(size) if classes is None else classes
    _check(size, num_positions, classes)
    stride = classes // (size // num_positions)  # from one position of a class to the next, in this rank's positions
    members = num_positions // stride
    position, view = place // views, place % views
    own = position // stride
    other = own if members == 1 else (own + 1 + integers(uniforms, members - 1)) % members
    return (position % stride + other * stride) * views + view


def _check(size: int, num_positions: int, classes: int) -> None:
    if num_positions > size or size % num_positions:
        raise InputError(
            f"{num_positions} positions are no rank's share of a global batch of {size}; give global_batch_size as the "
            "positions of all ranks together"
        )
    ranks = size // num_positions
    if size % classes or classes % ranks:
        raise InputError(
            f"{ranks} ranks, {classes} classes of partners and a global batch of {size} do not divide one another; "
            f"give classes={ranks} (partners then change with other numbers of ranks), or a multiple of {ranks} that "
            f"divides {size}"
        )
