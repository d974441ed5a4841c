"""Where in a recording a sample is cut: policies that place a crop from the index alone, without decoding.

Each policy is a frozen value with one method, ``place``: a pure function of what the index knows of a recording and
one uniform number, so a crop can be drawn again anywhere. Bounds are half-open, in samples at the stored rate.
"""

from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shardkit.core.checks import checked_seconds
from shardkit.core.content import Content, Runs
from shardkit.core.errors import AudioError, InputError

Fallback: TypeAlias = Literal["keep", "skip", "raise"]
FALLBACKS = ("keep", "skip", "raise")
NO_EVENTS = np.empty((0, 2), np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """What a policy sees of a recording.

    Attributes:
        frames: Its length in samples.
        sample_rate: Its stored rate in Hz.
        energies: Its K-weighted energy each 100 ms, (hop,); None where the index has none, or the policy needs none.
        events: Its intervals with the names that the policy asks for, half-open, in samples, (event, 2).
        section: Samples [start, stop) inside which the crop must lie; None: all.
    """

    frames: int
    sample_rate: int
    _: KW_ONLY
    energies: NDArray[np.float64] | None = None
    events: NDArray[np.int64] = field(default_factory=lambda: NO_EVENTS)
    section: tuple[int, int] | None = None

    @property
    def bounds(self) -> tuple[int, int]:
        """The samples inside which the crop must lie."""
        return self.section or (0, self.frames)

    @property
    def events_inside(self) -> NDArray[np.int64]:
        """The parts of the events that lie in the section, (event, 2)."""
        first, last = self.bounds
        events = np.clip(self.events, first, last)
        return events[events[:, 0] < events[:, 1]]


class Crop(Protocol):
    """A policy that places one crop in a recording."""

    @property
    def duration_s(self) -> float | None:
        """Length of the crop in seconds; None where it differs from sample to sample."""

    @property
    def needs_loudness(self) -> bool:
        """Whether ``place`` uses the energies; if not, they may be None."""

    @property
    def interval_names(self) -> tuple[str, ...] | None:
        """Names of the intervals that ``place`` uses; empty: all that there are; None: it uses none."""

    def place(self, recording: Recording, uniform: float) -> tuple[int, int] | None:
        """Return the crop's bounds.

        Args:
            recording: What the index knows of the recording.
            uniform: A number in [0, 1) that decides among the possible places.

        Returns:
            Start and stop in samples, from the start of the recording; None where the policy finds no place that
            will do and was told to skip such a recording.

        Raises:
            InputError: The crop is shorter than one sample.
            FormatError: The policy needs energies that are missing or don't fit the recording.
            AudioError: The policy finds no place that will do, and was told to raise.
        """


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """A crop that starts at any sample with equal probability.

    Args:
        duration_s: Length in seconds; all of a recording that is shorter.
        content: What of its intervals a crop must hold: ``shardkit.content(of=["speech"], ratio=0.5)``. None: nothing.
        fallback: What to do with a recording in which no crop holds that. ``keep`` takes one that holds the most;
            ``skip`` draws another recording instead; ``raise`` raises.

    Raises:
        InputError: An option is out of range.
    """

    needs_loudness: ClassVar[bool] = False

    duration_s: float
    _: KW_ONLY
    content: Content | None = None
    fallback: Fallback = "keep"

    def __post_init__(self) -> None:
        object.__setattr__(self, "duration_s", checked_seconds(self.duration_s, "duration_s"))
        check_content(self.content)
        check_fallback(self.fallback)

    @property
    def interval_names(self) -> tuple[str, ...] | None:
        """See ``Crop``."""
        return None if self.content is None else self.content.of

    def place(self, recording: Recording, uniform: float) -> tuple[int, int] | None:
        """Return the crop's bounds; see ``Crop.place``."""
        length = crop_length(self.duration_s, recording)
        if self.content is None:
            first, last = recording.bounds
            start = first + scaled(uniform, last - first - length + 1)
        else:
            starts = starts_with(self.content, self.fallback, recording, length)
            if starts is None:
                return None
            start = starts.pick(uniform)
        return start, start + length


@dataclass(frozen=True, slots=True)
class CenterCrop:
    """The middle of the recording, the same each time.

    Args:
        duration_s: Length in seconds; all of a recording that is shorter.

    Raises:
        InputError: The duration is not a positive number.
    """

    needs_loudness: ClassVar[bool] = False
    interval_names: ClassVar[None] = None

    duration_s: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "duration_s", checked_seconds(self.duration_s, "duration_s"))

    def place(self, recording: Recording, uniform: float = 0.0) -> tuple[int, int]:
        """Return the crop's bounds; see ``Crop.place``. The number is not used."""
        del uniform
        first, last = recording.bounds
        length = crop_length(self.duration_s, recording)
        start = first + (last - first - length) // 2
        return start, start + length


def crop_length(duration_s: float, recording: Recording) -> int:
    """Return the samples of a crop: the duration, or all of a shorter section.

    Raises:
        InputError: It is shorter than one sample.
    """
    first, last = recording.bounds
    length = round(duration_s * recording.sample_rate)
    if length < 1:
        raise InputError(
            f"duration_s {duration_s:g} is less than one sample at {recording.sample_rate} Hz; choose a longer one"
        )
    return min(last - first, length)


def starts_with(content: Content | None, fallback: Fallback, recording: Recording, length: int) -> Runs | None:
    """Return where crops of a length can start that hold some content; None: the recording is to be skipped.

    Raises:
        AudioError: There are none, and that is to raise.
    """
    first, last = recording.bounds
    if content is None:
        return Runs.between(first, last - length)
    found = content.starts(recording.events, first, last - length, length)
    if len(found):
        return found
    if fallback == "raise":
        seconds = length / recording.sample_rate
        raise AudioError(f"no crop of {seconds:g} s {content}; lower the ratio or choose fallback='keep' or 'skip'")
    return None if fallback == "skip" else content.most(recording.events, first, last - length, length)


def scaled(uniform: float, count: int) -> int:
    """Return an integer in [0, count): each equally likely (to 2^-53 of their number)."""
    return min(int(uniform * count), count - 1)


def check_content(content: Content | None) -> None:
    """Raise unless this is what ``content`` returns, or None."""
    if content is not None and not isinstance(content, Content):
        raise InputError(f"content is {content!r}; give what shardkit.content(of=[...], ratio=0.5) returns")


def check_fallback(fallback: str) -> None:
    """Raise unless it is one of ``FALLBACKS``."""
    if fallback not in FALLBACKS:
        raise InputError(f"fallback {fallback!r} is unknown; choose {', '.join(FALLBACKS[:-1])} or {FALLBACKS[-1]}")
