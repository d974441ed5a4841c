"""Some frames of an MP3 made a file of their own, and where such slices may begin.

A granule of Layer III is decoded from three things that came before it, and from nothing else:

    bits         up to 511 (MPEG-2: 255) bytes of the frames before, the bit reservoir (ISO/IEC 11172-3, 2.4.3.4)
    overlap      the second half of the IMDCT of the granule before
    filterbank   the last 15 of the 18 columns of subband samples of the granule before

So a decoder that begins at a frame is exact from the second granule on whose bits were there. mpg123 adds two things
of its own. It leaves out a frame whose bits are not there, and then its buffers are out of step; so such frames are
made silent here: their side information is cleared, but for how far back they reach, since mpg123 copies exactly
that much from one frame to the next. And it sums the 16 columns of the filterbank in the order they have in a ring
buffer, so the last bit depends on where in the ring the columns lie: 18 columns a granule, that is the same place
after 4 frames of two granules or 8 frames of one. Points lie on frames whose number is a multiple of that.
"""

from dataclasses import dataclass

import numpy as np

from shardkit.audio import mp3
from shardkit.audio.facts import AudioFacts
from shardkit.audio.points import SPACING_S, PointTable
from shardkit.core.errors import AudioError

_DECODER_DELAY = 529  # what mpg123 cuts off at the start of a file with a Xing header, beside the encoder's delay
_NUM_FRAMES = 1 << 20  # claimed in the header of a slice; mpg123 stops where the bytes do


@dataclass(frozen=True, slots=True)
class Slice:
    """A file of its own, and how many samples it claims to have: what a decoder counts less, it trims at the start."""

    data: bytes
    claims: int


@dataclass(frozen=True, slots=True)
class _Frames:
    """Consecutive frames of one kind.

    Attributes:
        starts: First byte of each frame, and one past the last byte of the last, (frame + 1,).
        reaches: How many bytes before its main data each frame needs, (frame,).
        gives: How many bytes of main data each frame has, (frame,).
        kind: One of the frames, for what all have in common.
    """

    starts: list[int]
    reaches: list[int]
    gives: list[int]
    kind: mp3.Frame

    def num_deaf(self, first: int) -> int:
        """Return how many frames from ``first`` on lack bits if what is before it is not there."""
        there = 0
        for number in range(first, len(self.gives)):
            if self.reaches[number] <= there:
                return number - first
            there += self.gives[number]
        return len(self.gives) - first


def slice_stream(frames: bytes | memoryview, *, at_start: bool, num_samples: int | None) -> Slice:
    """Return an MP3 file that holds some consecutive frames of another.

    What it decodes to is not exact until the bit reservoir is full.

    Args:
        frames: The frames' bytes.
        at_start: Whether they are the first ones: these stay as they are, since a full decode begins with them too.
        num_samples: What they must hold, if that is known.

    Raises:
        AudioError: They are damaged, or not all of them frames.
    """
    found = _walk(frames, 0)
    if found is None or found.starts[-1] != len(frames):
        where = 0 if found is None else found.starts[-1]
        raise AudioError(f"damaged: no MP3 frame {where} bytes into {len(frames)}")
    if num_samples is not None and num_samples != len(found.gives) * found.kind.num_samples:
        raise AudioError(
            f"damaged: {num_samples} samples expected, {len(found.gives)} MP3 frames of {found.kind.num_samples} found"
        )
    num_deaf = 0 if at_start else found.num_deaf(0)
    silent, there = [], 0
    for number in range(num_deaf):
        frame = bytes(frames[found.starts[number] : found.starts[number + 1]])
        silent.append(mp3.silenced(frame, there))
        there += found.gives[number]
    header = mp3.count_frame(bytes(frames[:4]), _NUM_FRAMES)
    return Slice(b"".join([header, *silent, frames[found.starts[num_deaf] :]]), _NUM_FRAMES * found.kind.num_samples)


def candidates(data: bytes | memoryview, facts: AudioFacts) -> PointTable | None:
    """Return points about every ``SPACING_S``; None: there are not enough, or something in the file is unusual.

    Whether decoding from them is exact is yet to be seen.
    """
    start = mp3.first_frame(data)
    if start is None:
        return None
    skip = _DECODER_DELAY
    header = mp3.frame_at(data, start)
    if header is not None and mp3.claimed_frames(data, start) is not None:
        skip += mp3.encoder_delay(data, start)
        start += header.num_bytes  # it holds no audio
    frames = _walk(data, start)
    if frames is None:
        return None
    granules = frames.kind.num_granules
    in_step = 8 // granules
    stride = max(1, int(SPACING_S * facts.sample_rate) // (in_step * frames.kind.num_samples)) * in_step
    picks = np.arange(0, len(frames.gives), stride)
    # A frame whose bits are there, and one granule more; what follows that is exact.
    lead = max((frames.num_deaf(int(pick)) for pick in picks[1:-1]), default=0) + (1 if granules == 2 else 2)
    picks = picks[picks + lead < len(frames.gives)]
    if len(picks) < 2:
        return None
    return PointTable(
        positions=picks.astype(np.int64) * frames.kind.num_samples,
        offsets=np.array(frames.starts, np.int64)[picks],
        end=frames.starts[-1],
        skip=skip,
        lead=lead * frames.kind.num_samples,
        lag=0,
        setup=None,
    )


def _walk(data: bytes | memoryview, start: int) -> _Frames | None:
    """Return the frames that follow each other from ``start`` on, as long as they are whole and of one kind."""
    kind = mp3.frame_at(data, start)
    starts, reaches, gives = [start], [], []
    frame = kind
    while frame is not None and kind is not None and frame.kind == kind.kind and start + frame.num_bytes <= len(data):
        reach, give = mp3.main_data(data, start, frame)
        start += frame.num_bytes
        starts.append(start)
        reaches.append(reach)
        gives.append(give)
        frame = mp3.frame_at(data, start)
    return None if kind is None or not gives else _Frames(starts, reaches, gives, kind)
