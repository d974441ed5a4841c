"""What all feature modules have in common: a rate, a hop, a count of frames, and a description to build them from."""

from collections.abc import Mapping
from typing import Any, ClassVar

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
        option_names: Of the options that this kind of features has.
    """

    option_names: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, *, sample_rate: int, hop_length: int) -> None:
        super().__init__()
        self.sample_rate = checked_whole(sample_rate, "sample_rate")
        self.hop_length = checked_whole(hop_length, "hop_length")
        self._options: dict[str, Any] = {"sample_rate": self.sample_rate, "hop_length": self.hop_length}

    def num_frames(self, num_samples: int) -> int:
        """Return how many frames ``forward`` makes of so many samples."""
        raise NotImplementedError

    def forward(self, audio: Tensor) -> Tensor:
        """Return the features of audio, (batch, channel, time) to (batch, channel, band, frame)."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """Return the kind and every option that decides the result, resolved, as plain JSON values.

        What means the same is the same: the window's default length and that length said explicitly, 0 Hz and 0.0.
        ``from_config`` builds an equal module of it. ``.double()`` is not in it.
        """
        return {"kind": type(self).__name__, **dict(sorted(self._options.items()))}

    def extra_repr(self) -> str:
        """Return the options that ``print`` shows."""
        return ", ".join(f"{name}={value!r}" for name, value in self._options.items())


def options_of(*declared: type) -> frozenset[str]:
    """Return the names of the options that typed dicts declare."""
    annotations: list[Mapping[str, Any]] = [each.__annotations__ for each in declared]
    return frozenset().union(*annotations)
