"""What a stream over S3 loses and how long it takes while its storage fails: each fault alone, all at once, an outage.

    python -m tools.bench.faults [--data FOLDER] [--write docs/faults.md]

packs the real recordings as FLAC, WAV and Ogg Vorbis, serves them by ``rclone serve s3`` behind the fault-injecting
proxy of the tests, and reads epochs through it: by threads, by worker processes, and once while everything fails for 30
seconds. Every epoch is compared with the undisturbed one: source, key, start and a checksum of the audio of each crop,
in order. Packing goes through the same faults and is compared byte for byte. With ``--write`` the tables in the page
are replaced; what stands around them stays.
"""

import argparse
import logging
import os
import tempfile
import threading
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import shardkit as sk
from shardkit.pack.inputs import InputOptions
from shardkit.pack.options import PackOptions
from shardkit.pack.run import pack
from shardkit.storage.location import locate
from shardkit.train import Loader
from tests.storage.fault_proxy import KINDS, FaultProxy, proxied
from tools.bench.tables import Table, machine
from tools.s3_server import Endpoint, serve

BEGIN, END = "<!-- written by tools.bench.faults -->", "<!-- end -->"
_SLOW = ("stall", "slow-down")  # one of these takes a second
_OPTIONS: dict[str, Any] = {"read_timeout": 2.0}
_COLUMNS = (
    "fault",
    "epochs",
    "requests",
    "injected",
    "asked again",
    "crops lost",
    "crops changed",
    "s",
    "undisturbed s",
)

Crop = tuple[str, str, int, int]


class Bench(NamedTuple):
    """A server, the datasets on it, and how much to do."""

    endpoint: Endpoint
    bucket: Path
    epochs: int
    share: float


def make_datasets(data: Path, bucket: Path, *, digits: int, tracks: int) -> None:
    """Pack the first so many recordings of each kind at the folder that is served."""
    chosen = bucket.parent.parent / "chosen"
    found = {
        "digits": sorted((data / "digits").glob("*.wav"))[:digits],
        "music": sorted((data / "music").rglob("*.ogg"))[:tracks],
    }
    for name, paths in found.items():
        (chosen / name).mkdir(parents=True)
        for path in paths:
            (chosen / name / path.name).symlink_to(path)
    for name, source, codec in (("flac", "digits", "flac"), ("wav", "digits", "wav"), ("music", "music", "keep")):
        options = PackOptions(shard_bytes=8_000_000, workers=1, codec=codec)
        pack(locate(chosen / source), locate(bucket / name), inputs=InputOptions(), options=options)


def stream_at(url: str) -> sk.Stream:
    """Return one pass over everything, opened at an endpoint by a client of its own."""
    options = {"endpoint_url": url, "config_kwargs": {"user_agent_extra": str(uuid4())}} | _OPTIONS
    opened = {name: sk.open(f"s3://bench/{name}", storage_options=options) for name in ("flac", "wav", "music")}
    views = opened | {"music": opened["music"].windows(5.0)}
    return sk.Stream(views, passes=1, crop=sk.RandomCrop(0.5), sample_rate=8000, channels=1, batch_size=32, seed=1)


def crops_of(batches: Iterable[Any]) -> list[Crop]:
    """Return what identifies each crop."""
    return [
        (source, key, int(start), zlib.crc32(memoryview(audio).cast("B")))
        for batch in batches
        for source, key, start, audio in zip(
            batch.sources,
            batch.keys,
            batch.starts,
            getattr(batch.audio, "numpy", lambda batch=batch: batch.audio)(),
            strict=True,
        )
    ]


def read(proxy: FaultProxy, workers: int) -> tuple[list[Crop], int | None]:
    """Return the crops of an epoch, and how often something was asked for again, where one process knows."""
    stream = stream_at(proxy.url)
    if workers:
        return crops_of(Loader(stream, device="cpu", workers=workers)), None
    return crops_of(stream), stream.stats()["retries"]


