"""What was found against what shardkit set out to reach, on two cores, as ratios within one run."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tools.bench.comparison.plan import Row
from tools.bench.comparison.report import OURS
from tools.bench.comparison.results import Results, cpu_ms, peak_mb, per_s, private_mb, read_kb, waiting
from tools.bench.tables import Table

NOT_PEERS = ("shardkit", "floor")
FIRST_BATCH_S, SAMPLE_US, S3_PER_S, S3_KB, WAITING = 0.3, 70.0, 400.0, 250.0, 0.02


class Goal(NamedTuple):
    """What was wanted, what was found (NaN: not measured), and with whom it is compared."""

    what: str
    wanted: str
    found: float
    met: bool
    against: str = ""


def goal_table(results: Results) -> Table:
    """Return each goal, what was found, and whether that is enough."""
    table = Table("Goals", ("goal", "wanted", "found", "met", "against"), quiet=True)
    for goal in [*_clips(results), *_tracks(results), *_remote(results), *_others(results), *_memory(results)]:
        known = not math.isnan(goal.found)
        met = "not measured" if not known else "yes" if goal.met else "NO"
        table.add(goal.what, goal.wanted, f"{goal.found:.3g}" if known else "", met, goal.against)
    return table


def _clips(results: Results) -> Iterator[Goal]:
    ours, loader = OURS["A"], Row(workload="A", system="shardkit", variant="Loader", workers=2)
    for workers, mine, where in ((0, ours, "in process"), (2, loader, "2 workers")):
        for documented, wanted, how in ((True, 3.0, "as documented"), (False, 1.7, "tuned")):
            rows = _peers(results, "A", documented=documented, workers=workers)
            yield _cheaper(results, f"A, {where}: CPU per sample, peers {how} / shardkit", rows, mine, wanted)
    tuned = _peers(results, "A", documented=False, workers=2)
    yield _faster(results, "A: samples/s on both cores, shardkit / peers tuned", tuned, ours, 2.0)
    yield _floor(results, "A: CPU, the bare decode / shardkit, 2 threads", ours, "2 threads", 0.85)
    alone = Row(workload="A", system="shardkit", variant="1 thread", workers=0)
    yield _floor(results, "A: the same, 1 thread", alone, "1 thread", 0.85)


def _tracks(results: Results) -> Iterator[Goal]:
    ours, what = OURS["B"], "B: CPU per crop, {} / shardkit"
    files = [row for row in _peers(results, "B", documented=False) if row.system == "files"]
    shards = [row for row in _peers(results, "B", documented=False) if row.system != "files"]
    documented = _peers(results, "B", documented=True)
    yield _cheaper(results, what.format("shards as documented"), documented, ours, 100.0)
    yield _cheaper(results, what.format("shards tuned"), shards, ours, 6.0)
    yield _cheaper(results, what.format("plain files"), files, ours, 1.6)
    yield _floor(results, "B: CPU, the bare decode / shardkit, 2 threads", ours, "2 threads", 0.8)
    windows = [row for row in _peers(results, "B-wav") if row.system == "litdata"]
    yield _cheaper(results, "B, WAV: CPU per crop, litdata / shardkit", windows, OURS["B-wav"], 1.5)
    yield _floor(results, "B, WAV: CPU, bare PCM / shardkit, 2 threads", OURS["B-wav"], "2 threads", 0.3)


def _remote(results: Results) -> Iterator[Goal]:
    ours = OURS["C-B"]
    rate = results.value(ours, per_s)
    yield Goal("C, tracks: crops/s on a first visit", f"≥ {S3_PER_S:g}", rate, rate >= S3_PER_S)
    first = [row for row in _peers(results, "C-B") if row.visit == "first"]
    filling = [row for row in first if "samples" in results.rows[row.id]]
    cold = Row(workload="C-B", system="shardkit", variant="cached", workers=0, visit="first")
    cached = [row for row in _peers(results, "C-B") if row.visit == "cached"]
    yield _faster(results, "C, tracks: crops/s on a first visit, shardkit / peers", first, ours, 20.0)
    what = "C, tracks: the same of those that keep what they fetch, from a cold start, shardkit's cache too"
    yield _faster(results, what, filling, cold, 1.0)
    counted = results.rows.get(ours.id, {}).get("counted")
    size = math.nan if counted is None else read_kb(counted)
    yield Goal("C, tracks: KB a crop", f"≤ {S3_KB:g}", size, size <= S3_KB)
    yield _faster(results, "C, tracks: crops/s, shardkit's first visit / peers' cached", cached, ours, 1.0)
    yield _floor(results, "C, tracks: CPU, bare range request and decode / shardkit", ours, "2 threads", 0.65)
    for visit in ("first", "cached"):
        rows = [row for row in _peers(results, "C-A") if row.visit == visit]
        yield _faster(results, f"C, clips: samples/s, shardkit's first visit / peers' {visit}", rows, OURS["C-A"], 1.0)


def _others(results: Results) -> Iterator[Goal]:
    yield from _packers(results)
    first = results.value(OURS["E"], lambda found: found["first_s"])
    yield Goal("E: s to the first batch after imports", f"< {FIRST_BATCH_S}", first, first < FIRST_BATCH_S)
    resumed = results.value(OURS["E"], lambda found: found["resumed_s"])
    same = results.rows.get(OURS["E"].id, {}).get("resume", {}).get("same", "")
    met = resumed < FIRST_BATCH_S and same == "the same crops"
    yield Goal("E: s to the first batch after a resume, the rest the same", f"< {FIRST_BATCH_S}", resumed, met, same)
    yield _cheaper(results, "F: CPU per sample, peers / shardkit", _peers(results, "F"), OURS["F"], 3.0)
    cost = 1e3 * results.value(OURS["F"], cpu_ms)
    yield Goal("F: µs of CPU a sample", f"≤ {SAMPLE_US:g}", cost, cost <= SAMPLE_US)
    for row in results.of("G-paced"):
        if row.system == "shardkit" and not row.workers:
            share_of_time = results.value(row, waiting)
            what = f"G: share of time that a step of {row.pace:g} × the floor's time waits"
            yield Goal(what, f"≤ {WAITING:g}", share_of_time, share_of_time <= WAITING)


def _packers(results: Results) -> Iterator[Goal]:
    """Peers encode and write tars; shardkit without loudness does that too, and hashes, indexes and seek tables."""
    bare = Row(workload="D", system="shardkit", variant="no loudness", workers=0)
    encoder = [Row(workload="D", system="floor", variant="encoder alone", workers=0)]
    peers = _peers(results, "D")
    yield _faster(results, "D: files/s, shardkit without loudness / peers, which measure none", peers, bare, 1.0)
    yield _faster(results, "D: files/s, shardkit with loudness / the same peers", peers, OURS["D"], 1.0)
    yield _faster(results, "D: files/s, with loudness, hashes, index / the FLAC encoder alone", encoder, OURS["D"], 0.5)
    yield _faster(results, "D: files/s, without loudness / the FLAC encoder alone", encoder, bare, 0.85)


def _memory(results: Results) -> Iterator[Goal]:
    for workload in ("A", "B", "B-wav", "C-A", "C-B", "D", "F"):
        rows = _peers(results, workload)
        for measure, what in ((peak_mb, "peak memory"), (private_mb, "that of no file")):
            found, best = _extreme(results, rows, lambda row, m=measure, w=workload: results.ratio(row, OURS[w], m))
            yield Goal(f"{workload}: {what}, peers / shardkit", "> 1", found, found > 1, best)


def _peers(results: Results, workload: str, *, documented: bool | None = None, workers: int | None = None) -> list[Row]:
    """Return the rows of peers that were measured, of one kind where that is said."""
    return [
        row
        for row in results.of(workload)
        if row.system not in NOT_PEERS
        and results.rounds(row)
        and (documented is None or row.variant.startswith("documented") == documented)
        and (workers is None or row.workers == workers)
    ]


def _cheaper(results: Results, what: str, rows: Sequence[Row], ours: Row, wanted: float) -> Goal:
    found, best = _extreme(results, rows, lambda row: results.ratio(row, ours, cpu_ms))
    return Goal(what, f"≥ {wanted:g}", found, found >= wanted, best)


def _faster(results: Results, what: str, rows: Sequence[Row], ours: Row, wanted: float) -> Goal:
    found, best = _extreme(results, rows, lambda row: results.ratio(ours, row, per_s))
    return Goal(what, f"≥ {wanted:g}", found, found >= wanted, best)


def _floor(results: Results, what: str, ours: Row, variant: str, wanted: float) -> Goal:
    floor = Row(workload=ours.workload, system="floor", variant=variant, workers=0, visit=ours.visit)
    found, _ = _extreme(results, [floor], lambda row: results.ratio(row, ours, cpu_ms))
    return Goal(what, f"≥ {wanted:g}", found, found >= wanted, floor.title)


def _extreme(results: Results, rows: Sequence[Row], ratio: Callable[[Row], float]) -> tuple[float, str]:
    """Return the least ratio and whose it is; NaN where nothing was measured."""
    found = {row.title: ratio(row) for row in rows if results.rounds(row)}
    found = {title: value for title, value in found.items() if not math.isnan(value)}
    if not found:
        return math.nan, ""
    least = min(found, key=found.__getitem__)
    return found[least], least
