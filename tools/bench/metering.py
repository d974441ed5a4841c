"""What reading some crops cost one process: processor time, waiting, memory, and what it asked the system to read.

Standard library only: the same meter runs in the environments of other libraries.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple


class Drawn(NamedTuple):
    """A crop that was delivered: samples [start, stop) of a recording."""

    key: str
    start: int
    stop: int


Reader = Callable[[int], list[Drawn]]  # reads at least so many crops and says which


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What it cost to read some crops.

    Attributes:
        drawn: The crops.
        warmed: Crops that were read before these, to open everything; none of what follows counts them.
        wall_s: Seconds that passed.
        cpu_s: User and system time of this process and of those that it started and that have ended.
        peak_bytes: Most memory of this process since it began, all its libraries among it; 0 where not known.
        reads: System calls that read; 0 where not known.
        read_bytes: Bytes that they returned.
    """

    drawn: list[Drawn]
    warmed: int
    wall_s: float
    cpu_s: float
    peak_bytes: int
    reads: int
    read_bytes: int

    @classmethod
    def from_json(cls, text: str) -> "Cost":
        """Return what ``report`` printed."""
        values = json.loads(text)
        return cls(**values | {"drawn": [Drawn(*item) for item in values["drawn"]]})


def metered(read: Reader, *, seconds: float, least: int, most: int, exactly: int | None = None) -> Cost:
    """Return the cost of reading, once what is opened once has been opened.

    Args:
        read: What to measure.
        seconds: About how long.
        least: Crops to read first, twice: to open everything, and to see how long one takes.
        most: Crops to read at most, so that a wrong guess is bounded.
        exactly: Read that many, whatever the time, and none before.
    """
    warmed = 0
    if exactly is None:
        warmed = len(read(least))
        began = time.perf_counter()
        warmed += (again := len(read(least)))
        exactly = max(least, min(most, int(seconds / (time.perf_counter() - began) * again)))
    reads, began, cpu_began = _reads(), time.perf_counter(), _cpu_s()
    drawn = read(exactly)
    wall_s, cpu_s, after = time.perf_counter() - began, _cpu_s() - cpu_began, _reads()
    return Cost(
        drawn=drawn,
        warmed=warmed,
        wall_s=wall_s,
        cpu_s=cpu_s,
        peak_bytes=_status("status", "VmHWM:") * 1024,
        reads=after[0] - reads[0],
        read_bytes=after[1] - reads[1],
    )


def report(systems: Mapping[str, Callable[..., Reader]]) -> None:
    """Measure the system that the command line describes, as JSON, and print its cost as JSON."""
    job: dict[str, Any] = json.loads(sys.argv[1])
    meter = {name: job.pop(name) for name in ("seconds", "least", "most", "exactly")}
    cost = metered(systems[job.pop("system")](**job), **meter)
    print(json.dumps(asdict(cost)))


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _reads() -> tuple[int, int]:
    """Return what this process has read from files and sockets: Linux counts it."""
    return _status("io", "syscr:"), _status("io", "rchar:")


def _status(file: str, name: str) -> int:
    path = Path("/proc/self") / file
    if not path.exists():
        return 0
    return next((int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith(name)), 0)
