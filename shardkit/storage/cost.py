"""What a request costs where the bytes are, measured as requests run: seconds = latency + bytes / throughput.

A line is fitted by least squares to the (bytes, seconds) of each endpoint, over sums in which older requests count
exponentially less. What to read at once is decided by it, so a rough estimate of the present is what is wanted:

- Reads are often all of one size, which tells the sum of latency and transfer but not the two apart. The slope is
  therefore pulled towards an assumed throughput, the harder the less the sizes differ (ridge regression, Hoerl and
  Kennard 1970); the mean is kept in any case.
- A request that was stalled or tried again for many seconds says little about the next one and is capped.

Seconds are those that a thread waits while others wait beside it, so throughput is that of one request, not the sum.
"""

import os
from typing import NamedTuple

from shardkit.storage.location import LOCAL, Location

MIN_REQUESTS = 16  # before an estimate is given
_DECAY = 1 - 1 / 256  # the last few hundred requests count
_FIT_EVERY = 16  # requests
_RIDGE = 0.1  # sizes that differ by this part of their mean count as much as the assumption does
_ASSUMED_BYTES_PER_S = {LOCAL: 2e9}
_ASSUMED_REMOTE_BYTES_PER_S = 100e6  # one connection to S3
_MAX_BYTES_PER_S = 1e11  # so that it is a number where size makes no difference
_OUTLIER = 8  # times the expected seconds,
_OUTLIER_S = 0.25  # but a disk that wakes up is none
_MAX_KNOWN = 4096  # folders and endpoints

Endpoint = tuple[str, str, str]


class RequestCost(NamedTuple):
    """The estimate: a request of n bytes takes ``latency_s + n / bytes_per_s`` seconds."""

    latency_s: float
    bytes_per_s: float

    def seconds(self, num_bytes: int) -> float:
        """Return the seconds that one request of ``num_bytes`` is expected to take."""
        return self.latency_s + num_bytes / self.bytes_per_s


class _Sums(NamedTuple):
    """Decayed sums over requests of 1, x, y, x² and xy; x bytes, y seconds."""

    weight: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0


class CostEstimate:
    """The requests of one endpoint.

    Without a lock: the sums are one immutable value, replaced at each request. Of two threads that do so in the same
    instant one is not counted, which an estimate can bear, and a fork finds nothing locked or half-written.
    """

    __slots__ = ("_assumed_bytes_per_s", "_cost", "_num_requests", "_sums")

    def __init__(self, assumed_bytes_per_s: float) -> None:
        self._assumed_bytes_per_s = assumed_bytes_per_s
        self._sums = _Sums()
        self._num_requests = 0
        self._cost: RequestCost | None = None

    def add(self, num_bytes: int, seconds: float) -> None:
        """Count a request that returned ``num_bytes`` after ``seconds``."""
        cost = self._cost
        if cost is not None:
            seconds = min(seconds, max(_OUTLIER * cost.seconds(num_bytes), _OUTLIER_S))
        w, x, y, xx, xy = self._sums
        self._sums = _Sums(
            w * _DECAY + 1,
            x * _DECAY + num_bytes,
            y * _DECAY + seconds,
            xx * _DECAY + num_bytes * num_bytes,
            xy * _DECAY + num_bytes * seconds,
        )
        self._num_requests += 1
        if self._num_requests % _FIT_EVERY == 0 and self._num_requests >= MIN_REQUESTS:
            self._cost = _fit(self._sums, self._assumed_bytes_per_s)

    @property
    def cost(self) -> RequestCost | None:
        """The estimate, None until enough was seen."""
        return self._cost


class Costs:
    """The estimates of all endpoints: a local device, a bucket or a host."""

    def __init__(self) -> None:
        self._estimates: dict[Endpoint, CostEstimate] = {}
        self._devices: dict[str, str] = {}  # folder -> device number

    def add(self, location: Location, num_bytes: int, seconds: float) -> None:
        """Count a request at a location."""
        endpoint = self._endpoint(location)
        estimate = self._estimates.get(endpoint)
        if estimate is None:
            assumed = _ASSUMED_BYTES_PER_S.get(location.protocol, _ASSUMED_REMOTE_BYTES_PER_S)
            _bound(self._estimates)
            estimate = self._estimates.setdefault(endpoint, CostEstimate(assumed))
        estimate.add(num_bytes, seconds)

    def cost_of(self, location: Location) -> RequestCost | None:
        """Return what a request costs where ``location`` is, None until enough of them were made there."""
        estimate = self._estimates.get(self._endpoint(location))
        return None if estimate is None else estimate.cost

    def _endpoint(self, location: Location) -> Endpoint:
        if not location.is_local:
            return location.protocol, location.options_json, location.path.partition("/")[0]
        folder = location.path.rpartition("/")[0]
        device = self._devices.get(folder)
        if device is None:
            _bound(self._devices)
            device = self._devices[folder] = _device(folder)
        return LOCAL, "", device


_COSTS = Costs()
add_request = _COSTS.add
cost_of = _COSTS.cost_of


def _fit(sums: _Sums, assumed_bytes_per_s: float) -> RequestCost:
    """Return the line through decayed sums; it passes through their mean, with both of its numbers at least 0."""
    mean_x, mean_y = sums.x / sums.weight, sums.y / sums.weight
    if mean_x <= 0:
        return RequestCost(mean_y, assumed_bytes_per_s)
    spread = max(0.0, sums.xx / sums.weight - mean_x * mean_x)
    slope_all_transfer = mean_y / mean_x
    pull = (_RIDGE * mean_x) ** 2
    assumed = min(1 / assumed_bytes_per_s, slope_all_transfer)
    slope = (sums.xy / sums.weight - mean_x * mean_y + pull * assumed) / (spread + pull)
    slope = min(max(slope, 1 / _MAX_BYTES_PER_S), max(slope_all_transfer, 1 / _MAX_BYTES_PER_S))
    return RequestCost(max(0.0, mean_y - slope * mean_x), 1 / slope)


def _device(folder: str) -> str:
    try:
        return str(os.stat(folder or "/").st_dev)  # noqa: PTH116  (a Path would cost as much again)
    except OSError:
        return ""


def _bound(known: dict[str, str] | dict[Endpoint, CostEstimate]) -> None:
    if len(known) >= _MAX_KNOWN:
        known.clear()