def measure(bench: Bench, table: Table, name: str, *kinds: str, workers: int = 0, outage_s: float = 0.0) -> None:
    """Read some epochs under faults and add a row; the undisturbed ones are read in turn with them."""
    share = bench.share / 5 if kinds in {(kind,) for kind in _SLOW} else bench.share
    epochs = 1 if outage_s else bench.epochs
    lost = changed = requests = again = 0
    times: tuple[list[float], list[float]] = ([], [])
    injected = usual = 0
    for seed in range(epochs):
        found: list[list[Crop]] = []
        for row, faults in enumerate(((), kinds)):
            with proxied(bench.endpoint.url, *faults, share=share, seed=seed) as proxy:
                began = time.perf_counter()
                if outage_s and row:
                    _fail_amid(proxy, usual // 2, outage_s)
                crops, retries = read(proxy, workers)
                times[row].append(time.perf_counter() - began)
                found.append(crops)
                usual = proxy.requests
        injected += sum(proxy.injected.values())
        requests += proxy.requests
        again += retries or 0
        lost += max(0, len(found[0]) - len(found[1]))
        changed += sum(one != other for one, other in zip(*found, strict=False))
    table.add(
        name,
        epochs,
        f"{requests:,}",
        f"{injected:,}",
        "" if workers else f"{again:,}",
        lost,
        changed,
        f"{sum(times[1]) / epochs:.1f}",
        f"{sum(times[0]) / epochs:.1f}",
    )


def _fail_amid(proxy: FaultProxy, after: int, seconds: float) -> None:
    """Have everything fail for some seconds, after so many requests."""

    def fail() -> None:
        while proxy.requests < after:
            time.sleep(0.01)
        with proxy.outage():
            time.sleep(seconds)

    threading.Thread(target=fail, daemon=True).start()


def measure_packing(bench: Bench, table: Table) -> None:
    """Pack through all faults and compare with what is packed without."""
    source = bench.bucket.parent.parent / "chosen" / "digits"
    options = PackOptions(shard_bytes=60_000, workers=1)

    def packed(url: str, folder: str) -> float:
        began = time.perf_counter()
        target = locate(f"s3://bench/{folder}/packed", _OPTIONS | {"endpoint_url": url})
        pack(locate(source), target, inputs=InputOptions(), options=options)
        return time.perf_counter() - began

    well_s = packed(bench.endpoint.url, "well")
    with proxied(bench.endpoint.url, *KINDS, share=3 * bench.share) as proxy:  # half of them are for reading
        badly_s = packed(proxy.url, "badly")
    well, badly = (
        {p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file()}
        for f in (bench.bucket / "well", bench.bucket / "badly")
    )
    differ = sum(well.get(name) != badly.get(name) for name in well.keys() | badly.keys())
    table.add(f"{proxy.requests:,}", sum(proxy.injected.values()), len(well), differ, f"{badly_s:.1f}", f"{well_s:.1f}")


def tables(bench: Bench, outage_s: float) -> list[Table]:
    """Measure everything."""
    epoch = Table("Reading: what was delivered beside the undisturbed epoch", _COLUMNS)
    for kind in KINDS:
        measure(bench, epoch, kind, kind)
    measure(bench, epoch, "all at once", *KINDS)
    measure(bench, epoch, "all at once, 2 worker processes", *KINDS, workers=2)
    measure(bench, epoch, f"nothing answers for {outage_s:.0f} s", outage_s=outage_s)
    measure(bench, epoch, "the same, 2 worker processes", workers=2, outage_s=outage_s)
    packing = Table(
        "Packing to S3 through all faults at once",
        ("requests", "injected", "files", "files that differ", "s", "undisturbed s"),
    )
    measure_packing(bench, packing)
    return [epoch, packing]


def write(page: Path, found: list[Table]) -> None:
    """Put the tables where the page has those of before."""
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    made = "\n\n".join([table.markdown() for table in found] + [f"{time.strftime('%Y-%m-%d')}: {machine()}"])
    page.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}")


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("SHARDKIT_TEST_DATA"), help="real recordings")
    parser.add_argument("--digits", type=int, default=600)
    parser.add_argument("--tracks", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=3, help="for each fault, each with a schedule of its own")
    parser.add_argument("--share", type=float, default=0.1, help="of the requests that are struck")
    parser.add_argument("--outage", type=float, default=30.0, help="seconds")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    options = parser.parse_args()
    logging.getLogger("shardkit").setLevel(logging.ERROR)  # a line for each damage that was mended
    if options.data is None:
        parser.error("name the folder of recordings by --data or SHARDKIT_TEST_DATA")
    with tempfile.TemporaryDirectory(prefix="shardkit-faults-") as scratch:
        served = Path(scratch) / "s3"
        served.mkdir()
        with serve(served, buckets=["bench"]) as endpoint:
            os.environ.update(endpoint.environment())
            make_datasets(options.data, served / "bench", digits=options.digits, tracks=options.tracks)
            time.sleep(1.1)  # the server looks at its folder once a second
            found = tables(Bench(endpoint, served / "bench", options.epochs, options.share), options.outage)
    if options.write is not None:
        write(options.write, found)


if __name__ == "__main__":
    main()
