"""Which part of a recording each part of its features is computed from: an hour takes no more memory than a minute.

A frame sees the samples up to ``reach`` on either side of its place, and nothing else. So some frames computed from
their own samples and a margin are those that the whole recording gives:

    frames            |first ............ last|
    samples   |start  |                       |  stop|       what the module is given
              |<skip> |                                      frames of the margin, thrown away

At the ends of the recording there is no margin: there the module sees what it would see of the whole, and mirrors or
pads it as it would.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardkit.core.errors import AudioError

# Samples of a piece but for its margins. The values depend on where pieces begin, in their last bits: changing this
# is a new revision of the features.
PIECE_SAMPLES = 1 << 19


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames [first, last), computed from samples [start, stop) less the first ``skip`` frames of these."""

    first: int
    last: int
    start: int
    stop: int
    skip: int


def pieces_of(num_samples: int, num_frames: int, *, hop_length: int, reach: int | None) -> list[Piece]:
    """Return the pieces that a recording's features are computed in.

    Args:
        num_samples: Of the recording.
        num_frames: That the module makes of it.
        hop_length: Samples from frame to frame.
        reach: Samples on either side of ``i * hop_length`` that frame i sees at most; None: all, so in one piece.

    >>> pieces_of(1_000_000, 6_250, hop_length=160, reach=400)[1]
    Piece(first=3276, last=6250, start=523520, stop=1000000, skip=4)
    """
    size = max(1, PIECE_SAMPLES // hop_length)
    if reach is None or num_frames <= size:
        return [Piece(0, num_frames, 0, num_samples, 0)]
    margin = -(-reach // hop_length) + 1
    found = []
    for first in range(0, num_frames, size):
        last, begin = min(first + size, num_frames), max(0, first - margin)
        stop = num_samples if last == num_frames else min(num_samples, (last + margin) * hop_length)
        found.append(Piece(first, last, begin * hop_length, stop, first - begin))
    return found


def audio_of(
    pieces: Sequence[Piece], blocks: Iterable[NDArray[np.float32]]
) -> Iterator[tuple[Piece, NDArray[np.float32]]]:
    """Yield each piece with its samples, (channel, time), of a recording that comes in blocks of any size.

    Raises:
        AudioError: The blocks end before the last piece does.
    """
    waiting, held, begin = iter(blocks), list[NDArray[np.float32]](), 0
    for piece in pieces:
        end = begin + sum(block.shape[1] for block in held)
        while end < piece.stop:
            block = next(waiting, None)
            if block is None:
                raise AudioError(f"truncated: it has {end} samples, where the index says {pieces[-1].stop}")
            held.append(block)
            end += block.shape[1]
        joined = held[0] if len(held) == 1 else np.concatenate(held, axis=1)
        held = [joined[:, piece.start - begin :]]
        begin = piece.start
        yield piece, held[0][:, : piece.stop - begin]
