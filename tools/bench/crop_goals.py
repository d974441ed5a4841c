"""What ``tools.bench.crops`` finds against what shardkit set out to reach."""

import statistics
from collections.abc import Iterator, Mapping
from typing import Protocol

from tools.bench.tables import Table

MOST_BYTES = 1.3  # relative to the frames that overlap the crop
DOCUMENTED_TIMES, TUNED_TIMES = 100.0, 6.0  # crops per CPU second, relative to other readers of shards
WAV_TIMES = 3.0
NOISE = 0.05  # by which repeated measurements of the same differ
S3_PER_S, CORES = 400.0, 2
OURS, WAV, DOCUMENTED = "shardkit, FLAC", "shardkit, WAV", "webdataset, decodes whole members"
TUNED = ("webdataset, soundfile seeks in members", "lhotse Shar, seeks in members")
PLAIN, FLOOR = "plain FLAC files, soundfile seeks", "floor, 1 thread"


class Costs(Protocol):
    """The figures of one system; lists have one of each round."""

    per_s: list[float]
    cpu_s: list[float]
    server_cpu_s: list[float]
    bytes: float
    overlapping: float
    requests: float


Goal = tuple[str, str, str, bool | None]  # what, what was wanted, what was found, whether that is enough


def goal_table(disk: Mapping[str, Costs], short: Mapping[str, Costs], remote: Mapping[str, Costs]) -> Table:
    """Return each goal and what was found; the names are those that ``tools.bench.crops`` gives."""
    table = Table("Goals", ("goal", "wanted", "found", "met"))
    goals = [*_disk_goals(disk), *_short_goals(short), *_remote_goals(remote)]
    for what, wanted, found, met in goals:
        table.add(what, wanted, found, "" if met is None else "yes" if met else "NO")
    return table


def _disk_goals(disk: Mapping[str, Costs]) -> Iterator[Goal]:
    ours, tuned = disk[OURS], [name for name in TUNED if name in disk]
    best = min(tuned, key=lambda name: _ratio(disk[name], ours))
    yield _bytes("disk: bytes fetched / overlapping frames", ours)
    yield _times(
        "disk: CPU per crop, webdataset as documented / shardkit FLAC", disk[DOCUMENTED], ours, DOCUMENTED_TIMES
    )
    yield _times(f"disk: the same, best tuned reader of shards ({best})", disk[best], ours, TUNED_TIMES)
    yield _times(f"disk: the same, {PLAIN}", disk[PLAIN], ours, None)
    yield _times("disk: CPU per crop, shardkit FLAC / shardkit WAV", ours, disk[WAV], WAV_TIMES)
    yield _times(f"disk: CPU per crop, shardkit FLAC / {FLOOR}", ours, disk[FLOOR], None)


def _short_goals(short: Mapping[str, Costs]) -> Iterator[Goal]:
    crops, whole = short.values()
    ratio = _ratio(crops, whole)
    yield "short clips: CPU per crop / per whole member", f"≤ 1 (± {NOISE:g})", f"{ratio:.2f}", ratio <= 1 + NOISE


def _remote_goals(remote: Mapping[str, Costs]) -> Iterator[Goal]:
    if not remote:
        return
    ours = remote[OURS]
    yield _bytes("S3: bytes fetched / overlapping frames", ours)
    rate = CORES / (statistics.median(ours.cpu_s) + statistics.median(ours.server_cpu_s))
    wall = statistics.median(ours.per_s)
    what = f"S3: crops/s that {CORES} cores give, server included ({wall:,.0f} as timed)"
    yield what, f"≥ {S3_PER_S:,.0f}", f"{rate:,.0f}", rate >= S3_PER_S
    for name in (DOCUMENTED, *TUNED):
        if name in remote:
            yield _times(f"S3: CPU per crop, {name} / shardkit FLAC", remote[name], ours, None)


def _bytes(what: str, ours: Costs) -> Goal:
    ratio = ours.bytes / ours.overlapping
    return what, f"≤ {MOST_BYTES:g}", f"{ratio:.3f}", ratio <= MOST_BYTES


def _times(what: str, dear: Costs, cheap: Costs, wanted: float | None) -> Goal:
    """Compare processor time."""
    times = _ratio(dear, cheap)
    return what, "" if wanted is None else f"≥ {wanted:g}", f"{times:.2f}", None if wanted is None else times >= wanted


def _ratio(costs: Costs, others: Costs) -> float:
    """Return the median of the rounds' ratios: what slows the machine slows both of a round."""
    return statistics.median(one / other for one, other in zip(costs.cpu_s, others.cpu_s, strict=True))
