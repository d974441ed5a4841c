"""``pack``: from inputs to a committed dataset."""

import time
from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from shardkit.audio.options import TranscodeOptions
from shardkit.core.errors import InputError
from shardkit.core.sizes import count
from shardkit.format.index import RESERVED, index_schema
from shardkit.format.manifest import MANIFEST_NAME, FieldKind, Manifest, dump_manifest
from shardkit.pack.columns import arrow_type, column_name
from shardkit.pack.commit import (
    REPORT_NAME,
    PackSummary,
    build_manifest,
    check_no_dataset,
    claim_output,
    remove_mark,
    remove_strays,
    report_lines,
)
from shardkit.pack.engine import Progress, run_jobs, share_out
from shardkit.pack.estimate import bytes_ratios
from shardkit.pack.fields import check_field_names, field_kinds
from shardkit.pack.imported import MISSING_NAME, Import, missing_lines, read_imported
from shardkit.pack.inputs import InputOptions, PackInput, Unpacked, read_inputs
from shardkit.pack.options import PackOptions
from shardkit.pack.plan import plan_shards
from shardkit.pack.shard import ShardJob, ShardOutcome, write_shard
from shardkit.storage.location import Location
from shardkit.storage.store import write_bytes


def pack(
    source: Location,
    output: Location,
    *,
    inputs: InputOptions,
    options: PackOptions,
    hops_s: Mapping[str, float] | None = None,
    start: Callable[[int, int], None] = lambda _files, _bytes: None,
    report: Callable[[Progress], None] = lambda _progress: None,
) -> PackSummary:
    """Pack a folder, a manifest, or what an importer knows, into a dataset.

    Args:
        source: Folder or manifest (CSV, TSV, JSONL, Parquet), or the importer's own.
        output: Folder of the dataset; must not hold one yet.
        inputs: How to read ``source``.
        options: What to make of it.
        hops_s: Seconds from row to row of each array member, by field.
        start: Called once with the number of inputs and their bytes.
        report: Called as inputs are done.

    Returns:
        The summary; the manifest is written, last of all.

    Raises:
        InputError: The request can't be met as it stands; nothing was written.
        AudioError: An input can't be packed and ``options.on_error`` is ``fail``.
        StorageError: The output can't be written.
    """
    began = time.monotonic()
    transcode = TranscodeOptions(
        codec=options.codec,
        sample_rate=options.sample_rate,
        channels=options.channels,
        bit_depth=options.bit_depth,
        flac_level=options.flac_level,
        loudness=options.loudness,
        max_decoded_bytes=options.max_decoded_bytes,
    )
    check_field_names(inputs.members)
    if inputs.split_column and options.splits:
        raise InputError(f"splits are given as fractions and as the column {inputs.split_column!r}; choose one")
    check_no_dataset(output)
    found, unpacked, types, imported = _read(source, inputs, hops_s or {}, options)
    kinds = field_kinds(found)
    hops_s = _checked_hops(hops_s or {}, kinds)
    columns = _columns(found, types)
    plans = plan_shards(found, options, bytes_ratio=bytes_ratios(found, options))
    start(len(found), sum(item.size for item in found))
    schema = index_schema(kinds, columns)
    processes, threads = share_out(len(plans), sum(item.size for item in found), options.workers)
    jobs = [
        ShardJob(
            plan=plan,
            output=output,
            transcode=transcode,
            schema=schema,
            hops_s=hops_s,
            on_error=options.on_error,
            threads=num,
        )
        for plan, num in zip(plans, threads, strict=True)
    ]
    interrupted = claim_output(output)
    outcomes = run_jobs(write_shard, jobs, workers=processes, report=report)
    unpacked += [line for outcome in outcomes for line in outcome.unpacked]
    vocabulary = imported.labels if imported else ()
    manifest = _manifest(found, outcomes, kinds, columns, options, output, vocabulary=vocabulary)
    unpacked.sort(key=_place)
    left_out = sorted((line for outcome in outcomes for line in outcome.left_out), key=_place)
    write_bytes(output / REPORT_NAME, report_lines([*unpacked, *left_out]))
    if imported:
        write_bytes(output / MISSING_NAME, missing_lines(imported.missing))
    if interrupted:
        remove_strays(output, manifest)
    write_bytes(output / MANIFEST_NAME, dump_manifest(manifest))
    remove_mark(output)
    return PackSummary(
        output=str(output),
        totals=manifest.totals,
        splits=manifest.splits,
        input_bytes=sum(item.size for item in found),
        unpacked=tuple(unpacked),
        notes=(*_renamed(columns), *_interval_notes(outcomes), *(imported.notes if imported else ())),
        missing=len(imported.missing) if imported else 0,
        clipped_inputs=sum(outcome.clipped_inputs for outcome in outcomes),
        clipped_values=sum(outcome.num_clipped for outcome in outcomes),
        wall_s=time.monotonic() - began,
    )


