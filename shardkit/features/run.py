"""``featurize``: from a dataset of recordings to a committed dataset of their features.

output holds                                        then
nothing, or what an interrupted run left there      compute what is missing
these features: the same key                        say so; nothing is read
other features                                      refuse and say what differs, or with overwrite compute anew
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from shardkit.core.distinct import distinct
from shardkit.core.errors import InputError
from shardkit.features.compute import Computer
from shardkit.features.options import FeaturizeOptions
from shardkit.features.recipe import recipe, what_differs
from shardkit.features.shard import ShardJob, ShardOutcome, finished_shard, write_shard
from shardkit.format.index import PRIMARY, index_schema
from shardkit.format.manifest import (
    MANIFEST_NAME,
    FeaturesInfo,
    FieldInfo,
    FieldKind,
    Manifest,
    dump_manifest,
    totals,
)
from shardkit.pack.commit import (
    REPORT_NAME,
    PackSummary,
    claim_output,
    mark_output,
    remove_mark,
    remove_strays,
    report_lines,
)
from shardkit.pack.engine import Progress
from shardkit.pack.inputs import Unpacked
from shardkit.storage.location import Location
from shardkit.storage.store import exists, remove, write_bytes
from shardkit.stream.catalog import Catalog, read_manifest
from shardkit.stream.dataset import Dataset
from shardkit.train.transfer import resolve_device

Start = Callable[[int, int], None]
Report = Callable[[Progress], None]


def featurize(
    source: Dataset,
    output: Location,
    module: nn.Module,
    *,
    options: FeaturizeOptions | None = None,
    start: Start = lambda _samples, _bytes: None,
    report: Report = lambda _progress: None,
) -> PackSummary:
    """Compute the features of a dataset's recordings into a dataset of their own.

    Samples come in the same shards in the same order, so a stream of the features draws the crops that a stream of the
    recordings does.

    Args:
        source: The recordings: what ``shardkit.open`` returns, all of it or one split.
        output: Folder to write.
        module: Computes the features; it is moved to the device.
        options: How; None: as by default.
        start: Called once with the number of samples and the bytes of their recordings.
        report: Called as recordings are done.

    Returns:
        The summary; the manifest is written, last of all. Where the output holds these features already, its notes say
        so, and nothing was computed.

    Raises:
        InputError: The request can't be met as it stands; nothing was written.
        AudioError, FormatError: A recording can't be read and ``options.on_error`` is ``fail``.
        StorageError: The source can't be read or the output can't be written.
    """
    began, options, catalog = time.monotonic(), options or FeaturizeOptions(), source.catalog
    _check_source(catalog, output, options)
    with _one_thread_each():
        computer = Computer(module, device=resolve_device(options.device))
        _check_rates(catalog, computer, options)
        info = recipe(computer, options, catalog.shards, source=str(catalog.location))
        there = _what_is_there(output, info, options)
        if there is not None and there.features is not None and there.features.key == info.key:
            return _summary(there, output, catalog, began, notes=("it is there already: nothing was computed",))
        if there is not None:
            _clear(output, there)
        outcomes = _write_shards(catalog, output, computer, info, options, start, report)
    manifest = _manifest(catalog, info, outcomes, options)
    left_out = [line for outcome in outcomes for line in outcome.unpacked]
    write_bytes(output / REPORT_NAME, report_lines(left_out))
    remove_strays(output, manifest)
    write_bytes(output / MANIFEST_NAME, dump_manifest(manifest))
    remove_mark(output)
    return _summary(manifest, output, catalog, began, unpacked=left_out)


def _check_source(catalog: Catalog, output: Location, options: FeaturizeOptions) -> None:
    """Raise unless features of a dataset can be computed and stored under that name."""
    where, columns = catalog.location, catalog.fields.get(PRIMARY)
    if output == where:
        raise InputError(f"{output}: features can't be put where their recordings are; choose another folder")
    if not catalog.manifest.has_audio:
        raise InputError(f"{where}: it holds features, not recordings; give the dataset that they were computed from")
    if columns is None or not columns.present.all():
        raise InputError(f"{where}: some samples have no field {PRIMARY!r} to compute features of")
    if options.field in catalog.manifest.fields:
        raise InputError(f"{where}: it has a field {options.field!r} already; choose another name with --field")


def _check_rates(catalog: Catalog, computer: Computer, options: FeaturizeOptions) -> None:
    rates = distinct(catalog.fields[PRIMARY].sample_rate)
    if not options.resample and rates != [computer.sample_rate]:
        listed = ", ".join(f"{rate:,} Hz" for rate in rates)
        raise InputError(
            f"{catalog.location}: its recordings are at {listed}, the features are for {computer.sample_rate:,} Hz: "
            f"give --resample, or features for that rate (--set sample_rate={rates[0]})"
        )


def _what_is_there(output: Location, info: FeaturesInfo, options: FeaturizeOptions) -> Manifest | None:
    """Return the manifest of features that are there and may stay or be replaced; None: there is none.

    Raises:
        InputError: There is something else.
    """
    if not exists(output / MANIFEST_NAME):
        return None
    there = read_manifest(output)
    if there.features is None:
        raise InputError(f"{output}: already holds a dataset of recordings; choose another folder")
    if there.features.key != info.key and not options.overwrite:
        raise InputError(
            f"{output}: holds features with {what_differs(there.features, info)}; choose another folder, or --overwrite"
        )
    return there


def _clear(output: Location, there: Manifest) -> None:
    """Make an output that holds a dataset one that does not, so that no old part is taken for a new one."""
    mark_output(output)
    remove(output / MANIFEST_NAME)
    for shard in there.shards:
        remove(output / shard.index)


def _write_shards(
    catalog: Catalog,
    output: Location,
    computer: Computer,
    info: FeaturesInfo,
    options: FeaturizeOptions,
    start: Start,
    report: Report,
) -> list[ShardOutcome]:
    """Return what became of each shard; what an interrupted run has finished is not computed again."""
    start(len(catalog.table), int(catalog.fields[PRIMARY].size.sum()))
    schema = _schema(catalog, options)
    interrupted = claim_output(output)
    outcomes = []
    for job in _jobs(catalog, output, info, options, schema):
        outcome = finished_shard(job) if interrupted else None
        if outcome is None:
            outcome = write_shard(job, computer, report)
        else:
            report(_progress_of(job, outcome))
        outcomes.append(outcome)
    if all(outcome.info is None for outcome in outcomes):
        first = next(line for outcome in outcomes for line in outcome.unpacked)
        raise InputError(f"{output}: of not one of {len(catalog.table)} recordings; the first: {first.reason}")
    return outcomes


def _jobs(
    catalog: Catalog, output: Location, info: FeaturesInfo, options: FeaturizeOptions, schema: pa.Schema
) -> Iterator[ShardJob]:
    ends = np.cumsum([shard.samples for shard in catalog.shards]).tolist()
    for shard, end in zip(catalog.shards, ends, strict=True):
        yield ShardJob(
            catalog=catalog,
            rows=range(end - shard.samples, end),
            stem=shard.index.removesuffix(".parquet"),
            split=shard.split,
            output=output,
            info=info,
            schema=schema,
            options=options,
        )


def _progress_of(job: ShardJob, outcome: ShardOutcome) -> Progress:
    sizes = job.catalog.fields[PRIMARY].size[job.rows.start : job.rows.stop]
    return Progress(outcome.info.duration_s if outcome.info else 0.0, int(sizes.sum()), len(job.rows))


def _kinds(catalog: Catalog, options: FeaturizeOptions) -> dict[str, FieldKind]:
    """Return the fields that samples have: what is known of their audio, features, and all that is no audio."""
    others = {name: told.kind for name, told in catalog.manifest.fields.items() if told.kind != "audio"}
    return {PRIMARY: "audio", options.field: "array", **others}


def _schema(catalog: Catalog, options: FeaturizeOptions) -> pa.Schema:
    columns = {name: catalog.table.schema.field(name).type for name in catalog.manifest.columns}
    return index_schema(_kinds(catalog, options), columns)


def _manifest(
    catalog: Catalog, info: FeaturesInfo, outcomes: Sequence[ShardOutcome], options: FeaturizeOptions
) -> Manifest:
    """Return the recordings' manifest with other shards, and features where there was audio."""
    told = catalog.manifest
    shards = tuple(outcome.info for outcome in outcomes if outcome.info is not None)
    new = {PRIMARY: FieldInfo(kind="audio", extensions=())}
    new |= {options.field: FieldInfo(kind="array", extensions=(f"{options.field}.npy",))}
    return Manifest(
        name=options.name or told.name,
        splits={
            split: totals([shard for shard in shards if shard.split == split])
            for split in dict.fromkeys(shard.split for shard in shards)
        },
        shards=shards,
        labels=told.labels,
        interval_names=told.interval_names,
        fields={name: new.get(name) or told.fields[name] for name in _kinds(catalog, options)},
        columns=told.columns,
        options={},
        totals=totals(shards),
        features=info,
        ontology=told.ontology,
    )


def _summary(
    manifest: Manifest,
    output: Location,
    catalog: Catalog,
    began: float,
    *,
    unpacked: Sequence[Unpacked] = (),
    notes: tuple[str, ...] = (),
) -> PackSummary:
    return PackSummary(
        output=str(output),
        totals=manifest.totals,
        splits=manifest.splits,
        input_bytes=sum(shard.bytes for shard in catalog.shards),
        unpacked=tuple(unpacked),
        notes=notes,
        wall_s=time.monotonic() - began,
    )


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let one thread compute each recording: there are enough of these, and sums keep their order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
