"""``shardkit bench``: what this storage, this processor and this stream deliver, and which of them limits.

Storage and decoding are measured apart, then the stream, which needs both and does more: what is much slower than
either has its own work to blame.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shardkit.core.checks import checked_seconds, checked_whole
from shardkit.core.crops import RandomCrop
from shardkit.core.errors import InputError
from shardkit.format.index import PRIMARY
from shardkit.report.bench_crops import random_crops
from shardkit.report.bench_stages import decode_crops, read_crops, run_stream
from shardkit.report.bench_verdict import verdict
from shardkit.stream.arguments import default_threads
from shardkit.stream.sources import Source
from shardkit.stream.stream import Stream
from shardkit.stream.view import View
from shardkit.stream.workers import available_cores

MAX_SECONDS = 600.0  # of a stage
_NUM_CROPS = 2_048  # random crops that are read before any is read again

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """What is measured.

    Attributes:
        crop_s: Seconds of a crop.
        sample_rate, channels: To deliver; None: as stored.
        batch_size: Samples of a batch.
        threads: Of the stream, and what "many at once" means; None: the stream's default.
        seconds: About how long each stage takes.
    """

    crop_s: float = 2.0
    sample_rate: int | None = None
    channels: int | None = None
    batch_size: int = 32
    threads: int | None = None
    seconds: float = 3.0

    def __post_init__(self) -> None:
        """Refuse what can't be, before anything is read."""
        checked_seconds(self.crop_s, "crop")
        if checked_seconds(self.seconds, "seconds") > MAX_SECONDS:
            raise InputError(f"seconds is {self.seconds:g}; a stage takes {MAX_SECONDS:g} s at most")
        if self.threads is not None:
            checked_whole(self.threads, "threads", most=1024)


def bench(view: View, options: BenchOptions, *, progress: Progress = lambda _done, _total: None) -> dict[str, Any]:
    """Measure; return plain JSON values.

    Args:
        view: Of what.
        options: How.
        progress: Called with stages done and stages in all.

    Returns:
        ``storage`` and ``decoding``, each with one and with many at once; ``stream``; and the ``verdict``. Rates
        are of crops: one request, one decoding and one sample each.

    Raises:
        InputError: No stream can be made of that; the message says why.
        StorageError, AudioError, CorruptDataError: Something can't be read; the message says where.
    """
    if not view.manifest.has_audio:
        raise InputError(
            f"{view.catalog.location}: holds features, and nothing to decode; give a dataset of recordings"
        )
    threads = options.threads or default_threads([Source(view.manifest.name, view)])
    crop = RandomCrop(options.crop_s)

    def make(num_samples: int) -> Stream:
        return Stream(
            view,
            crop=crop,
            sample_rate=options.sample_rate,
            channels=options.channels,
            batch_size=options.batch_size,
            threads=threads,
            epoch_samples=num_samples,
            rank=0,
            world_size=1,
            check_ranks=False,
            max_failures=0,
        )

    stream = make(1)  # refuses what can't be
    crops, half_s = random_crops(view, crop, _NUM_CROPS), options.seconds / 2
    audio = {"sample_rate": stream.sample_rate, "channels": stream.channels}
    progress(0, 5)
    alone, kept = read_crops(crops[::2], in_flight=1, seconds=half_s)
    progress(1, 5)
    many, more = read_crops(crops[1::2], in_flight=threads, seconds=half_s)
    progress(2, 5)
    kept += more
    decoding = []
    for number in (1, threads):
        decoding.append(decode_crops(kept, threads=number, seconds=half_s, **audio).facts())
        progress(2 + len(decoding), 5)
    found: dict[str, Any] = {
        **_subject(view, options, stream, threads),
        "storage": [alone.facts(), many.facts()],
        "decoding": decoding,
        "stream": run_stream(make, seconds=options.seconds),
    }
    progress(5, 5)
    return found | {"verdict": verdict(found)}


def _subject(view: View, options: BenchOptions, stream: Stream, threads: int) -> dict[str, Any]:
    """Return what was measured: the data, and what was asked of it."""
    catalog = view.catalog
    columns = catalog.fields[PRIMARY]
    row = int(view.rows[0])
    member = columns.member(row)
    return {
        "name": view.manifest.name,
        "location": str(catalog.location),
        "local": all(tar.is_local for tar in catalog.tars),
        "samples": len(view),
        "codec": member.facts.codec,  # of the first sample; nearly always that of all
        "reads_ranges": member.reads_ranges,
        "whole": options.crop_s >= view.longest_s() / 2,  # so nearly that neighbours lie close together
        "resamples": bool((columns.sample_rate[view.rows] != stream.sample_rate).any()),
        "crop_s": options.crop_s,
        "sample_rate": stream.sample_rate,
        "channels": stream.channels,
        "batch_size": stream.batch_size,
        "threads": threads,
        "cores": available_cores(),
    }