def _read(
    source: Location, inputs: InputOptions, hops_s: Mapping[str, float], options: PackOptions
) -> tuple[list[PackInput], list[Unpacked], Mapping[str, pa.DataType], Import | None]:
    if inputs.importer is None:
        return *read_inputs(source, inputs), None
    imported = read_imported(source, inputs, hops_s=hops_s, keep_going=options.on_error == "skip")
    return imported.inputs, imported.unpacked, {}, imported


def _place(line: Unpacked) -> tuple[str, str]:
    return line.path, line.where


def _interval_notes(outcomes: Sequence[ShardOutcome]) -> list[str]:
    cut = sum(outcome.intervals_cut for outcome in outcomes)
    left_out = sum(len(outcome.left_out) for outcome in outcomes)
    notes = [f"{count(cut, 'interval')} cut where the recording ends"] if cut else []
    if left_out:
        notes.append(f"{count(left_out, 'interval')} behind the end of the recording left out, see {REPORT_NAME}")
    return notes


def _columns(found: Sequence[PackInput], types: Mapping[str, pa.DataType]) -> dict[str, pa.DataType]:
    """Return the type of each metadata column: the source's own, or the one that holds its values."""
    places = [item.where for item in found]
    names = dict.fromkeys(name for item in found for name in item.metadata)
    return {
        name: types[name]
        if name in types
        else arrow_type(name, [item.metadata.get(name) for item in found], places=places)
        for name in names
    }


def _renamed(columns: Mapping[str, pa.DataType]) -> tuple[str, ...]:
    renamed = [(name, column_name(name)) for name in RESERVED if column_name(name) in columns]
    return tuple(f"column {name!r} is kept as {kept!r}: the index has its own {name!r}" for name, kept in renamed)


def _checked_hops(hops_s: Mapping[str, float], kinds: Mapping[str, FieldKind]) -> Mapping[str, float]:
    for name, hop_s in hops_s.items():
        if kinds.get(name) != "array":
            arrays = [field for field, kind in kinds.items() if kind == "array"]
            raise InputError(f"hop of {name!r}: not an array field; there is {', '.join(arrays) or 'none'}")
        if not hop_s > 0:
            raise InputError(f"hop of {name!r} is {hop_s:g} s; it must be positive")
    return hops_s


def _manifest(
    found: Sequence[PackInput],
    outcomes: Sequence[ShardOutcome],
    kinds: Mapping[str, FieldKind],
    columns: Mapping[str, pa.DataType],
    options: PackOptions,
    output: Location,
    *,
    vocabulary: tuple[str, ...],
) -> Manifest:
    shards = [outcome.info for outcome in outcomes if outcome.info is not None]
    if not shards:
        first = next(line for outcome in outcomes for line in outcome.unpacked)
        raise InputError(f"{output}: not one of {len(found)} inputs could be packed; the first: {first.reason}")
    extensions: dict[str, set[str]] = {}
    for outcome in outcomes:
        for name, seen in outcome.extensions.items():
            extensions.setdefault(name, set()).update(seen)
    return build_manifest(
        name=options.name or output.name,
        shards=shards,
        vocabulary=vocabulary,
        labels={label for item in found for label in item.labels},
        interval_names={name for item in found for name, _, _ in item.intervals},
        kinds=kinds,
        extensions=extensions,
        columns={name: str(kind) for name, kind in columns.items()},
        options=options.recorded(),
    )
