"""A long run, and whether anything grows: memory, descriptors, threads, processes, the node's cache.

    nice python -m tools.bench.soak --draws 1000000 --write tools/bench/soak.md

draws short crops for a long time from three sources, one of them on a real S3 server behind the node's cache. It goes
in rounds; each has parts, whose draws are the given shares of it:

    60 %   an iteration that goes on through many rounds: salient crops, block shuffle, three sources
    20 %   an iteration that is broken off at the end of its part: random crops, full shuffle
    20 %   Loader(workers=2), broken off too: its processes come and go with each round

After each round the states are saved and loaded again, after every tenth into streams of datasets that are opened
anew. Then, with the long iteration still open, it is counted what the process holds.

It passes if, after the first fifth, no more than ``GROWTH_MB`` are gained in the rest of the run, by the lower end of
the 99 % confidence interval of a straight line; descriptors other than sockets, threads and processes are never more
than they were by then; sockets are within the pool's bound; the cache never takes more than its limit; and every batch
begins where the last one ended. Else the exit code is 1.
"""

import argparse
import gc
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from scipy import stats

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from shardkit.stream.batch import Batch
from shardkit.synth import BurstsOptions, synthesise
from shardkit.train import Loader
from tools.bench.tables import machine
from tools.s3_server import serve

GROWTH_MB = 4.0  # a leak of 5 bytes a draw would gain as much in a million draws
MAX_SOCKETS = 2 * 64 + 8  # idle connections of the pools of two clients, and what connects with processes
_WARM_UP = 0.2
_CONFIDENCE = 0.99
_LOOKS = 5
_BATCH = 50
_THREADS = 6  # fixed: by itself a stream that reads from S3 would have more or fewer as latency changes
_CACHE = "24MB"
_SHARES = (0.6, 0.2, 0.2)
_CROP_S = 0.25
_RATE = 8_000
_KINDS = {"clips": (2_000, 0.6, 2.0), "tracks": (60, 20.0, 30.0), "remote": (500, 4.0, 8.0)}  # recordings, from s, to s


@dataclass(frozen=True, slots=True)
class Held:
    """What the process holds after so many draws."""

    draws: int
    seconds: float
    rss_mb: float
    files: int
    sockets: int
    threads: int
    processes: int
    cache_mb: float


class Verdict(NamedTuple):
    """Whether a run was bounded; ``faults`` say why not."""

    slope_mb: float  # a million draws
    low_mb: float
    high_mb: float
    faults: list[str]


class Reading:
    """An iteration over a stream that checks that nothing is left out, and its state."""

    def __init__(self, make: Any) -> None:
        self._make = make
        self.stream: sk.Stream = make()
        self._position = 0

    def take(self, batches: Iterator[Any], draws: int) -> int:
        """Take so many draws, and return how many that were in the end."""
        num_taken = 0
        while num_taken < draws:
            batch: Batch = next(batches)
            if int(batch.positions[0]) != self._position:
                raise RuntimeError(
                    f"a batch begins at {int(batch.positions[0])}, the last one ended at {self._position}"
                )
            self._position = batch.position
            num_taken += len(batch.keys)
        return num_taken

    def resume(self, *, anew: bool) -> None:
        """Save the state, and load it again: into the same stream, or one made anew."""
        state = json.dumps(self.stream.state_dict())
        if anew:
            self.stream = self._make()
        self.stream.load_state_dict(json.loads(state))


