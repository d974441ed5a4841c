"""Crops at labelled events."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, Literal

from shardkit.core.checks import checked_seconds
from shardkit.core.content import checked_interval_names
from shardkit.core.crops import Fallback, Recording, check_fallback, crop_length, scaled
from shardkit.core.errors import AudioError, InputError

_PLACES = ("inside", "center", "exact")


@dataclass(frozen=True, slots=True)
class EventCrop:
    """A crop at one of a recording's intervals, each equally likely.

    Args:
        duration_s: Length in seconds; all of a recording that is shorter. With ``at="exact"``: the most that is taken
            of an event; None takes all of it, and a batch is padded to its longest.
        of: Names of intervals, or one; empty: all that a recording has.
        at: ``inside``: anywhere inside the event, or, where that is the shorter one, anywhere around it. ``center``:
            the middle of the crop is the middle of the event, but where the recording ends. ``exact``: the event.
        fallback: What to do with a recording without such an interval. ``keep`` takes a crop anywhere (``exact``
            without a duration: all of it); ``skip`` draws another recording instead; ``raise`` raises.

    Raises:
        InputError: An option is out of range.
    """

    needs_loudness: ClassVar[bool] = False

    duration_s: float | None = None
    _: KW_ONLY
    of: tuple[str, ...] = ()
    at: Literal["inside", "center", "exact"] = "inside"
    fallback: Fallback = "keep"

    def __post_init__(self) -> None:
        if self.duration_s is not None:
            object.__setattr__(self, "duration_s", checked_seconds(self.duration_s, "duration_s"))
        elif self.at != "exact":
            raise InputError(f"a crop at={self.at!r} needs a duration_s; only at='exact' takes the event's own")
        object.__setattr__(self, "of", checked_interval_names(self.of, "of"))
        if self.at not in _PLACES:
            raise InputError(f"at {self.at!r} is unknown; choose inside, center or exact")
        check_fallback(self.fallback)

    @property
    def interval_names(self) -> tuple[str, ...]:
        """See ``Crop``."""
        return self.of

    def place(self, recording: Recording, uniform: float) -> tuple[int, int] | None:
        """Return the crop's bounds; see ``Crop.place``."""
        first, last = recording.bounds
        length = last - first if self.duration_s is None else crop_length(self.duration_s, recording)
        events = recording.events_inside
        if not len(events):
            if self.fallback == "skip":
                return None
            if self.fallback == "raise":
                names = ", ".join(map(repr, self.of)) or "any name"
                raise AudioError(f"no interval of {names}; choose fallback='keep' or 'skip'")
            start = first + scaled(uniform, last - first - length + 1)
            return start, start + length
        index = scaled(uniform, len(events))
        start, stop = events[index].tolist()
        if self.at == "exact":
            return start, min(stop, start + length)
        if self.at == "center":
            low = high = start + (stop - start - length) // 2
        else:
            low, high = min(start, stop - length), max(start, stop - length)
        low, high = (min(max(bound, first), last - length) for bound in (low, high))
        chance = uniform * len(events) - index  # what is left of the number once it has chosen the event
        start = low + scaled(chance, high - low + 1)
        return start, start + length
