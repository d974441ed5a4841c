"""Which samples a frame is made of, and how many frames there are: one timebase for features and masks.

Centred (the default), frame i is centred on sample i · hop, and stands for samples [i·hop, (i+1)·hop), as the frames of
``Batch.masks`` do:

    samples   |0 . . . |hop . . . |2·hop . . . |3·hop . .|        time = 3·hop + 3
    masks     |   0    |    1     |     2      |    3    |        ceil(time / hop) = 4 frames
    windows   ^0       ^1         ^2           ^3

What the first and last windows lack is the audio mirrored at its ends, or zeros. A centred transform has
1 + time // hop frames (where n_fft is odd, 1 + (time - 1) // hop): as many as masks, unless time is a multiple of hop,
and then one more, centred on the end of the audio.

Not centred, frame i is made of samples [i·hop, i·hop + n_fft), with nothing made up:

    windows   |-------0-------|
                         |-------1-------|                         1 + (time - n_fft) // hop frames

It begins where mask frame i begins, and sees what comes after it; the last masks have no frame.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from shardkit.core.checks import checked_whole
from shardkit.core.errors import InputError

PadMode = Literal["reflect", "constant"]
Frames = Literal["aligned", "whole", "all"]


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How audio is cut into frames.

    Attributes:
        n_fft: Samples of a frame.
        hop_length: Samples from frame to frame.
        center: Whether frame i is centred on sample i · hop, or begins there.
        pad_mode: What centred frames see beyond the ends: ``reflect``: the audio mirrored; ``constant``: zeros.
        frames: How many centred frames there are. ``aligned``: ceil(time / hop), as in masks. ``whole``:
            time // hop, as in Whisper. ``all``: as many as ``torch.stft`` has. Not centred, frames are always all.

    Raises:
        InputError: One of them can't be.
    """

    n_fft: int
    hop_length: int
    center: bool = True
    pad_mode: PadMode = "reflect"
    frames: Frames = "aligned"

    def __post_init__(self) -> None:
        checked_whole(self.n_fft, "n_fft")
        checked_whole(self.hop_length, "hop_length")
        for name, value, choices in (
            ("center", self.center, (True, False)),
            ("pad_mode", self.pad_mode, get_args(PadMode)),
            ("frames", self.frames, get_args(Frames)),
        ):
            if value not in choices:
                raise InputError(f"{name} is {value!r}; choose one of {', '.join(map(str, choices))}")

    def num_frames(self, num_samples: int) -> int:
        """Return how many frames so many samples have; none have none, however they are counted."""
        if num_samples == 0:
            return 0
        if not self.center:  # audio shorter than a frame is extended to one
            return 1 + max(0, num_samples - self.n_fft) // self.hop_length
        if self.frames == "all":
            return 1 + (num_samples - self.n_fft % 2) // self.hop_length
        if self.frames == "whole":
            return num_samples // self.hop_length
        return -(-num_samples // self.hop_length)

    def padded(self, samples: Tensor) -> Tensor:
        """Return just the samples that the frames are made of.

        Mirroring needs more than half a frame, and a frame that is not centred a whole one: shorter audio is first
        extended by zeros on the right. The number of frames stays that of the audio as given.

        Args:
            samples: (row, time), time > 0.

        Returns:
            (row, (frame - 1) · hop + n_fft); frame i begins at sample i · hop of it.
        """
        time = samples.shape[-1]
        left = self.n_fft // 2 if self.center else 0
        size = (self.num_frames(time) - 1) * self.hop_length + self.n_fft
        if left and self.pad_mode == "reflect":
            if time <= left:
                samples = nn.functional.pad(samples, (0, left + 1 - time))
            return nn.functional.pad(samples, (left, left), mode="reflect")[..., :size]
        right = size - left - time
        return nn.functional.pad(samples, (left, right)) if left or right > 0 else samples[..., :size]