def soak(folder: Path, draws: int, *, rounds: int) -> list[Held]:
    """Run it, and return what was held after each round."""
    places = {name: f"s3://soak/{name}" if name == "remote" else str(folder / name) for name in _KINDS}
    packing = multiprocessing.get_context("fork").Process(target=_pack, args=(folder, places))
    packing.start()  # so that this process holds nothing of it
    packing.join()
    if packing.exitcode:
        raise RuntimeError("the datasets could not be packed; see above")
    cache = folder / "cache"

    def stream(**options: Any) -> sk.Stream:
        views = {name: sk.open(place) for name, place in places.items()}
        return sk.Stream(
            views,
            batch_size=_BATCH,
            rank=0,
            world_size=1,
            cache=cache,
            cache_size=_CACHE,
            seed=1,
            threads=_THREADS,
            **options,
        )

    def salient() -> sk.Stream:
        weights = {"clips": 0.55, "tracks": 0.4, "remote": 0.05}
        return stream(crop=sk.SalientCrop(_CROP_S, floor_lufs=-50.0), shuffle="block", weights=weights)

    def random() -> sk.Stream:
        return stream(crop=sk.RandomCrop(2 * _CROP_S))

    steady, broken, shared = Reading(salient), Reading(random), Reading(random)
    batches: Iterator[Any] | None = None
    held, done, began = [], 0, time.monotonic()
    for number in range(rounds):
        parts = [round(share * draws / rounds) for share in _SHARES]
        batches = iter(steady.stream) if batches is None else batches
        done += steady.take(batches, parts[0])
        part = iter(broken.stream)
        done += broken.take(part, parts[1])
        del part
        part = iter(Loader(shared.stream, device="cpu", workers=2))
        done += shared.take(part, parts[2])
        del part
        anew = number % 10 == 9
        for reading in (broken, shared):
            reading.resume(anew=anew)
        if anew:
            batches = None
            steady.resume(anew=True)
            batches = iter(steady.stream)
            done += steady.take(batches, 1)
        held.append(_held(done, time.monotonic() - began, cache))
        if number % 10 == 9:
            print(f"  {held[-1]}", flush=True)
    return held


def _pack(folder: Path, places: dict[str, str]) -> None:
    """Pack the sources: many short clips, few long ones, and clips on S3 that are twice what the cache may take."""
    for seed, (name, (number, least_s, most_s)) in enumerate(_KINDS.items()):
        options = BurstsOptions(num_files=number, min_duration_s=least_s, max_duration_s=most_s, sample_rate=_RATE)
        (written,) = synthesise(folder / f"{name}-in", sources=["bursts"], bursts=options, seed=seed)
        pack(
            locate(written.manifest),
            locate(places[name]),
            inputs=InputOptions(),
            options=PackOptions(workers=1, shard_bytes=4_000_000, codec="wav" if name == "remote" else "auto"),
        )


def _held(draws: int, seconds: float, cache: Path) -> Held:
    """Look some times and keep the least: the long iteration reads ahead meanwhile, and opens and closes files."""
    gc.collect()
    looks = []
    for _ in range(_LOOKS):
        time.sleep(0.01)
        targets = list(_open_targets())
        sockets = sum(target.startswith("socket:") for target in targets)
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        looks.append((int(status["VmRSS"].split()[0]) / 1024, len(targets) - sockets, sockets, int(status["Threads"])))
    rss_mb, files, sockets, threads = (min(values) for values in zip(*looks, strict=True))
    return Held(
        draws=draws,
        seconds=seconds,
        rss_mb=rss_mb,
        files=files,
        sockets=sockets,
        threads=threads,
        processes=len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()),
        cache_mb=sum(_blocks_of(cache)) * 512 / 1e6,
    )


def _open_targets() -> Iterator[str]:
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield str(path.readlink())


def _blocks_of(cache: Path) -> Iterator[int]:
    for path in cache.glob("*/*"):
        with suppress(FileNotFoundError):  # evicted meanwhile
            yield path.stat().st_blocks


def judge(held: Sequence[Held], *, cache_mb: float, growth_mb: float = GROWTH_MB) -> Verdict:
    """Return whether a run was bounded."""
    settled = [one for one in held if one.draws > _WARM_UP * held[-1].draws]
    before = held[: len(held) - len(settled) + 1]
    line = stats.linregress([one.draws / 1e6 for one in settled], [one.rss_mb for one in settled])
    reach = float(stats.t.ppf((1 + _CONFIDENCE) / 2, len(settled) - 2)) * line.stderr
    span = (settled[-1].draws - settled[0].draws) / 1e6
    faults = []
    if (line.slope - reach) * span > growth_mb:
        faults.append(f"memory grew by {line.slope * span:.1f} MB after the first fifth; {growth_mb} are allowed")
    for name in ("files", "threads", "processes"):
        most, allowed = max(getattr(one, name) for one in settled), max(getattr(one, name) for one in before)
        if most > allowed:
            faults.append(f"{name}: {most} after the first fifth, {allowed} by then")
    if (most := max(one.sockets for one in held)) > MAX_SOCKETS:
        faults.append(f"sockets: {most}; {MAX_SOCKETS} are allowed")
    if (taken := max(one.cache_mb for one in held)) > cache_mb:
        faults.append(f"the cache took {taken:.1f} MB; its limit is {cache_mb}")
    return Verdict(line.slope, line.slope - reach, line.slope + reach, faults)


