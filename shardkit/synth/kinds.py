"""Whole folders of tones in a layout that importers know, made by several processes.

    options ──► items ──┬─► job: its recordings and tables ─┐
      (pure plan)       ├─► job …                           ├─► the list, last ──► FOLDER
                        └─► job …                           ┘

An item's files are a function of the options and its number, so the number of processes changes no byte.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from shardkit.core.errors import InputError
from shardkit.pack.engine import Progress, Report, run_jobs
from shardkit.synth.clip import wav_parts
from shardkit.synth.framed import FramedOptions
from shardkit.synth.grid import GridOptions
from shardkit.synth.labels import LabelsOptions
from shardkit.synth.output import check_empty, csv_text, save
from shardkit.synth.pairs import PairsOptions

KINDS: Mapping[str, type[GridOptions]] = MappingProxyType(
    {options.kind: options for options in (PairsOptions, LabelsOptions, FramedOptions)}
)

PROCESS_FRAMES = 50_000_000  # samples that are worth a process: to start one costs as much as a second or two of work
JOB_FRAMES = 2_000_000  # samples of a job, about


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenKind:
    """What was written.

    Attributes:
        kind: Name in ``KINDS``.
        folder: Where it is.
        manifest: The list of it.
        num_rows: Lines of the list, the header not counted.
        num_files: Recordings.
        audio_s: Their durations added up.
        num_bytes: Bytes of all files.
        sample_rate: In Hz.
        bit_depth: ``8``, ``16``, ``24``, ``32`` or ``float``.
        skipped: Mode -> how many rows were left out because a voice is too high.
    """

    kind: str
    folder: Path
    manifest: Path
    num_rows: int
    num_files: int
    audio_s: float
    num_bytes: int
    sample_rate: int
    bit_depth: str
    skipped: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Job:
    folder: Path
    options: GridOptions
    start: int  # items, half-open
    stop: int


def write_kind(
    folder: Path, options: GridOptions, *, workers: int = 1, show: Callable[[int, int], None] | None = None
) -> WrittenKind:
    """Write recordings and, after all of them, the list that names them.

    With the same options and the same versions of NumPy every byte is the same, whatever the number of workers.

    Args:
        folder: Made if it isn't there; must be empty if it is.
        options: One of the classes in ``KINDS``.
        workers: Processes, at most: little work is done in this one.
        show: Called now and then with how many items are done, and of how many.

    Returns:
        What was written.

    Raises:
        InputError: The folder holds something already, or there are no workers.
        StorageError: The folder can't be written.
    """
    if workers < 1:
        raise InputError(f"workers is {workers}; ask for at least 1")
    check_empty(folder)
    item_frames = sum(options.frames for _ in options.clips(options.num_items - 1))  # the last is never too high
    processes = max(1, min(workers, options.num_items * item_frames // PROCESS_FRAMES))
    items = max(1, JOB_FRAMES // item_frames)
    jobs = [
        _Job(folder, options, start, min(start + items, options.num_items))
        for start in range(0, options.num_items, items)
    ]
    done = 0

    def report(progress: Progress) -> None:
        nonlocal done
        done += progress.num_inputs
        if show is not None:
            show(done, options.num_items)

    counts = run_jobs(_make, jobs, workers=processes, report=report)
    manifest = folder / options.manifest
    list_bytes = save(manifest, _csv_parts(options))
    return WrittenKind(
        kind=options.kind,
        folder=folder,
        manifest=manifest,
        num_rows=sum(count.num_rows for count in counts),
        num_files=sum(count.num_files for count in counts),
        audio_s=sum(count.num_files for count in counts) * options.frames / options.sample_rate,
        num_bytes=sum(count.num_bytes for count in counts) + list_bytes,
        sample_rate=options.sample_rate,
        bit_depth=options.bit_depth,
        skipped=options.skipped(),
    )


@dataclass(frozen=True, slots=True)
class _Count:
    num_rows: int
    num_files: int
    num_bytes: int


def _make(job: _Job, report: Report) -> _Count:
    """Write recordings and tables of some items."""
    options = job.options
    form = {"frames": options.frames, "sample_rate": options.sample_rate}
    num_rows = num_files = num_bytes = 0
    for item in range(job.start, job.stop):
        for clip in options.clips(item):
            num_bytes += save(job.folder / clip.path, wav_parts(clip, **form, bit_depth=options.bit_depth))
            num_files += 1
        for path, data in options.tables(item):
            num_bytes += save(job.folder / path, [data])
        num_rows += sum(1 for _ in options.rows(item))
        report(Progress(0.0, 0))
    return _Count(num_rows, num_files, num_bytes)


def _csv_parts(options: GridOptions) -> Iterator[bytes]:
    """Yield the list, an item at a time: it may be longer than memory is wide."""
    yield csv_text([options.columns])
    for item in range(options.num_items):
        yield csv_text(options.rows(item))
