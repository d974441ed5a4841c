"""What all feature modules have in common: a rate, a hop, a count of frames, and a description to build them from."""

from inspect import Parameter, signature
from typing import Any

from torch import Tensor, nn

from shardkit.core.checks import checked_whole


class Features(nn.Module):
    """Base of the modules that make (batch, channel, band, frame) of (batch, channel, time).

    They compute in float32 under autocast and of half-precision audio too, because half precision can't hold both the
    loud and the quiet bands of a spectrum. Windows and filters follow ``.to(device)`` and ``.double()``, and are in no
    ``state_dict``: they follow from the options. A NaN or an infinity stays in its own row, a batch item's channel.

    Attributes:
        sample_rate: Of the audio, in Hz.
        hop_length: Samples from frame to frame.
        reach: Samples on either side of sample i · hop_length that frame i of ``per_frame`` sees at most; None: it may
            see all of a clip.
    """

    reach: int | None = None

    def __init__(self, *, sample_rate: int, hop_length: int) -> None:
        super().__init__()
        self.sample_rate = checked_whole(sample_rate, "sample_rate")
        self.hop_length = checked_whole(hop_length, "hop_length")
        self._options: dict[str, Any] = {"sample_rate": self.sample_rate, "hop_length": self.hop_length}

    @classmethod
    def option_names(cls) -> frozenset[str]:
        """Return the names of the options that this kind of features has: its and its bases' keyword-only ones."""
        bases = [base for base in cls.__mro__ if issubclass(base, Features) and "__init__" in vars(base)]
        parameters = [each for base in bases for each in signature(vars(base)["__init__"]).parameters.values()]
        return frozenset(each.name for each in parameters if each.kind is Parameter.KEYWORD_ONLY)

    def num_frames(self, num_samples: int) -> int:
        """Return how many frames ``forward`` makes of so many samples."""
        raise NotImplementedError

    def forward(self, audio: Tensor) -> Tensor:
        """Return the features of audio, (batch, channel, time) to (batch, channel, band, frame)."""
        raise NotImplementedError

    @property
    def is_per_frame(self) -> bool:
        """Whether ``per_frame`` is all there is to do; ``per_clip`` then returns what it is given."""
        return True

    def per_frame(self, audio: Tensor) -> Tensor:
        """Return the part of the features that sees a frame at a time, (batch, channel, band, frame).

        ``per_clip`` of it is what ``forward`` returns. So frames of a recording that does not fit in memory can be
        computed from pieces of it, which overlap by ``reach``.
        """
        return self.forward(audio)

    def per_clip(self, features: Tensor) -> Tensor:
        """Return the features of what ``per_frame`` made of a whole clip."""
        return features

    def config(self) -> dict[str, Any]:
        """Return the kind and every option that decides the result, resolved, as plain JSON values.

        What means the same is the same: the window's default length and that length said explicitly, 0 Hz and 0.0.
        ``from_config`` builds an equal module of it. ``.double()`` is not in it.
        """
        return {"kind": type(self).__name__, **dict(sorted(self._options.items()))}

    def extra_repr(self) -> str:
        """Return the options that ``print`` shows."""
        return ", ".join(f"{name}={value!r}" for name, value in self._options.items())