def draw_curves(held: Sequence[Held], path: Path) -> None:
    """Draw what was held over the draws."""
    import matplotlib as mpl  # noqa: PLC0415  (only where it is drawn)

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    draws = [one.draws / 1e3 for one in held]
    figure, axes = plt.subplots(3, 1, figsize=(9, 8), sharex=True, constrained_layout=True)
    axes[0].plot(draws, [one.rss_mb for one in held], color="C0")
    axes[0].set_ylabel("resident memory (MB)")
    axes[0].set_ylim(0, 1.25 * max(one.rss_mb for one in held))
    for name in ("files", "sockets", "threads", "processes"):
        axes[1].plot(draws, [getattr(one, name) for one in held], label=name)
    axes[1].set_ylabel("number held")
    axes[1].set_ylim(bottom=0)
    axes[1].legend(ncols=4, loc="upper right", frameon=False)
    axes[2].plot(draws, [one.cache_mb for one in held], color="C4")
    axes[2].axhline(_cache_mb(), color="grey", linestyle="--", linewidth=1)
    axes[2].annotate("limit", (draws[0], _cache_mb()), va="bottom", color="grey")
    axes[2].set_ylabel("node cache (MB)")
    axes[2].set_ylim(0, 1.25 * _cache_mb())
    axes[2].set_xlabel("draws (thousands)")
    for one in axes:
        one.axvspan(0, _WARM_UP * draws[-1], color="grey", alpha=0.08, linewidth=0)
        one.spines[["top", "right"]].set_visible(False)
    axes[0].set_title("What a process holds during a long run; shaded: warm-up", loc="left")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _cache_mb() -> float:
    return float(_CACHE.removesuffix("MB"))


def _report(held: Sequence[Held], verdict: Verdict, growth_mb: float, plot: str | None) -> str:
    shown = [held[0], *islice(held, len(held) // 10 - 1, None, max(1, len(held) // 10))]
    names = [field.name for field in fields(Held)]
    rows = [
        [f"{value:,.1f}" if isinstance(value := getattr(one, name), float) else f"{value:,}" for name in names]
        for one in shown
    ]
    lines = [
        "# A long run",
        "",
        f"`python -m tools.bench.soak --draws {round(held[-1].draws, -4)}`: {held[-1].draws:,} draws of three sources "
        f"(one on S3 behind the node's cache) in {held[-1].seconds:,.0f} s; {machine()}.",
        "",
        f"Memory after the first fifth: {verdict.slope_mb:+.2f} MB for each million draws "
        f"({_CONFIDENCE:.0%} interval {verdict.low_mb:+.2f} to {verdict.high_mb:+.2f}); allowed are {growth_mb} MB "
        "over the rest of the run.",
        f"Verdict: {'; '.join(verdict.faults) or 'within the bounds'}.",
        "",
        *([f"![What the process holds]({plot})", ""] if plot else []),
        "| " + " | ".join(names) + " |",
        "|" + "---:|" * len(names),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run it, print the verdict, and exit with 1 if something grew."""
    parser = argparse.ArgumentParser(description="Draw for a long time and look whether anything grows.")
    parser.add_argument("--draws", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--write", type=Path, help="Markdown file; a picture of the same name is drawn beside it.")
    parser.add_argument("--growth", type=float, default=GROWTH_MB, help="MB that may be gained after the first fifth.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shardkit-soak-") as scratch:
        folder = Path(scratch)
        (folder / "s3").mkdir()
        with serve(folder / "s3", buckets=["soak"]) as endpoint:
            os.environ.update(endpoint.environment())
            held = soak(folder, arguments.draws, rounds=arguments.rounds)
    verdict = judge(held, cache_mb=_cache_mb(), growth_mb=arguments.growth)
    plot = None if arguments.write is None else arguments.write.with_suffix(".png")
    if plot is not None:
        draw_curves(held, plot)
        arguments.write.write_text(_report(held, verdict, arguments.growth, plot.name))
    print(_report(held, verdict, arguments.growth, None))
    raise SystemExit(1 if verdict.faults else 0)


if __name__ == "__main__":
    main()
