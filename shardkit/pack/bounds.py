"""Intervals of a sample in samples of its recording, once that is known.

recording    |==========================|
inside          |-----|                          kept
beyond                          |-----------|    refused, or cut where the recording ends
behind                                    |--|   refused, or left out and told
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple, TypeAlias

from shardkit.core.errors import AudioError

# Annotations are often rounded to a few milliseconds; further past the end than this they belong to other audio.
INTERVAL_SLACK_S = 0.05

Seconds: TypeAlias = float | Fraction
Interval: TypeAlias = tuple[str, Seconds, Seconds]


class Bounds(NamedTuple):
    """What became of a sample's intervals.

    Attributes:
        samples: (name, start, stop), half-open, at the stored rate.
        seconds: The same in seconds as they were given, cut like them.
        num_cut: How many of them ended behind the recording by more than rounding.
        left_out: Why others are not among them.
    """

    samples: tuple[tuple[str, int, int], ...]
    seconds: tuple[tuple[str, float, float], ...]
    num_cut: int
    left_out: tuple[str, ...]


def bounds_in_samples(intervals: Sequence[Interval], *, rate: int, frames: int, cut: bool, where: str) -> Bounds:
    """Return intervals in samples, each rounded to the nearest and at least one sample long.

    Args:
        intervals: (name, start_s, stop_s); a ``Fraction`` is rounded once, from its exact value.
        rate: Of the stored recording, in Hz.
        frames: Its length.
        cut: Cut what leads out of the recording, as a rule where the recordings are shorter than was annotated.
        where: The recording, for messages.

    Raises:
        AudioError: An interval leads out of the recording, and is not to be cut.
    """
    samples, seconds, left_out, num_cut = [], [], [], 0
    for name, start_s, stop_s in intervals:
        start, stop = round(start_s * rate), round(stop_s * rate)
        outside = start >= frames or stop > frames + INTERVAL_SLACK_S * rate
        if outside and not cut:
            raise AudioError(f"{_outside(name, start_s, stop_s, frames / rate)} ({where}); mend its bounds")
        if start >= frames:
            left_out.append(_outside(name, start_s, stop_s, frames / rate))
            continue
        num_cut += outside
        samples.append((name, start, max(start + 1, min(stop, frames))))
        seconds.append((name, float(start_s), float(min(stop_s, frames / rate) if outside else stop_s)))
    return Bounds(tuple(samples), tuple(seconds), num_cut, tuple(left_out))


def _outside(name: str, start_s: Seconds, stop_s: Seconds, duration_s: float) -> str:
    return (
        f"interval {name!r} from {float(start_s):g} s to {float(stop_s):g} s lies outside the recording "
        f"of {duration_s:g} s"
    )
